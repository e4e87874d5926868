//! As much of HTTP/1.0 (RFC 1945) as one `GET` takes: the request, and the head of the answer.

use super::error::HttpError;
use alloc::{format, string::String, vec::Vec};
use core::net::SocketAddrV4;

/// The longest head that is read.
pub(super) const HEAD_MAX: usize = 2048;

/// What the head of an answer says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) crc32: u32,
}

pub(super) fn request(server: SocketAddrV4, bytes: usize) -> String {
    format!("GET /{bytes} HTTP/1.0\r\nHost: {server}\r\nConnection: close\r\n\r\n")
}

/// Collects a head as it comes in.
#[derive(Debug, Default)]
pub(super) struct HeadReader(Vec<u8>);

impl HeadReader {
    /// Takes bytes of the answer; once the head is whole, says what it says and how many of `bytes`
    /// belong to it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
        for (index, &byte) in bytes.iter().enumerate() {
            self.0.push(byte);
            if self.0.ends_with(b"\r\n\r\n") {
                return parse(&self.0).map(|head| Some((head, index + 1)));
            }
            if self.0.len() >= HEAD_MAX {
                return Err(HttpError::TooLong(HEAD_MAX));
            }
        }
        Ok(None)
    }
}

fn parse(head: &[u8]) -> Result<Head, HttpError> {
    let text = core::str::from_utf8(head).map_err(|_| HttpError::NotHttp)?;
    let mut lines = text.split("\r\n");
    check_status(lines.next().unwrap_or_default())?;
    let (mut length, mut crc32) = (None, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok();
        } else if name.eq_ignore_ascii_case("x-crc32") {
            crc32 = u32::from_str_radix(value, 16).ok();
        }
    }
    let length = length.ok_or(HttpError::Length)?;
    Ok(Head { length, crc32: crc32.ok_or(HttpError::Checksum)? })
}

fn check_status(line: &str) -> Result<(), HttpError> {
    let mut words = line.split(' ');
    if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err(HttpError::NotHttp);
    }
    match words.next().and_then(|status| status.parse().ok()) {
        Some(200) => Ok(()),
        Some(status) => Err(HttpError::Status(status)),
        None => Err(HttpError::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Result<Option<(Head, usize)>, HttpError> {
        HeadReader::default().take(text.as_bytes())
    }

    #[test]
    fn a_head_in_any_pieces_ends_where_the_body_starts() {
        let text = "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nX-CRC32: 0000beef\r\n\r\nhello";
        let head = Head { length: 5, crc32: 0xbeef };
        for cut in 0..text.len() - 5 {
            let mut reader = HeadReader::default();
            assert_eq!(reader.take(&text.as_bytes()[..cut]), Ok(None));
            let rest = reader.take(&text.as_bytes()[cut..]).unwrap().unwrap();
            assert_eq!(rest, (head, text.len() - 5 - cut));
        }
    }

    #[test]
    fn each_thing_missing_has_its_own_error() {
        let head = |rest: &str| whole(&format!("{rest}\r\n\r\n")).unwrap_err();
        assert_eq!(head("SSH-2.0-x"), HttpError::NotHttp);
        assert_eq!(head("HTTP/1.0 404 Not Found"), HttpError::Status(404));
        assert_eq!(head("HTTP/1.0 200 OK\r\nX-CRC32: 0"), HttpError::Length);
        assert_eq!(head("HTTP/1.0 200 OK\r\nContent-Length: 1"), HttpError::Checksum);
        assert_eq!(head(&"x".repeat(4096)), HttpError::TooLong(HEAD_MAX));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let _ = HeadReader::default().take(&bytes);
        }
    }
}

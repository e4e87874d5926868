//! A mirror on the wire, for cards that can't send to themselves: QEMU connects a hub with the card on it to a port of this
//! host's loopback, and frames of the type for local experiments come back as they are. All others are for the rest of
//! the hub.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use crate::error::{Error, Result};
use protocol::EXPERIMENTAL;

/// Longer than any frame of QEMU's.
const LONGEST: usize = 68 << 10;

/// Starts one, and says at which port. It lives as long as the rig.
pub(crate) fn start() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let port = listener.and_then(|listener| {
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Until QEMU ends, or says what is no frame.
                thread::spawn(move || reflect(stream));
            }
        });
        Ok(port)
    });
    port.map_err(|error| {
        Error::unfit(
            format!("can't listen on 127.0.0.1: {error}"),
            "bring up the loopback interface",
        )
    })
}

/// A frame comes behind its length, in four bytes, the highest first.
fn reflect(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4 + LONGEST];
    loop {
        let (head, frame) = buffer.split_at_mut(4);
        stream.read_exact(head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let frame = frame.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
        stream.read_exact(frame)?;
        if frame.get(12..14) == Some(&EXPERIMENTAL[..]) {
            stream.write_all(&buffer[..4 + length])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn behind_its_length(frame: &[u8]) -> Vec<u8> {
        [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
    }

    #[test]
    fn experimental_frames_come_back_and_no_others() {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, start().unwrap())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut frame: Vec<u8> = (0..200).collect();
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        stream.write_all(&behind_its_length(&frame)).unwrap();
        stream.write_all(&behind_its_length(&frame[..13])).unwrap();
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        let sent = behind_its_length(&frame);
        stream.write_all(&sent).unwrap();
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, sent);
        stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(stream.read(&mut back).unwrap_or(0), 0, "nothing that long is a frame");
    }
}

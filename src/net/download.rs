//! A download over HTTP whose checksum is compared: thousands of full frames through the pool.
//!
//! The body is checksummed where TCP put it, and never gathered. Acknowledgements go out once a batch of
//! frames, not by timer: waiting is what would cost.

use super::{
    error::{HttpError, NetError, Waited},
    http::{Head, HeadReader, request},
    stack::Stack,
};
use crate::arch::time::Instant;
use alloc::vec;
use core::{net::SocketAddrV4, time::Duration};
use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};
use smoltcp::{
    iface::SocketHandle,
    socket::tcp::{Socket, SocketBuffer, State},
};

/// Bytes of receive window: the most there can be without scaling, which QEMU's user network lacks.
const WINDOW: usize = 65_535;
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A download in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Download {
    /// Bytes of the body.
    pub bytes: usize,
    /// From the first packet of the connection to the last byte.
    pub took: Duration,
    /// CRC-32 of the body, the same as the server's.
    pub crc32: u32,
}

impl Download {
    /// Bytes of body a second.
    pub fn rate(&self) -> u64 {
        per_second(self.bytes as u64, self.took)
    }
}

/// So many bytes a second; no time is no rate.
pub(super) fn per_second(bytes: u64, took: Duration) -> u64 {
    let rate = (u128::from(bytes) * 1_000_000_000).checked_div(took.as_nanos());
    u64::try_from(rate.unwrap_or(0)).unwrap_or(u64::MAX)
}

/// A body as far as it came.
struct Body {
    asked: usize,
    reader: HeadReader,
    head: Option<Head>,
    got: usize,
    hash: Digest<'static, u32, Table<1>>,
}

impl Stack<'_> {
    /// Downloads `bytes` bytes from `server` within `limit`, and compares their checksum.
    pub fn download(
        &mut self,
        server: SocketAddrV4,
        bytes: usize,
        limit: Duration,
    ) -> Result<Download, NetError> {
        self.address().ok_or(NetError::NoAddress)?;
        let mut socket =
            Socket::new(SocketBuffer::new(vec![0; WINDOW]), SocketBuffer::new(vec![0; 512]));
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let handle = self.sockets.add(socket);
        let start = self.clock.now();
        let download = self
            .connect(handle, server)
            .and_then(|()| self.fetch(handle, server, Body::new(bytes), start, limit));
        self.hang_up(handle);
        download
    }

    fn connect(&mut self, handle: SocketHandle, server: SocketAddrV4) -> Result<(), NetError> {
        let port = self.fresh();
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        let begun = socket.connect(self.interface.context(), server, port);
        begun.map_err(|_| NetError::Socket("a TCP connection"))?;
        self.run(Waited::Connect, CONNECT_LIMIT, |stack| {
            // One that was refused is over, too: nothing can be sent on it.
            let state = stack.sockets.get_mut::<Socket<'_>>(handle).state();
            Ok((state != State::SynSent).then_some(()))
        })
    }

    fn fetch(
        &mut self,
        handle: SocketHandle,
        server: SocketAddrV4,
        mut body: Body,
        start: Instant,
        limit: Duration,
    ) -> Result<Download, NetError> {
        let request = request(server, body.asked);
        let sent = self.sockets.get_mut::<Socket<'_>>(handle).send_slice(request.as_bytes());
        if sent != Ok(request.len()) {
            return Err(NetError::Refused(server));
        }
        let done = self.run(Waited::Download, limit, |stack| {
            let socket = stack.sockets.get_mut::<Socket<'_>>(handle);
            body.take_from(socket, server)?;
            let crc32 = body.verdict(socket.may_recv(), server)?;
            let took = stack.clock.now().since(start);
            Ok(crc32.map(|crc32| Download { bytes: body.got, took, crc32 }))
        });
        done.map_err(|error| match error {
            NetError::TimedOut { timeout, .. } => {
                NetError::Stalled { got: body.got, wanted: body.asked, timeout }
            }
            other => other,
        })
    }

    /// Ends the connection at once; the other end is told, and nothing is waited for.
    pub(super) fn hang_up(&mut self, handle: SocketHandle) {
        self.sockets.get_mut::<Socket<'_>>(handle).abort();
        self.send_all();
        self.sockets.remove(handle);
    }
}

/// One table of 1 KiB: sixteen of them would be faster, and a fortieth of the image.
static SUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

impl Body {
    fn new(asked: usize) -> Self {
        let reader = HeadReader::default();
        Self { asked, reader, head: None, got: 0, hash: SUM.digest() }
    }

    /// Takes everything TCP has.
    fn take_from(&mut self, socket: &mut Socket<'_>, server: SocketAddrV4) -> Result<(), NetError> {
        while socket.can_recv() {
            let taken = socket.recv(|bytes| (bytes.len(), self.take(bytes)));
            taken.map_err(|_| NetError::Refused(server))??;
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), NetError> {
        if self.head.is_none() {
            let Some((head, used)) = self.reader.take(bytes).map_err(NetError::Http)? else {
                return Ok(());
            };
            if head.length != self.asked {
                let (announced, asked) = (head.length, self.asked);
                return Err(NetError::Http(HttpError::WrongLength { announced, asked }));
            }
            self.head = Some(head);
            bytes = &bytes[used..];
        }
        let bytes = &bytes[..bytes.len().min(self.asked - self.got)];
        self.hash.update(bytes);
        self.got += bytes.len();
        Ok(())
    }

    /// The checksum once all is there and right; an error once it can't become so.
    fn verdict(&self, more: bool, server: SocketAddrV4) -> Result<Option<u32>, NetError> {
        match self.head {
            Some(head) if self.got == head.length => {
                let (found, expected, bytes) = (self.hash.clone().finalize(), head.crc32, self.got);
                let corrupt = NetError::Corrupt { bytes, found, expected };
                if found == expected { Ok(Some(found)) } else { Err(corrupt) }
            }
            Some(head) if !more => Err(NetError::Short { got: self.got, wanted: head.length }),
            None if !more => Err(NetError::Refused(server)),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const SERVER: SocketAddrV4 = SocketAddrV4::new(core::net::Ipv4Addr::new(10, 0, 2, 2), 80);

    #[test]
    fn bytes_behind_the_body_are_not_of_it() {
        let sum = crc32fast::hash(b"abc");
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: 3\r\nX-CRC32: {sum:08x}\r\n\r\n");
        let mut body = Body::new(3);
        body.take(head.as_bytes()).unwrap();
        body.take(b"ab").unwrap();
        assert_eq!(body.verdict(true, SERVER), Ok(None));
        body.take(b"cde").unwrap();
        body.take(b"f").unwrap();
        assert_eq!((body.got, body.verdict(true, SERVER)), (3, Ok(Some(sum))));
    }

    #[test]
    fn an_end_before_the_head_is_a_refusal() {
        let body = Body::new(3);
        assert_eq!(body.verdict(true, SERVER), Ok(None));
        assert_eq!(body.verdict(false, SERVER), Err(NetError::Refused(SERVER)));
    }

    #[test]
    fn a_rate_is_bytes_a_second_and_never_more_than_there_are_numbers_for() {
        let rate =
            |bytes, nanos| Download { bytes, took: Duration::from_nanos(nanos), crc32: 0 }.rate();
        assert_eq!(rate(3000, 1_500_000_000), 2000);
        assert_eq!(rate(7, 2_000_000_000), 3);
        assert_eq!(rate(1000, 0), 0, "no time is no rate");
        assert_eq!(rate(usize::MAX, 1), u64::MAX);
    }
}

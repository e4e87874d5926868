//! The guest's peers: a UDP echo and a download server on this host's loopback, which QEMU's user network shows to the
//! guest as 10.0.2.2.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// Where the guest sees this host.
const HOST: &str = "10.0.2.2";
/// The largest body on offer, and what a guest is told to fetch.
pub(crate) const DOWNLOAD: usize = 20 << 20;

/// How long a slow download takes.
pub(crate) const SLOW: Duration = Duration::from_secs(12);
/// It comes in pieces of so many bytes.
const PIECE: usize = 16 << 10;

/// The servers' ports. The servers live as long as the rig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peers {
    echo: u16,
    download: u16,
    slow: u16,
}

impl Peers {
    /// Starts both on free ports.
    pub(crate) fn start() -> Result<Self> {
        start().map_err(|error| {
            Error::unfit(
                format!("can't listen on 127.0.0.1: {error}"),
                "bring up the loopback interface",
            )
        })
    }

    /// The words that tell a guest where they are.
    pub(crate) fn words(&self) -> [String; 2] {
        self.words_for(DOWNLOAD)
    }

    /// The same, but the download takes [`SLOW`] at least: time to do something to a guest in the middle of it.
    pub(crate) fn slow_words(&self) -> [String; 2] {
        Self { download: self.slow, ..*self }.words()
    }

    /// The same, for a download of so many bytes; [`DOWNLOAD`] is the most there are.
    pub(crate) fn words_for(&self, bytes: usize) -> [String; 2] {
        let Self { echo, download, .. } = self;
        [format!("echo={HOST}:{echo}"), format!("download={HOST}:{download}/{bytes}")]
    }
}

fn start() -> io::Result<Peers> {
    let echo = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let echo_port = echo.local_addr()?.port();
    thread::spawn(move || answer_datagrams(&echo));
    let body: Arc<[u8]> = body(DOWNLOAD).into();
    let download = offer(&body, Duration::ZERO)?;
    Ok(Peers { echo: echo_port, download, slow: offer(&body, SLOW)? })
}

/// A download server; a download of the whole body takes `time`, at least.
fn offer(body: &Arc<[u8]>, time: Duration) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let body = Arc::clone(body);
    let pause = time.mul_f64(PIECE as f64 / body.len() as f64);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let body = Arc::clone(&body);
            // A guest that goes away in the middle is the guest's business: its own check reports it.
            thread::spawn(move || serve(stream, &body, pause));
        }
    });
    Ok(port)
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // A lost answer is what UDP allows; the guest asks again.
            let _lost = socket.send_to(&buffer[..length], from);
        }
    }
}

/// `GET /N` gives N bytes and their CRC-32 in a header.
fn serve(mut stream: TcpStream, body: &[u8], pause: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = request.clone();
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let Some(body) = wanted(&request).and_then(|length| body.get(..length)) else {
        return write!(stream, "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\nX-CRC32: {:08x}\r\n\r\n",
        body.len(),
        crc32fast::hash(body)
    )?;
    if pause.is_zero() {
        return stream.write_all(body);
    }
    body.chunks(PIECE).try_for_each(|piece| {
        thread::sleep(pause);
        stream.write_all(piece)
    })
}

fn wanted(request: &str) -> Option<usize> {
    let path = request.strip_prefix("GET /")?;
    path.split_whitespace().next()?.parse().ok()
}

/// Bytes with no pattern that a wrong offset could match: a xorshift generator's.
fn body(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut body = Vec::with_capacity(length + size_of_val(&state));
    while body.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend_from_slice(&state.to_le_bytes());
    }
    body.truncate(length);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn serves_bytes_that_match_their_checksum() {
        let peers = Peers::start().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", peers.download)).unwrap();
        write!(stream, "GET /1000 HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let header = String::from_utf8(answer[..split].to_vec()).unwrap();
        assert_eq!(answer.len() - split, 1000);
        assert!(header.contains(&format!("X-CRC32: {:08x}", crc32fast::hash(&answer[split..]))));
    }

    #[test]
    fn echoes_datagrams() {
        let peers = Peers::start().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(b"hello", ("127.0.0.1", peers.echo)).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn only_sizes_on_offer_are_served() {
        assert_eq!(wanted("GET /12 HTTP/1.0"), Some(12));
        assert_eq!(wanted("GET / HTTP/1.0"), None);
        assert_eq!(wanted("POST /12"), None);
    }
}

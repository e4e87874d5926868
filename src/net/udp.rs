//! Datagrams of growing sizes to an echo server, each compared when it comes back.

use super::{
    error::{NetError, Waited},
    stack::Stack,
};
use alloc::{vec, vec::Vec};
use core::{net::SocketAddrV4, time::Duration};
use smoltcp::{
    iface::SocketHandle,
    socket::udp::{PacketBuffer, PacketMetadata, Socket},
    wire::IpEndpoint,
};

/// The most bytes in a datagram that fits a frame.
pub const DATAGRAM_MAX: usize = 1472;
/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often a datagram is sent before it counts as lost.
const TRIES: u32 = 3;

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpReport {
    /// Datagrams that came back as they were.
    pub echoed: u32,
    /// Bytes in them.
    pub bytes: u64,
    /// Datagrams sent again because no answer came.
    pub resent: u32,
}

impl Stack<'_> {
    /// Sends `count` datagrams of 1 to [`DATAGRAM_MAX`] bytes and compares what comes back.
    pub fn udp_echo(&mut self, server: SocketAddrV4, count: u16) -> Result<UdpReport, NetError> {
        self.address().ok_or(NetError::NoAddress)?;
        let mut socket = Socket::new(buffer(), buffer());
        let bound = socket.bind(self.fresh());
        bound.map_err(|_| NetError::Socket("a UDP port"))?;
        let handle = self.sockets.add(socket);
        let mut report = UdpReport::default();
        let echoed = (0..count).try_for_each(|index| {
            let payload = payload(index, size(index, count));
            self.echo(handle, server, &payload, &mut report)
        });
        self.sockets.remove(handle);
        echoed.map(|()| report)
    }

    fn echo(
        &mut self,
        handle: SocketHandle,
        server: SocketAddrV4,
        payload: &[u8],
        report: &mut UdpReport,
    ) -> Result<(), NetError> {
        for left in (0..TRIES).rev() {
            let socket = self.sockets.get_mut::<Socket<'_>>(handle);
            let sent = socket.send_slice(payload, server);
            sent.map_err(|_| NetError::Socket("a datagram"))?;
            let came =
                self.run(Waited::Udp, PATIENCE, |stack| stack.echoed(handle, server, payload));
            match came {
                Ok(()) => break,
                Err(NetError::TimedOut { .. }) if left > 0 => report.resent += 1,
                Err(error) => return Err(error),
            }
        }
        report.echoed += 1;
        report.bytes += payload.len() as u64;
        Ok(())
    }

    fn echoed(
        &mut self,
        handle: SocketHandle,
        server: SocketAddrV4,
        payload: &[u8],
    ) -> Result<Option<()>, NetError> {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        while let Ok((bytes, from)) = socket.recv() {
            let late = index(bytes).is_some_and(|came| Some(came) < index(payload));
            if from.endpoint != IpEndpoint::from(server) || late {
                continue;
            }
            return compare(payload, bytes).map(Some);
        }
        Ok(None)
    }
}

/// The number a datagram starts with. An answer with a lower one than expected belongs to an earlier
/// datagram that was sent twice; any other is the answer, whatever is in it.
fn index(bytes: &[u8]) -> Option<u16> {
    match *bytes {
        [] => None,
        [low] => Some(low.into()),
        [low, high, ..] => Some(u16::from_le_bytes([low, high])),
    }
}

fn compare(sent: &[u8], came: &[u8]) -> Result<(), NetError> {
    if sent == came {
        return Ok(());
    }
    let differs = sent.iter().zip(came).position(|(a, b)| a != b);
    let at = differs.unwrap_or(sent.len().min(came.len()));
    Err(NetError::Echo { len: sent.len(), found: came.len(), at })
}

/// From 1 byte for the first to [`DATAGRAM_MAX`] for the last.
fn size(index: u16, count: u16) -> usize {
    let steps = usize::from(count.saturating_sub(1)).max(1);
    1 + usize::from(index) * (DATAGRAM_MAX - 1) / steps
}

fn payload(index: u16, len: usize) -> Vec<u8> {
    let [low, high] = index.to_le_bytes();
    let pattern = (0_u8..=250).cycle().map(|i| i.wrapping_mul(7) ^ low);
    [low, high].into_iter().chain(pattern).take(len).collect()
}

fn buffer() -> PacketBuffer<'static> {
    PacketBuffer::new(vec![PacketMetadata::EMPTY; 4], vec![0; 4 * DATAGRAM_MAX])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_as_much_of_it_as_came() {
        let found = [&[][..], &[7], &[7, 1], &[7, 1, 9]].map(index);
        assert_eq!(found, [None, Some(7), Some(0x107), Some(0x107)]);
    }

    #[test]
    fn the_bytes_of_one_datagram_are_those_of_the_first_turned_by_its_number() {
        let first = payload(0, 600);
        for number in [1, 0x55, 0xaa, 0x1ff_u16] {
            let [low, high] = number.to_le_bytes();
            let bytes = payload(number, 600);
            assert_eq!(bytes[..2], [low, high]);
            assert!(bytes[2..].iter().zip(&first[2..]).all(|(a, b)| a ^ b == low), "{number}");
        }
    }
}

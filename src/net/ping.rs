//! Echo requests and their answers (RFC 792), one at a time.

use super::{
    error::{NetError, Waited},
    stack::Stack,
};
use alloc::vec;
use core::time::Duration;
use smoltcp::{
    iface::SocketHandle,
    phy::ChecksumCapabilities,
    socket::icmp::{Endpoint, PacketBuffer, PacketMetadata, Socket},
    wire::{Icmpv4Packet, Icmpv4Repr, IpAddress, Ipv4Address},
};

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes sent with each request.
const PAYLOAD: [u8; 56] = *b"pvbounce pvbounce pvbounce pvbounce pvbounce pvbounce pv";
/// Bytes before them.
const HEADER: usize = 8;

/// Ten pings in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingReport {
    /// Requests sent.
    pub sent: u32,
    /// Answers, each with the bytes that were sent.
    pub received: u32,
    /// The fastest answer.
    pub min: Duration,
    /// The slowest.
    pub max: Duration,
    /// All of them together.
    pub total: Duration,
}

impl PingReport {
    /// An error unless every request was answered.
    pub const fn check(&self) -> Result<(), NetError> {
        let Self { sent, received, .. } = *self;
        if received == sent { Ok(()) } else { Err(NetError::Lost { sent, received }) }
    }

    /// The mean time to an answer; zero without any.
    pub const fn average(&self) -> Duration {
        match self.total.checked_div(self.received) {
            Some(average) => average,
            None => Duration::ZERO,
        }
    }

    fn add(&mut self, rtt: Duration) {
        self.received += 1;
        self.total = self.total.saturating_add(rtt);
        (self.min, self.max) = (self.min.min(rtt), self.max.max(rtt));
    }
}

impl Stack<'_> {
    /// Pings `target` `count` times. A lost answer is in the report; that none at all came is an error.
    pub fn ping(&mut self, target: Ipv4Address, count: u16) -> Result<PingReport, NetError> {
        self.address().ok_or(NetError::NoAddress)?;
        let ident = self.fresh();
        let mut socket = Socket::new(buffer(), buffer());
        let bound = socket.bind(Endpoint::Ident(ident));
        bound.map_err(|_| NetError::Socket("an ICMP identifier"))?;
        let handle = self.sockets.add(socket);
        let report = self.ping_all(handle, target, ident, count);
        self.sockets.remove(handle);
        report
    }

    fn ping_all(
        &mut self,
        handle: SocketHandle,
        target: Ipv4Address,
        ident: u16,
        count: u16,
    ) -> Result<PingReport, NetError> {
        let mut report = PingReport {
            sent: 0,
            received: 0,
            min: Duration::MAX,
            max: Duration::ZERO,
            total: Duration::ZERO,
        };
        for seq_no in 0..count {
            let start = self.clock.now();
            let request = Icmpv4Repr::EchoRequest { ident, seq_no, data: &PAYLOAD };
            self.ask(handle, target, &request)?;
            report.sent += 1;
            let answer = self.run(Waited::Ping, PATIENCE, |stack| {
                Ok(stack.answered(handle, target, seq_no).then(|| stack.clock.now()))
            });
            match answer {
                Ok(end) => report.add(end.since(start)),
                Err(NetError::TimedOut { .. }) if seq_no + 1 < count || report.received > 0 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    fn ask(
        &mut self,
        handle: SocketHandle,
        target: Ipv4Address,
        request: &Icmpv4Repr<'_>,
    ) -> Result<(), NetError> {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        let room = socket.send(request.buffer_len(), IpAddress::Ipv4(target));
        let bytes = room.map_err(|_| NetError::Socket("a ping"))?;
        request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
        Ok(())
    }

    /// Whether the answer to `seq_no` is there; others are dropped.
    fn answered(&mut self, handle: SocketHandle, target: Ipv4Address, seq_no: u16) -> bool {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        while let Ok((bytes, from)) = socket.recv() {
            if from == IpAddress::Ipv4(target) && answers(bytes, seq_no) {
                return true;
            }
        }
        false
    }
}

/// Whether a packet is the answer to `seq_no`, with the bytes that were sent.
fn answers(bytes: &[u8], seq_no: u16) -> bool {
    let Ok(packet) = Icmpv4Packet::new_checked(bytes) else {
        return false;
    };
    match Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()) {
        Ok(Icmpv4Repr::EchoReply { seq_no: seq, data, .. }) => seq == seq_no && data == PAYLOAD,
        _ => false,
    }
}

fn buffer() -> PacketBuffer<'static> {
    PacketBuffer::new(vec![PacketMetadata::EMPTY; 4], vec![0; 4 * (HEADER + PAYLOAD.len())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn packet(repr: &Icmpv4Repr<'_>) -> Vec<u8> {
        let mut bytes = vec![0; repr.buffer_len()];
        let sums = ChecksumCapabilities::default();
        repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes[..]), &sums);
        bytes
    }

    #[test]
    fn an_answer_has_the_number_and_the_bytes_that_were_sent() {
        let reply = |seq_no, data| Icmpv4Repr::EchoReply { ident: 1, seq_no, data };
        assert!(answers(&packet(&reply(3, &PAYLOAD)), 3));
        assert!(!answers(&packet(&reply(2, &PAYLOAD)), 3), "an earlier one's");
        assert!(!answers(&packet(&reply(3, &PAYLOAD[1..])), 3), "a byte short");
        assert!(!answers(&packet(&reply(3, &[0; PAYLOAD.len()])), 3), "other bytes");
        let request = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 3, data: &PAYLOAD };
        assert!(!answers(&packet(&request), 3), "a question");
        assert!(!answers(&[0; 4], 3), "no packet");
    }
}

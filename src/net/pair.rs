//! Two guests, each with a card, on one wire: both send the same number of bytes at once, and look at each that comes.
//!
//! ```text
//!  end a, 10.77.0.1                 end b, 10.77.0.2
//!  listens             <----------  connects, once a second until somebody listens
//!  its stream          <--------->  its stream                         see `super::stream`
//!  closes once it has all and all of its own was acknowledged; then the other one did or will, too
//! ```
//!
//! What TCP would have sent once more is not let pass: a segment is taken whatever its checksum says, so that a byte that
//! a card or the memory changed is found at its place; and a frame whose headers were changed is counted.

use super::{
    download::per_second,
    error::{NetError, Party, Progress, Stopped, Waited},
    stack::Stack,
    stream::Place,
};
use crate::{
    arch::{
        time::{Clock, Instant},
        wait::Deadline,
    },
    options::End,
};
use alloc::vec;
use core::{net::Ipv4Addr, time::Duration};
use smoltcp::{
    iface::SocketHandle,
    socket::tcp::{Socket, SocketBuffer, State},
    wire::{IpCidr, Ipv4Cidr},
};

/// Where end a listens.
const PORT: u16 = 7777;
/// Bytes of each window: no more frames than the smallest receive ring holds, the RTL8139's of 32 KiB. What finds no room
/// there is lost on a wire; QEMU holds it back, and its hub then lets later frames overtake it.
const WINDOW: usize = 24 << 10;
/// How long the other guest may take to start.
const COMES: Duration = Duration::from_secs(90);
/// How often it is looked for.
const AGAIN: Duration = Duration::from_secs(1);
/// How long nothing may move.
const PATIENCE: Duration = Duration::from_secs(30);
/// The bytes a second below which it is too slow to wait for.
const SLOWEST: u64 = 256 << 10;
/// How long the end of the connection is seen to; by then both have all.
const FAREWELL: Duration = Duration::from_secs(3);

/// An end's address: nobody else is on the wire.
pub(super) const fn address(end: End) -> Ipv4Addr {
    match end {
        End::A => Ipv4Addr::new(10, 77, 0, 1),
        End::B => Ipv4Addr::new(10, 77, 0, 2),
    }
}

/// What went over the wire, each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairReport {
    /// Bytes of each stream.
    pub bytes: u64,
    /// From the connection to the last acknowledgement.
    pub sent_in: Duration,
    /// From the connection to the last byte.
    pub received_in: Duration,
}

impl PairReport {
    /// Bytes a second, out and in.
    pub fn rates(&self) -> [u64; 2] {
        [per_second(self.bytes, self.sent_in), per_second(self.bytes, self.received_in)]
    }
}

impl Stack<'_> {
    /// Sends `bytes` bytes to the other end and looks at as many of its own. The host's address is the end's from here on.
    pub fn pair(&mut self, end: End, bytes: u64) -> Result<PairReport, NetError> {
        self.take_end(end)?;
        let buffer = || SocketBuffer::new(vec![0; WINDOW]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let handle = self.sockets.add(socket);
        let met = self.meet(handle, end);
        let report = met.and_then(|()| self.exchange(handle, end, bytes));
        self.hang_up(handle);
        report
    }

    fn take_end(&mut self, end: End) -> Result<(), NetError> {
        self.look_at_every_segment();
        let mut room = true;
        self.interface.update_ip_addrs(|addresses| {
            let address = IpCidr::Ipv4(Ipv4Cidr::new(address(end), 24));
            room = addresses.push(address).is_ok();
        });
        if room { Ok(()) } else { Err(NetError::Socket("an address")) }
    }

    /// Waits until the other guest is there.
    fn meet(&mut self, handle: SocketHandle, end: End) -> Result<(), NetError> {
        if end == End::A {
            let listening = self.sockets.get_mut::<Socket<'_>>(handle).listen(PORT);
            listening.map_err(|_| NetError::Socket("a TCP port"))?;
        }
        let mut again = self.clock.now();
        self.run(Waited::Peer, COMES, |stack| {
            let now = stack.clock.now();
            if stack.sockets.get_mut::<Socket<'_>>(handle).may_send() {
                return Ok(Some(()));
            }
            if end == End::B && now >= again {
                again = now.after(AGAIN);
                stack.call(handle, end)?;
            }
            Ok(None)
        })
    }

    fn call(&mut self, handle: SocketHandle, end: End) -> Result<(), NetError> {
        let port = self.fresh();
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket.abort();
        let begun = socket.connect(self.interface.context(), (address(end.other()), PORT), port);
        begun.map_err(|_| NetError::Socket("a TCP connection"))
    }

    fn exchange(
        &mut self,
        handle: SocketHandle,
        end: End,
        bytes: u64,
    ) -> Result<PairReport, NetError> {
        let clock = self.clock;
        let mut exchange = Exchange::new(end, bytes, clock);
        let done = self.run(Waited::Pair, limit(bytes), |stack| {
            exchange.turn(stack.sockets.get_mut::<Socket<'_>>(handle), clock)
        });
        let done = done.map_err(|error| match error {
            NetError::TimedOut { timeout, .. } => {
                let own = self.check_link(Waited::Pair).and_then(|()| self.phy.check_stuck());
                own.err().unwrap_or_else(|| exchange.stopped(Stopped::Silent(timeout)))
            }
            other => other,
        });
        // What was damaged on its way explains everything but a wrong byte, and what this end knows of itself.
        let report = match (done, self.phy.damaged()) {
            (Err(error), _) if error.party() != Party::Network => return Err(error),
            (_, frames @ 1..) => return Err(NetError::PairDamaged { frames }),
            (done, 0) => done?,
        };
        // It has all, whatever becomes of the connection's last words.
        let _ = self.run(Waited::Pair, FAREWELL, |stack| {
            let state = stack.sockets.get_mut::<Socket<'_>>(handle).state();
            Ok(matches!(state, State::Closed | State::TimeWait).then_some(()))
        });
        Ok(report)
    }
}

/// How long an exchange may take.
fn limit(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / SLOWEST)
}

/// Both streams, as far as they are.
#[derive(Clone, Copy, Debug)]
struct Exchange<'c> {
    end: End,
    bytes: u64,
    /// Given to TCP.
    sent: u64,
    /// Of these, what the other end said it has.
    acknowledged: u64,
    /// Taken from TCP, each byte right.
    got: u64,
    began: Instant,
    /// When all of this end's bytes were acknowledged, and when all of the other's were there.
    sent_in: Option<Duration>,
    received_in: Option<Duration>,
    /// Runs anew with each byte that moves.
    patience: Deadline<'c>,
}

impl<'c> Exchange<'c> {
    fn new(end: End, bytes: u64, clock: &'c dyn Clock) -> Self {
        Self {
            end,
            bytes,
            sent: 0,
            acknowledged: 0,
            got: 0,
            began: clock.now(),
            sent_in: None,
            received_in: None,
            patience: Deadline::new(clock, PATIENCE),
        }
    }

    /// Takes what has come, gives what there is room for; the report once both ends have all.
    fn turn(
        &mut self,
        socket: &mut Socket<'_>,
        clock: &'c dyn Clock,
    ) -> Result<Option<PairReport>, NetError> {
        let before = (self.got, self.acknowledged);
        self.receive(socket)?;
        self.send(socket)?;
        // What a reset leaves in the queue, or not, says nothing.
        if socket.is_active() {
            self.acknowledged = self.sent - socket.send_queue() as u64;
        }
        let now = clock.now().since(self.began);
        if self.got == self.bytes {
            self.received_in.get_or_insert(now);
        }
        if self.acknowledged == self.bytes {
            self.sent_in.get_or_insert(now);
        }
        if before != (self.got, self.acknowledged) {
            self.patience = Deadline::new(clock, PATIENCE);
        }
        self.end(socket)
    }

    fn receive(&mut self, socket: &mut Socket<'_>) -> Result<(), NetError> {
        while socket.can_recv() {
            let taken = socket.recv(|bytes| (bytes.len(), self.look_at(bytes)));
            taken.map_err(|_| self.stopped(Stopped::Left))??;
        }
        Ok(())
    }

    fn look_at(&mut self, bytes: &[u8]) -> Result<(), NetError> {
        let place = Place { end: self.end.other(), offset: self.got };
        place.check(bytes).map_err(NetError::PairByte)?;
        self.got += bytes.len() as u64;
        if self.got > self.bytes {
            return Err(NetError::PairLength { wanted: self.bytes });
        }
        Ok(())
    }

    fn send(&mut self, socket: &mut Socket<'_>) -> Result<(), NetError> {
        while self.sent < self.bytes && socket.can_send() {
            let left = usize::try_from(self.bytes - self.sent).unwrap_or(usize::MAX);
            let place = Place { end: self.end, offset: self.sent };
            let given = socket.send(|room| {
                let len = room.len().min(left);
                place.fill(&mut room[..len]);
                (len, len)
            });
            self.sent += given.map_err(|_| self.stopped(Stopped::Left))? as u64;
        }
        Ok(())
    }

    /// Closes once there is nothing left to do. The other end closes no earlier, so what it closes is the end.
    fn end(&self, socket: &mut Socket<'_>) -> Result<Option<PairReport>, NetError> {
        let times = self.sent_in.zip(self.received_in);
        if times.is_some() {
            socket.close();
        }
        match (times, socket.may_recv()) {
            (Some((sent_in, received_in)), false) => {
                Ok(Some(PairReport { bytes: self.bytes, sent_in, received_in }))
            }
            (None, false) => Err(self.stopped(Stopped::Left)),
            (_, true) if self.patience.passed() => {
                let waited = Waited::Pair;
                Err(NetError::TimedOut { waited, timeout: self.patience.timed_out(waited.what()) })
            }
            (_, true) => Ok(None),
        }
    }

    const fn stopped(&self, how: Stopped) -> NetError {
        let Self { acknowledged, got, bytes: of, .. } = *self;
        NetError::PairStopped { how, progress: Progress { acknowledged, got, of } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_stream_has_longer_and_rates_are_of_a_second() {
        assert_eq!(limit(1 << 30), Duration::from_secs(30 + 4096));
        let (sent_in, received_in) = (Duration::from_secs(2), Duration::from_millis(500));
        let report = PairReport { bytes: 3000, sent_in, received_in };
        assert_eq!(report.rates(), [1500, 6000]);
    }
}

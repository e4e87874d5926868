//! Event channels between the guest under test and its [`Peer`]s.
//!
//! Stricter than Xen: a poll that names a port nobody opened is refused, a poll with no deadline panics
//! (the guest promises to have one in every wait), and `take` on a closed port panics.
//!
//! A PIRQ is a level line, as INTx is: once it has raised its port, Xen holds back the next until the guest has said
//! that the last one is handled. The end of an interrupt on a PIRQ that no port is bound to is refused.

use super::{FakeClock, Peer};
use crate::{
    arch::time::{Clock, Instant},
    xen::{
        errno::XenError,
        events::{DomainId, EventChannels, Pirq, Port, Sharing},
    },
};
use alloc::{collections::BTreeMap, rc::Rc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    time::Duration,
};

/// How far the clock moves when everybody had a step and nothing is pending; Miri has no time for thousands of steps.
pub const ROUND: Duration = Duration::from_millis(if cfg!(miri) { 25 } else { 1 });

/// Where Xen is with a PIRQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// The next one is delivered.
    #[default]
    Ready,
    /// One was delivered, and its end not told.
    InService,
    /// And another has come since.
    HeldBack,
}

#[derive(Debug, Default)]
struct Channel {
    remote: Option<DomainId>,
    pirq: Option<Pirq>,
    line: Line,
    pending: bool,
    notified: bool,
}

/// Event channels that count what is open.
#[derive(Debug, Default)]
pub struct FakeEvents {
    clock: Rc<FakeClock>,
    channels: RefCell<BTreeMap<Port, Channel>>,
    peers: RefCell<Vec<Rc<dyn Peer>>>,
    last_port: Cell<u32>,
    born_with: Cell<usize>,
    eois: RefCell<Vec<Pirq>>,
}

impl FakeEvents {
    /// No channels, no peers, time zero.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// The clock that moves with the polls.
    pub fn clock(&self) -> Rc<FakeClock> {
        Rc::clone(&self.clock)
    }

    /// Lets `peer` take part in every poll from now on.
    pub fn add_peer(&self, peer: Rc<dyn Peer>) {
        self.peers.borrow_mut().push(peer);
    }

    /// A port the domain is born with, like xenstore's; not counted as taken.
    pub fn born_with(&self, remote: DomainId) -> Port {
        self.born_with.set(self.born_with.get() + 1);
        self.open(Channel { remote: Some(remote), ..Channel::default() })
    }

    /// How many ports the guest has opened and not closed.
    pub fn taken(&self) -> usize {
        self.channels.borrow().len() - self.born_with.get()
    }

    /// PIRQs told handled, in order.
    pub fn eois(&self) -> Vec<Pirq> {
        self.eois.borrow().clone()
    }

    /// Whether `port` is open towards `remote`: what a backend finds out by binding it.
    pub fn is_open_to(&self, port: Port, remote: DomainId) -> bool {
        let channels = self.channels.borrow();
        channels.get(&port).is_some_and(|c| c.remote == Some(remote))
    }

    /// The peer's half of `notify`: marks the guest's port pending. Nothing happens if it is closed.
    pub fn raise(&self, port: Port) {
        if let Some(channel) = self.channels.borrow_mut().get_mut(&port) {
            channel.pending = true;
        }
    }

    /// The device interrupts; says whether the guest was told. It is not while no port is bound to `pirq`, and not
    /// yet before it has told the end of the last one.
    pub fn raise_pirq(&self, pirq: Pirq) -> bool {
        self.with_pirq(pirq, |channel| {
            let ready = channel.line == Line::Ready;
            channel.line = if ready { Line::InService } else { Line::HeldBack };
            channel.pending |= ready;
            ready
        })
        .unwrap_or(false)
    }

    fn with_pirq<T>(&self, pirq: Pirq, act: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let mut channels = self.channels.borrow_mut();
        channels.values_mut().find(|channel| channel.pirq == Some(pirq)).map(act)
    }

    /// The peer's half of `take`: whether the guest has notified since the last call.
    pub fn was_notified(&self, port: Port) -> bool {
        let mut channels = self.channels.borrow_mut();
        let channel = channels.get_mut(&port);
        channel.is_some_and(|c| core::mem::take(&mut c.notified))
    }

    fn open(&self, channel: Channel) -> Port {
        self.last_port.set(self.last_port.get() + 1);
        let port = Port(self.last_port.get());
        self.channels.borrow_mut().insert(port, channel);
        port
    }

    fn with<T>(&self, port: Port, act: impl FnOnce(&mut Channel) -> T) -> Result<T, XenError> {
        let mut channels = self.channels.borrow_mut();
        channels.get_mut(&port).map(act).ok_or(XenError::Invalid)
    }

    fn any_pending(&self, ports: &[Port]) -> Result<bool, XenError> {
        let mut any = false;
        for &port in ports {
            any |= self.with(port, |c| c.pending)?;
        }
        Ok(any)
    }
}

impl EventChannels for FakeEvents {
    fn alloc_unbound(&self, remote: DomainId) -> Result<Port, XenError> {
        Ok(self.open(Channel { remote: Some(remote), ..Channel::default() }))
    }

    fn bind_pirq(&self, pirq: Pirq, _sharing: Sharing) -> Result<Port, XenError> {
        let bound = |c: &Channel| c.pirq == Some(pirq);
        if self.channels.borrow().values().any(bound) {
            return Err(XenError::Exists);
        }
        Ok(self.open(Channel { pirq: Some(pirq), ..Channel::default() }))
    }

    fn eoi(&self, pirq: Pirq) -> Result<(), XenError> {
        let end = |channel: &mut Channel| {
            let again = channel.line == Line::HeldBack;
            channel.line = if again { Line::InService } else { Line::Ready };
            channel.pending |= again;
        };
        self.with_pirq(pirq, end).ok_or(XenError::Invalid)?;
        self.eois.borrow_mut().push(pirq);
        Ok(())
    }

    fn close(&self, port: Port) -> Result<(), XenError> {
        let closed = self.channels.borrow_mut().remove(&port);
        closed.map(drop).ok_or(XenError::Invalid)
    }

    fn notify(&self, port: Port) -> Result<(), XenError> {
        self.with(port, |c| c.notified = true)
    }

    fn take(&self, port: Port) -> bool {
        let taken = self.with(port, |c| core::mem::take(&mut c.pending));
        taken.unwrap_or_else(|_| panic!("{port} is not open"))
    }

    fn poll(&self, ports: &[Port], deadline: Instant) -> Result<(), XenError> {
        assert!(deadline < Instant(u64::MAX), "a poll without a deadline");
        while !self.any_pending(ports)? && self.clock.now() < deadline {
            let peers = self.peers.borrow().clone();
            for peer in peers {
                peer.step();
            }
            if !self.any_pending(ports)? {
                let left = deadline.since(self.clock.now());
                self.clock.advance(left.min(ROUND));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Pirq = Pirq(19);

    #[test]
    fn a_line_is_silent_until_the_end_of_its_interrupt_is_told() {
        let events = FakeEvents::new();
        let port = events.bind_pirq(LINE, Sharing::Shared).unwrap();
        assert!(events.raise_pirq(LINE) && events.take(port));
        assert!(!events.raise_pirq(LINE) && !events.take(port));
        events.eoi(LINE).unwrap();
        assert!(events.take(port), "what was held back comes now");
        events.eoi(LINE).unwrap();
        assert!(!events.take(port));
        assert!(events.raise_pirq(LINE) && events.take(port));
        assert_eq!(events.eois(), [LINE, LINE]);
    }

    #[test]
    fn nothing_comes_from_a_line_that_no_port_is_bound_to_and_none_ends() {
        let events = FakeEvents::new();
        assert!(!events.raise_pirq(LINE));
        assert_eq!(events.eoi(LINE), Err(XenError::Invalid));
        let port = events.bind_pirq(LINE, Sharing::Shared).unwrap();
        assert_eq!(events.bind_pirq(LINE, Sharing::Shared), Err(XenError::Exists));
        assert_eq!(events.eoi(Pirq(20)), Err(XenError::Invalid));
        events.close(port).unwrap();
        assert_eq!((events.eoi(LINE), events.eois()), (Err(XenError::Invalid), Vec::new()));
    }
}

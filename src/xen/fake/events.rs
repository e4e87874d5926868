//! Event channels between the guest under test and its [`Peer`]s.
//!
//! Stricter than Xen: a poll that names a port nobody opened is refused, a poll with no deadline panics
//! (the guest promises to have one in every wait), and `take` on a closed port panics.

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

/// How far the clock moves when everybody had a step and nothing is pending.
const ROUND: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Channel {
    remote: Option<DomainId>,
    pirq: Option<Pirq>,
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

    /// Raises the port bound to `pirq`; says whether there was one.
    pub fn raise_pirq(&self, pirq: Pirq) -> bool {
        let mut channels = self.channels.borrow_mut();
        let bound = channels.values_mut().find(|c| c.pirq == Some(pirq));
        bound.map(|channel| channel.pending = true).is_some()
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

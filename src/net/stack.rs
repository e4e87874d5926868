//! A card, an interface and its sockets, and how they wait.

use super::{error::NetError, lease::Lease, phy::Phy};
use crate::{
    arch::time::{Clock, Instant},
    device::Cause,
    nic::Nic,
};
use core::fmt;
use smoltcp::{
    iface::{Config, Interface, SocketSet},
    time::Instant as Time,
    wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address},
};

/// Sleeping until the card wants attention.
pub trait Wait {
    /// Sleeps until the card interrupted or the deadline has passed; may return early.
    fn wait(&mut self, deadline: Instant);

    /// The cause of the last interrupt was taken from the card, which asserts it no longer: tells the
    /// interrupt's controller, so that the next one arrives.
    fn handled(&mut self);
}

/// An IPv4 host on one card.
pub struct Stack<'s> {
    pub(super) phy: Phy<'s>,
    pub(super) interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    pub(super) clock: &'s dyn Clock,
    pub(super) wait: &'s mut dyn Wait,
    seed: u64,
    /// Grows with each use: ports and identifiers that were not used before.
    serial: u16,
}

impl fmt::Debug for Stack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl<'s> Stack<'s> {
    /// A host without an address on `nic`, whose receive interrupts are enabled from here on.
    ///
    /// `seed` is for numbers that must differ from run to run; the time stamp counter will do.
    pub fn new(
        nic: &'s mut dyn Nic,
        clock: &'s dyn Clock,
        wait: &'s mut dyn Wait,
        seed: u64,
    ) -> Self {
        nic.enable_interrupts(Cause::RECEIVER);
        let mut phy = Phy::new(nic);
        let interface = interface(&mut phy, clock, seed);
        let [low, high, ..] = seed.to_le_bytes();
        let serial = u16::from_le_bytes([low, high]);
        Self { phy, interface, sockets: SocketSet::new([]), clock, wait, seed, serial }
    }

    /// A new host without an address on the same card, which takes TCP segments as they are, whatever their checksums.
    pub(super) fn look_at_every_segment(&mut self) {
        self.phy.take_every_segment();
        self.interface = interface(&mut self.phy, self.clock, self.seed);
    }

    /// The host's address, once it has one.
    pub fn address(&self) -> Option<Ipv4Address> {
        self.interface.ipv4_addr()
    }

    /// The card, for its counters and evidence.
    pub fn nic(&mut self) -> &mut (dyn Nic + 's) {
        self.phy.nic()
    }

    /// Gives the host the lease's address, and its router for what lies outside its network.
    pub fn take_lease(&mut self, lease: &Lease) -> Result<(), NetError> {
        let mut room = true;
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            room = addresses.push(IpCidr::Ipv4(lease.address())).is_ok();
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = lease.router() {
            room &= routes.add_default_ipv4_route(router).is_ok();
        }
        if room { Ok(()) } else { Err(NetError::Socket("another address or route")) }
    }

    /// A port or identifier that was not used before.
    pub(super) const fn fresh(&mut self) -> u16 {
        self.serial = self.serial.wrapping_add(1);
        49152 | (self.serial % 16384)
    }
}

/// A host without an address.
fn interface(phy: &mut Phy<'_>, clock: &dyn Clock, seed: u64) -> Interface {
    let mac = EthernetAddress(phy.nic().mac());
    let mut config = Config::new(HardwareAddress::Ethernet(mac));
    config.random_seed = seed;
    Interface::new(config, phy, time(clock.now()))
}

/// A moment as smoltcp counts: microseconds.
pub(super) fn time(now: Instant) -> Time {
    Time::from_micros(i64::try_from(now.0 / 1000).unwrap_or(i64::MAX))
}

/// A moment of smoltcp's as this guest counts.
pub(super) fn instant(time: Time) -> Instant {
    Instant(u64::try_from(time.total_micros()).unwrap_or(0).saturating_mul(1000))
}

//! Event channels: how Xen, dom0 and devices get the guest's attention (`public/event_channel.h`).
//!
//! Events are polled: upcalls stay masked, a wait is `SCHEDOP_poll` with a deadline on the ports of
//! interest, so nothing ever re-enters.

use crate::{arch::time::Instant, xen::errno::XenError};
use core::fmt;

/// A domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomainId(pub u16);

impl DomainId {
    /// Whoever makes the call (`DOMID_SELF`).
    pub const SELF: Self = Self(0x7ff0);
    /// The owner of memory-mapped I/O (`DOMID_IO`).
    pub const IO: Self = Self(0x7ff1);
    /// The control domain.
    pub const DOM0: Self = Self(0);
}

/// The guest's end of an event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event channel {}", self.0)
    }
}

/// A physical interrupt as Xen numbers it for this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pirq(pub u32);

impl fmt::Display for Pirq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pirq {}", self.0)
    }
}

/// Whether other domains' devices may be on the same interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// INTx: the line may be shared.
    Shared,
    /// MSI and MSI-X: the interrupt is the device's own.
    Exclusive,
}

/// Event channel operations.
pub trait EventChannels {
    /// A new port that `remote` may bind to.
    fn alloc_unbound(&self, remote: DomainId) -> Result<Port, XenError>;

    /// A new port on which `pirq` arrives.
    fn bind_pirq(&self, pirq: Pirq, sharing: Sharing) -> Result<Port, XenError>;

    /// Tells Xen that the interrupt behind a PIRQ has been handled (`PHYSDEVOP_eoi`).
    fn eoi(&self, pirq: Pirq) -> Result<(), XenError>;

    /// Gives the port back.
    fn close(&self, port: Port) -> Result<(), XenError>;

    /// Raises an event at the other end.
    fn notify(&self, port: Port) -> Result<(), XenError>;

    /// Takes the pending mark off `port` and says whether there was one.
    fn take(&self, port: Port) -> bool;

    /// Sleeps until one of `ports` is pending or the deadline has passed; may return early.
    ///
    /// Says nothing about which: the caller looks at what it waited for and at the clock.
    fn poll(&self, ports: &[Port], deadline: Instant) -> Result<(), XenError>;
}

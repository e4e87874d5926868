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

#[cfg(target_os = "none")]
pub use real::LocalEvents;

#[cfg(target_os = "none")]
mod real {
    use super::{DomainId, EventChannels, Pirq, Port, Sharing};
    use crate::{
        arch::time::Instant,
        xen::{errno::XenError, hypercall, shared_info::SharedInfo},
    };
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    /// The domain's event channels, and how many of them this guest has opened and not closed.
    #[derive(Debug)]
    pub struct LocalEvents {
        shared: SharedInfo,
        open: AtomicU32,
        /// One bit a port that has a PIRQ bound; ports beyond 63 are counted with 63.
        pirqs: AtomicU64,
    }

    impl LocalEvents {
        /// The channels whose pending bits are in `shared`; every one is masked from now on.
        pub fn new(shared: SharedInfo) -> Self {
            shared.mask_all();
            Self { shared, open: AtomicU32::new(0), pirqs: AtomicU64::new(0) }
        }

        /// Ports opened and not closed.
        pub fn open(&self) -> u32 {
            self.open.load(Ordering::Relaxed)
        }

        /// PIRQs bound and not let go of.
        pub fn pirqs(&self) -> u32 {
            self.pirqs.load(Ordering::Relaxed).count_ones()
        }

        fn opened(&self, port: Port) -> Port {
            self.open.fetch_add(1, Ordering::Relaxed);
            port
        }

        /// A port that rings at this vCPU itself.
        pub fn bind_ipi(&self) -> Result<Port, XenError> {
            hypercall::bind_ipi().map(|port| self.opened(port))
        }
    }

    const fn bit(port: Port) -> u64 {
        1 << if port.0 < 63 { port.0 } else { 63 }
    }

    impl EventChannels for LocalEvents {
        fn alloc_unbound(&self, remote: DomainId) -> Result<Port, XenError> {
            hypercall::alloc_unbound(remote).map(|port| self.opened(port))
        }

        fn bind_pirq(&self, pirq: Pirq, sharing: Sharing) -> Result<Port, XenError> {
            let port = self.opened(hypercall::bind_pirq(pirq, sharing)?);
            self.pirqs.fetch_or(bit(port), Ordering::Relaxed);
            Ok(port)
        }

        fn eoi(&self, pirq: Pirq) -> Result<(), XenError> {
            hypercall::eoi(pirq)
        }

        fn close(&self, port: Port) -> Result<(), XenError> {
            hypercall::close(port)?;
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.pirqs.fetch_and(!bit(port), Ordering::Relaxed);
            // A mark left by the old owner must not look like news to the next.
            self.shared.take(port);
            Ok(())
        }

        fn notify(&self, port: Port) -> Result<(), XenError> {
            hypercall::notify(port)
        }

        fn take(&self, port: Port) -> bool {
            self.shared.take(port)
        }

        fn poll(&self, ports: &[Port], deadline: Instant) -> Result<(), XenError> {
            hypercall::poll(ports, deadline)
        }
    }
}

//! This domain's event channels, by hypercall and the page shared with Xen.

use crate::{
    arch::time::Instant,
    xen::{
        errno::XenError,
        events::{DomainId, EventChannels, Pirq, Port, Sharing},
        hypercall,
        shared_info::SharedInfo,
    },
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

//! A source of memory that fails on demand: sweeping the call that fails finds what leaks.

use crate::{
    addr::DmaMask,
    mm::contiguous::{AcquireError, ContiguousMemory, Order, Region, ReleaseError},
    xen::errno::XenError,
};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Passes calls on, except the ones told to fail. Calls are counted from 0.
pub struct Faulty<'a> {
    inner: &'a dyn ContiguousMemory,
    acquires: AtomicUsize,
    releases: AtomicUsize,
    fail_acquire: usize,
    fail_release: usize,
    /// Every acquire from the failing one on fails.
    for_good: bool,
}

impl core::fmt::Debug for Faulty<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Faulty").field("acquires", &self.acquires).finish_non_exhaustive()
    }
}

impl<'a> Faulty<'a> {
    /// Nothing fails yet.
    pub const fn new(inner: &'a dyn ContiguousMemory) -> Self {
        Self {
            inner,
            acquires: AtomicUsize::new(0),
            releases: AtomicUsize::new(0),
            fail_acquire: usize::MAX,
            fail_release: usize::MAX,
            for_good: false,
        }
    }

    /// The `n`-th acquire fails, and only that one.
    pub const fn failing_acquire(self, n: usize) -> Self {
        Self { fail_acquire: n, ..self }
    }

    /// All acquires from the `n`-th on fail: the machine is out of low memory.
    pub const fn dry_after(self, n: usize) -> Self {
        Self { fail_acquire: n, for_good: true, ..self }
    }

    /// The `n`-th release fails; its region is lost, as with a Xen that refuses it.
    pub const fn failing_release(self, n: usize) -> Self {
        Self { fail_release: n, ..self }
    }

    /// How many acquires there were, failed ones included.
    pub fn acquires(&self) -> usize {
        self.acquires.load(Ordering::Relaxed)
    }
}

impl ContiguousMemory for Faulty<'_> {
    fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        let n = self.acquires.fetch_add(1, Ordering::Relaxed);
        if n == self.fail_acquire || self.for_good && n > self.fail_acquire {
            let error = XenError::NoMemory;
            return Err(AcquireError::Refused { order, bits: mask.bits(), error });
        }
        self.inner.acquire(order, mask)
    }

    fn release(&self, region: Region) -> Result<(), ReleaseError> {
        let n = self.releases.fetch_add(1, Ordering::Relaxed);
        if n == self.fail_release {
            let error = XenError::Invalid;
            return Err(ReleaseError { mfn: region.mfn(), order: region.order(), error });
        }
        self.inner.release(region)
    }
}

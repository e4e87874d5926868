//! A bounced mapping without its buffer: the run, its guards, and its way back into the pool.

use super::{
    error::FinishError,
    layout::{self, GUARD, Layout},
    pool::Pool,
    raw,
    segment::Lease,
};
use crate::addr::BusAddr;
use core::ops::Range;

/// Slots in use by a device; dropping it gives them back without looking at them.
#[derive(Debug)]
pub(super) struct Bounce<'m> {
    pool: &'m Pool<'m>,
    /// `None` only while being dropped.
    lease: Option<Lease>,
    layout: Layout,
    /// Bytes copied back, for the pool's counters.
    copied_back: usize,
}

impl<'m> Bounce<'m> {
    pub(super) const fn new(pool: &'m Pool<'m>, lease: Lease, layout: Layout) -> Self {
        Self { pool, lease: Some(lease), layout, copied_back: 0 }
    }

    /// The mapping's first byte as the device sees it.
    pub(super) fn bus(&self) -> BusAddr {
        let start = self.lease.as_ref().map_or(BusAddr(0), Lease::bus);
        BusAddr(start.0 + self.layout.head as u64)
    }

    /// Copies to byte `offset` of the mapping.
    #[inline]
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) {
        raw::check("mapping", self.layout.len, offset, from.len());
        if let Some(lease) = &mut self.lease {
            lease.bytes.write(self.layout.head + offset, from);
        }
    }

    /// Copies back what the device wrote from the start of the mapping.
    #[inline]
    pub(super) fn copy_back(&mut self, to: &mut [u8]) {
        self.read(0, to);
        self.copied_back += to.len();
    }

    /// Copies from byte `offset` of the mapping.
    #[inline]
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) {
        raw::check("mapping", self.layout.len, offset, to.len());
        if let Some(lease) = &self.lease {
            lease.bytes.read(self.layout.head + offset, to);
        }
    }

    /// Writes the guard bytes.
    pub(super) fn arm(&mut self) {
        let pattern = layout::pattern(self.bus());
        for guard in self.guards() {
            if let Some(lease) = &mut self.lease {
                lease.bytes.write(guard.start, &pattern[..guard.len()]);
            }
        }
    }

    /// Looks at the guard bytes.
    pub(super) fn check_guards(&self) -> Result<(), FinishError> {
        let pattern = layout::pattern(self.bus());
        for guard in self.guards() {
            let mut found = [0; GUARD];
            let found = &mut found[..guard.len()];
            self.lease.iter().for_each(|lease| lease.bytes.read(guard.start, found));
            if *found != pattern[..guard.len()] {
                self.pool.books().stats.overruns += 1;
                return Err(self.overrun(guard.start, found, &pattern));
            }
        }
        Ok(())
    }

    /// The guard bytes before and after, as offsets in the run.
    fn guards(&self) -> [Range<usize>; 2] {
        let Layout { head, len, .. } = self.layout;
        let end = head + len;
        let run = self.lease.as_ref().map_or(end, |lease| lease.bytes.len());
        [head - head.min(GUARD)..head, end..run.min(end + GUARD)]
    }

    #[cold]
    fn overrun(&self, start: usize, found: &[u8], pattern: &[u8]) -> FinishError {
        let first = found.iter().zip(pattern).position(|(found, expected)| found != expected);
        let first = first.unwrap_or(0);
        // Both are below 16 MiB plus a page, so they fit.
        let offset = (start + first).cast_signed() - self.layout.head.cast_signed();
        FinishError::Overrun { offset, found: found[first], len: self.layout.len, bus: self.bus() }
    }
}

impl Drop for Bounce<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let mut books = self.pool.books();
            books.give(lease);
            books.stats.bytes_from_device += self.copied_back as u64;
        }
    }
}

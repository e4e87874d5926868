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

/// Words in a full guard.
const WORDS: usize = GUARD / 8;

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
    #[inline]
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
    #[inline]
    pub(super) fn arm(&mut self) {
        let word = layout::pattern(self.bus());
        let guards = self.guards();
        let Some(lease) = &mut self.lease else { return };
        for guard in guards {
            if guard.len() == GUARD {
                lease.bytes.write_words::<WORDS>(guard.start, word);
            } else {
                let bytes = [word.to_ne_bytes(); WORDS];
                lease.bytes.write(guard.start, &bytes.as_flattened()[..guard.len()]);
            }
        }
    }

    /// Looks at the guard bytes.
    #[inline]
    pub(super) fn check_guards(&self) -> Result<(), FinishError> {
        let [before, after] = self.guards();
        if self.is_intact(&before) && self.is_intact(&after) {
            return Ok(());
        }
        Err(self.overrun([before, after]))
    }

    #[inline]
    fn is_intact(&self, guard: &Range<usize>) -> bool {
        let Some(lease) = &self.lease else { return true };
        if guard.len() == GUARD {
            let word = layout::pattern(self.bus());
            return lease.bytes.holds_words::<WORDS>(guard.start, word);
        }
        self.first_changed(guard).is_none()
    }

    /// The guard bytes before and after, as offsets in the run.
    #[inline]
    fn guards(&self) -> [Range<usize>; 2] {
        let Layout { head, len, .. } = self.layout;
        let end = head + len;
        let run = self.lease.as_ref().map_or(end, |lease| lease.bytes.len());
        [head - head.min(GUARD)..head, end..run.min(end + GUARD)]
    }

    /// The first byte of a guard that is not the pattern's, as offset in the run, and its value.
    fn first_changed(&self, guard: &Range<usize>) -> Option<(usize, u8)> {
        let mut found = [0; GUARD];
        let found = &mut found[..guard.len()];
        self.lease.as_ref()?.bytes.read(guard.start, found);
        let pattern = layout::pattern(self.bus()).to_ne_bytes();
        let mut bytes = guard.clone().zip(found.iter().zip(pattern.iter().cycle()));
        bytes.find_map(|(at, (byte, expected))| (byte != expected).then_some((at, *byte)))
    }

    #[cold]
    fn overrun(&self, guards: [Range<usize>; 2]) -> FinishError {
        self.pool.books().stats.overruns += 1;
        let first = guards.iter().find_map(|guard| self.first_changed(guard));
        // The device may have put the pattern back since; then byte 0 stands for it.
        let (at, found) = first.unwrap_or((self.layout.head, 0));
        // Both are below 16 MiB plus a page, so they fit.
        let offset = at.cast_signed() - self.layout.head.cast_signed();
        FinishError::Overrun { offset, found, len: self.layout.len, bus: self.bus() }
    }
}

impl Drop for Bounce<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let mut books = self.pool.books();
            books.give(lease);
            books.stats.bytes_from_device += self.copied_back as u64;
        }
    }
}

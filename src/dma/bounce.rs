//! A bounced mapping without its buffer: the run, its guards, and its way back into the pool.

use super::{
    error::FinishError,
    layout::{self, GUARD},
    pool::Pool,
    raw,
    segment::Lease,
};
use crate::{
    addr::BusAddr,
    mm::{
        memory::{Memory, MemoryError},
        pages::DeviceMemory,
    },
    xen::errno::XenError,
};
use core::ops::Range;

/// Words in a full guard.
const WORDS: usize = GUARD / 8;
const _: () = assert!(GUARD == raw::PAIR);

/// Slots in use by a device; dropping it gives them back without looking at them.
#[derive(Debug)]
pub(super) struct Bounce<'m> {
    pool: &'m Pool<'m>,
    /// `None` only while being dropped.
    lease: Option<Lease>,
    /// Bytes in the run before the mapping.
    head: usize,
    /// Bytes of the mapping.
    len: usize,
}

impl<'m> Bounce<'m> {
    #[inline(always)]
    pub(super) const fn new(pool: &'m Pool<'m>, lease: Lease, head: usize, len: usize) -> Self {
        Self { pool, lease: Some(lease), head, len }
    }

    /// The mapping's first byte as the device sees it.
    #[inline(always)]
    pub(super) fn bus(&self) -> BusAddr {
        let start = self.lease.as_ref().map_or(BusAddr(0), Lease::bus);
        BusAddr(start.0 + self.head as u64)
    }

    /// Copies to byte `offset` of the mapping.
    #[inline(always)]
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) {
        raw::check("mapping", self.len, offset, from.len());
        if let Some(lease) = &mut self.lease {
            lease.bytes.write(self.head + offset, from);
        }
    }

    /// Copies from byte `offset` of the mapping.
    #[inline(always)]
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) {
        raw::check("mapping", self.len, offset, to.len());
        if let Some(lease) = &self.lease {
            lease.bytes.read(self.head + offset, to);
        }
    }

    /// The run's bytes as the device has them, from byte `offset` of the mapping on, which may be before it.
    pub(super) fn as_device<'a>(
        &'a self,
        memory: &'a Memory<'a>,
        offset: isize,
    ) -> Result<DeviceMemory<'a>, MemoryError> {
        let gone = MemoryError::Mapping { virt: 0, error: XenError::BadAddress };
        let lease = self.lease.as_ref().ok_or(gone)?;
        lease.bytes.as_device(memory, lease.bus(), self.head.wrapping_add_signed(offset))
    }

    /// Gives the slots back, as dropping does, after `copied_back` bytes came out of them.
    #[inline(always)]
    pub(super) fn end(mut self, copied_back: usize) {
        self.give_back(copied_back);
        core::mem::forget(self);
    }

    #[inline(always)]
    fn give_back(&mut self, copied_back: usize) {
        if let Some(lease) = self.lease.take() {
            let mut books = self.pool.books();
            books.give(lease);
            books.stats.bytes_from_device += copied_back as u64;
        }
    }

    /// Writes the guard bytes.
    ///
    /// By value, as the functions for the rare case below: a value whose address is never taken stays in
    /// registers, which is most of what a short mapping costs.
    #[inline(always)]
    pub(super) fn armed(mut self) -> Self {
        let (head, end, word) = (self.head, self.head + self.len, layout::pattern(self.bus()));
        let armed =
            self.lease.as_mut().is_some_and(|lease| lease.bytes.write_around(head, end, word));
        if armed { self } else { self.armed_partly() }
    }

    /// Writes what guard bytes there is room for.
    #[cold]
    #[inline(never)]
    fn armed_partly(mut self) -> Self {
        let (word, guards) = (layout::pattern(self.bus()), self.guards());
        let bytes = [word.to_ne_bytes(); WORDS];
        if let Some(lease) = &mut self.lease {
            for guard in guards {
                lease.bytes.write(guard.start, &bytes.as_flattened()[..guard.len()]);
            }
        }
        self
    }

    /// Whether all guard bytes are there and hold.
    #[inline(always)]
    fn is_guarded(&self) -> bool {
        let (head, end, word) = (self.head, self.head + self.len, layout::pattern(self.bus()));
        self.lease.as_ref().is_some_and(|lease| lease.bytes.holds_around(head, end, word))
    }

    /// The same after a look at the guard bytes; an overrun ends the mapping.
    #[inline(always)]
    pub(super) fn checked(self) -> Result<Self, FinishError> {
        if self.is_guarded() { Ok(self) } else { self.checked_partly() }
    }

    #[cold]
    #[inline(never)]
    fn checked_partly(self) -> Result<Self, FinishError> {
        self.check_guards().map(|()| self)
    }

    /// Looks at the guard bytes one by one.
    pub(super) fn check_guards(&self) -> Result<(), FinishError> {
        let guards = self.guards();
        if guards.iter().all(|guard| self.first_changed(guard).is_none()) {
            return Ok(());
        }
        Err(self.overrun(guards))
    }

    /// The guard bytes before and after, as offsets in the run.
    fn guards(&self) -> [Range<usize>; 2] {
        let (head, end) = (self.head, self.head + self.len);
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
        let (at, found) = first.unwrap_or((self.head, 0));
        // Both are below 16 MiB plus a page, so they fit.
        let offset = at.cast_signed() - self.head.cast_signed();
        FinishError::Overrun { offset, found, len: self.len, bus: self.bus() }
    }
}

impl Drop for Bounce<'_> {
    fn drop(&mut self) {
        self.give_back(0);
    }
}

//! A bounced mapping without its buffer: the run and its guards.

use super::{
    error::FinishError,
    layout::{self, GUARD},
    raw,
    segment::Lease,
};
use crate::{
    addr::BusAddr,
    mm::{
        memory::{Memory, MemoryError},
        pages::DeviceMemory,
    },
};
use core::ops::Range;

/// Words in a full guard.
const WORDS: usize = GUARD / 8;
const _: () = assert!(GUARD == raw::PAIR);

/// Slots in use by a device.
#[derive(Debug)]
pub(super) struct Bounce {
    lease: Lease,
    /// Bytes in the run before the mapping.
    head: usize,
    /// Bytes of the mapping.
    len: usize,
}

impl Bounce {
    #[inline(always)]
    pub(super) const fn new(lease: Lease, head: usize, len: usize) -> Self {
        Self { lease, head, len }
    }

    /// Bytes mapped.
    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The slots, for the pool.
    #[inline(always)]
    pub(super) fn into_lease(self) -> Lease {
        self.lease
    }

    /// The mapping's first byte as the device sees it.
    #[inline(always)]
    pub(super) fn bus(&self) -> BusAddr {
        BusAddr(self.lease.bus().0 + self.head as u64)
    }

    /// Copies to byte `offset` of the mapping.
    #[inline(always)]
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) {
        raw::check("mapping", self.len, offset, from.len());
        self.lease.bytes.write(self.head + offset, from);
    }

    /// Copies from byte `offset` of the mapping.
    #[inline(always)]
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) {
        raw::check("mapping", self.len, offset, to.len());
        self.lease.bytes.read(self.head + offset, to);
    }

    /// The run's bytes as the device has them, from byte `offset` of the mapping on, which may be before it.
    pub(super) fn as_device<'a>(
        &'a self,
        memory: &'a Memory<'a>,
        offset: isize,
    ) -> Result<DeviceMemory<'a>, MemoryError> {
        let first = self.head.wrapping_add_signed(offset);
        self.lease.bytes.as_device(memory, self.lease.bus(), first)
    }

    /// Writes the guard bytes.
    ///
    /// By value, as the functions for the rare case below: a value whose address is never taken stays in
    /// registers, which is most of what a short mapping costs.
    #[inline(always)]
    pub(super) fn armed(mut self) -> Self {
        let (head, end, word) = (self.head, self.head + self.len, layout::pattern(self.bus()));
        if self.lease.bytes.write_around(head, end, word) { self } else { self.armed_partly() }
    }

    /// Writes what guard bytes there is room for.
    #[cold]
    #[inline(never)]
    fn armed_partly(mut self) -> Self {
        let (word, guards) = (layout::pattern(self.bus()), self.guards());
        let bytes = [word.to_ne_bytes(); WORDS];
        for guard in guards {
            self.lease.bytes.write(guard.start, &bytes.as_flattened()[..guard.len()]);
        }
        self
    }

    /// Whether all guard bytes are there and hold.
    #[inline(always)]
    fn is_guarded(&self) -> bool {
        let (head, end, word) = (self.head, self.head + self.len, layout::pattern(self.bus()));
        self.lease.bytes.holds_around(head, end, word)
    }

    /// Looks at the guard bytes.
    #[inline(always)]
    pub(super) fn checked(self) -> Result<Self, (FinishError, Self)> {
        if self.is_guarded() { Ok(self) } else { self.checked_partly() }
    }

    #[cold]
    #[inline(never)]
    fn checked_partly(self) -> Result<Self, (FinishError, Self)> {
        match self.check_guards() {
            Ok(()) => Ok(self),
            Err(error) => Err((error, self)),
        }
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
        let run = self.lease.bytes.len();
        [head - head.min(GUARD)..head, end..run.min(end + GUARD)]
    }

    /// The first byte of a guard that is not the pattern's, as offset in the run, and its value.
    fn first_changed(&self, guard: &Range<usize>) -> Option<(usize, u8)> {
        let mut found = [0; GUARD];
        let found = &mut found[..guard.len()];
        self.lease.bytes.read(guard.start, found);
        let pattern = layout::pattern(self.bus()).to_ne_bytes();
        let mut bytes = guard.clone().zip(found.iter().zip(pattern.iter().cycle()));
        bytes.find_map(|(at, (byte, expected))| (byte != expected).then_some((at, *byte)))
    }

    #[cold]
    fn overrun(&self, guards: [Range<usize>; 2]) -> FinishError {
        let first = guards.iter().find_map(|guard| self.first_changed(guard));
        // The device may have put the pattern back since; then byte 0 stands for it.
        let (at, found) = first.unwrap_or((self.head, 0));
        // Both are below 16 MiB plus a page, so they fit.
        let offset = at.cast_signed() - self.head.cast_signed();
        FinishError::Overrun { offset, found, len: self.len, bus: self.bus() }
    }
}

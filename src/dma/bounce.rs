//! A bounced mapping without its buffer: the run, its guards, and the pattern that tells what a device wrote.
//!
//! Each run comes with a word that no other has had ([`Lease::word`]). The guards are made of it; and what only
//! the device is to write is filled with it first, so that nothing of an earlier mapping is left in the slots, and
//! bytes that a device reports and never wrote are told from those it did.

use super::{direction::Flow, error::FinishError, layout::GUARD, raw, segment::Lease};
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

/// Bytes of the pattern that no device writes by chance: what it writes is them once in 2^64 times.
const TELLING: usize = size_of::<u64>();

/// Slots in use by a device.
#[derive(Debug)]
pub(super) struct Bounce {
    lease: Lease,
    /// Bytes in the run before the mapping.
    head: usize,
    /// Bytes of the mapping.
    len: usize,
    /// Whether it was filled with the pattern.
    filled: bool,
}

impl Bounce {
    #[inline(always)]
    pub(super) const fn new(lease: Lease, head: usize, len: usize) -> Self {
        Self { lease, head, len, filled: false }
    }

    /// With what the device is to find there: `bytes`, or the pattern if it `fills` what only the device writes, and guards
    /// where it writes at all.
    #[inline(always)]
    pub(super) fn begun(mut self, bytes: &[u8], flow: Flow, fills: bool) -> Self {
        if flow.to_device {
            self.write(0, bytes);
        } else if fills {
            self.fill(0, self.len);
        }
        if flow.from_device { self.armed() } else { self }
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

    /// Fills bytes of the mapping with the pattern, which goes by the offset: the word begins at each multiple of 8.
    #[inline(always)]
    pub(super) fn fill(&mut self, offset: usize, len: usize) {
        raw::check("mapping", self.len, offset, len);
        self.filled = true;
        self.lease.bytes.fill(self.head + offset, len, self.word_at(offset));
    }

    /// The same again, of a mapping that was filled.
    pub(super) fn refill(&mut self, offset: usize, len: usize) {
        if self.filled {
            self.fill(offset, len);
        }
    }

    /// The 8 bytes of the pattern from byte `offset` of the mapping.
    #[inline(always)]
    fn word_at(&self, offset: usize) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "64 bits round are none")]
        let bits = (offset * 8) as u32;
        // In the order of addresses the byte at the lowest bits comes first.
        self.lease.word().rotate_right(bits)
    }

    /// Whether the device wrote the last bytes before `end`, as far as can be told: fewer than [`TELLING`] bytes
    /// may be the pattern's by chance.
    #[inline(always)]
    pub(super) fn is_written_to(&self, start: usize, end: usize) -> bool {
        if !self.filled || end.saturating_sub(start) < TELLING {
            return true;
        }
        let last = end - TELLING;
        self.lease.bytes.word(self.head + last) != self.word_at(last)
    }

    /// Looks whether the device wrote as many bytes as it reported.
    #[inline(always)]
    pub(super) fn reported(self, written: usize) -> Result<Self, (FinishError, Self)> {
        if self.is_written_to(0, written) { Ok(self) } else { Err(self.overreporting(written)) }
    }

    fn overreporting(self, written: usize) -> (FinishError, Self) {
        (self.overreported(0, written), self)
    }

    /// What to say of a device that did not write the last bytes of `start..end`.
    pub(super) fn overreported(&self, start: usize, end: usize) -> FinishError {
        let is_pattern = |at: &usize| {
            let mut byte = [0];
            self.read(*at, &mut byte);
            u64::from(byte[0]) == self.word_at(*at) & 0xff
        };
        let unwritten = (start..end).rev().take_while(is_pattern).count();
        let (written, first) = (end - start, end - unwritten);
        FinishError::Overreported { written, first, len: self.len, bus: self.bus() }
    }

    /// Writes the guard bytes.
    ///
    /// By value, as the functions for the rare case below: a value whose address is never taken stays in
    /// registers, which is most of what a short mapping costs.
    #[inline(always)]
    pub(super) fn armed(mut self) -> Self {
        let (head, end, word) = (self.head, self.head + self.len, self.lease.word());
        if self.lease.bytes.write_around(head, end, word) { self } else { self.armed_partly() }
    }

    /// Writes what guard bytes there is room for.
    fn armed_partly(mut self) -> Self {
        let (word, guards) = (self.lease.word(), self.guards());
        let bytes = [word.to_ne_bytes(); WORDS];
        for guard in guards {
            self.lease.bytes.write(guard.start, &bytes.as_flattened()[..guard.len()]);
        }
        self
    }

    /// Whether all guard bytes are there and hold.
    #[inline(always)]
    fn is_guarded(&self) -> bool {
        let (head, end, word) = (self.head, self.head + self.len, self.lease.word());
        self.lease.bytes.holds_around(head, end, word)
    }

    /// Looks at the guard bytes.
    #[inline(always)]
    pub(super) fn checked(self) -> Result<Self, (FinishError, Self)> {
        if self.is_guarded() { Ok(self) } else { self.checked_partly() }
    }

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
        let pattern = self.lease.word().to_ne_bytes();
        let mut bytes = guard.clone().zip(found.iter().zip(pattern.iter().cycle()));
        bytes.find_map(|(at, (byte, expected))| (byte != expected).then_some((at, *byte)))
    }

    fn overrun(&self, guards: [Range<usize>; 2]) -> FinishError {
        let first = guards.iter().find_map(|guard| self.first_changed(guard));
        // The device may have put the pattern back since; then byte 0 stands for it.
        let (at, found) = first.unwrap_or((self.head, 0));
        // Both are below 16 MiB plus a page, so they fit.
        let offset = at.cast_signed() - self.head.cast_signed();
        FinishError::Overrun { offset, found, len: self.len, bus: self.bus() }
    }
}

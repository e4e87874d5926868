//! Bytes that a device may write while the CPU looks: the only code of the layer that touches them.
//!
//! There are two kinds: slot memory, and a buffer that a device uses where it lies. Both are read and
//! written by bounds-checked copies, each byte once; a reference to them is never made, because a
//! reference promises that nobody else writes.
#![expect(
    unsafe_code,
    reason = "copies to and from memory shared with a device are confined to this module"
)]

use super::buffer::Bytes;
use crate::{
    addr::BusAddr,
    arch::{copy, volatile::Window, words},
    mm::{
        contiguous::Region,
        memory::{Memory, MemoryError},
        pages::DeviceMemory,
    },
};
use core::ptr::NonNull;

/// Bytes of two words.
pub(super) const PAIR: usize = 16;

/// A run of bytes shared with a device.
///
/// Invariant: the bytes are mapped, and no Rust reference to them is used, for as long as this value
/// exists. Not `Clone`, so that whoever owns it keeps that promise alone.
#[derive(Debug)]
pub(super) struct SharedBytes {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes belong to the owner of this value alone, in no way bound to a thread.
unsafe impl Send for SharedBytes {}

impl SharedBytes {
    /// Bytes `offset..offset + len` of a region.
    ///
    /// The invariant is kept by the region's maker, who promised mapped bytes of which nobody holds a
    /// reference, and by the table, which lets no region go while a run of its slots is taken.
    pub(super) fn of_region(region: &Region, offset: usize, len: usize) -> Self {
        check("region", region.len(), offset, len);
        // SAFETY: the offset was just checked to lie inside the region's mapping.
        let base = unsafe { region.cpu().add(offset) };
        Self { base, len }
    }

    /// A buffer that a device is going to use where it lies.
    ///
    /// The invariant is kept by the mapping, which owns the buffer next to this value, leaves it alone until this
    /// value is gone and never drops it before; and by [`Bytes::DIRECT`], which lets the buffer move meanwhile.
    pub(super) fn of_buffer(buffer: &mut impl Bytes) -> Self {
        let bytes = match buffer.bytes_mut() {
            Some(bytes) => NonNull::from(bytes),
            None => NonNull::from(buffer.bytes()),
        };
        // A device goes by the address alone, and what it writes is there for this pointer to read.
        bytes.cast::<u8>().as_ptr().expose_provenance();
        Self { base: bytes.cast(), len: bytes.len() }
    }

    /// Where they are.
    pub(super) fn address(&self) -> usize {
        self.base.addr().get()
    }

    /// How many.
    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Copies `from` to byte `offset`. Bytes made of a read-only buffer must not be written to.
    #[inline(always)]
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        // SAFETY: `at` checked the bounds, and the type's invariant keeps the bytes mapped and free of
        // references, `from` included.
        unsafe { copy::copy_to_device(to, from) }
    }

    /// Copies from byte `offset`.
    #[inline(always)]
    pub(super) fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: as for `write`.
        unsafe { copy::copy_from_device(to, from) }
    }

    /// Writes `word` twice up to byte `start` and twice from byte `end`; whether there is room for that.
    #[inline(always)]
    pub(super) fn write_around(&mut self, start: usize, end: usize, word: u64) -> bool {
        let Some([before, after]) = self.around(start, end) else { return false };
        // SAFETY: `around` checked the bounds; else as for `write`.
        unsafe { words::store_pair(before, word) };
        // SAFETY: the same.
        unsafe { words::store_pair(after, word) };
        true
    }

    /// Whether `word` is there twice up to byte `start` and twice from byte `end`.
    #[inline(always)]
    pub(super) fn holds_around(&self, start: usize, end: usize, word: u64) -> bool {
        self.around(start, end).is_some_and(|[before, after]| {
            // SAFETY: `around` checked the bounds; else as for `write`.
            let differing = unsafe { words::compare_pair(before, word) };
            // SAFETY: the same.
            differing | unsafe { words::compare_pair(after, word) } == 0
        })
    }

    /// The [`PAIR`] bytes before byte `start` and those from byte `end`, if all of them are here.
    #[inline(always)]
    fn around(&self, start: usize, end: usize) -> Option<[*mut u8; 2]> {
        let after = end.saturating_add(PAIR);
        // One branch for all three.
        if !((PAIR <= start) & (start <= end) & (after <= self.len)) {
            return None;
        }
        // SAFETY: inside the run, by the comparison just made.
        let before = unsafe { self.base.add(start - PAIR) };
        // SAFETY: the same.
        let after = unsafe { self.base.add(end) };
        Some([before.as_ptr(), after.as_ptr()])
    }

    /// Writes the bytes of `word` over and over to `len` bytes from byte `offset`.
    pub(super) fn fill(&mut self, offset: usize, len: usize, word: u64) {
        let to = self.at(offset, len);
        // SAFETY: `at` checked the bounds; else as for `write`.
        unsafe { words::fill_device(to, word, len) }
    }

    /// The 8 bytes from byte `offset`.
    #[inline(always)]
    pub(super) fn word(&self, offset: usize) -> u64 {
        let from = self.at(offset, size_of::<u64>());
        // SAFETY: `at` checked the bounds; else as for `write`.
        unsafe { words::load_word(from) }
    }

    /// Writes zero to all of them.
    pub(super) fn zero(&mut self) {
        // SAFETY: as for `write`.
        unsafe { words::zero_device(self.base.as_ptr(), self.len) }
    }

    /// The bytes that a device has from `bus` on, `offset` bytes from the first of these, mapped once more: what
    /// plays the device writes there.
    pub(super) fn as_device<'a>(
        &'a self,
        memory: &'a Memory<'a>,
        bus: BusAddr,
        offset: usize,
    ) -> Result<DeviceMemory<'a>, MemoryError> {
        check("run", self.len, offset, 1);
        let first = BusAddr(bus.0 + offset as u64);
        // SAFETY: the type's invariant keeps references from the bytes, and the borrow keeps them in this value.
        unsafe { DeviceMemory::alias(memory, first, self.len - offset) }
    }

    /// A volatile view.
    #[inline]
    pub(super) const fn window(&self) -> Window<'_> {
        // SAFETY: the type's invariant keeps the bytes mapped and free of references while it is borrowed.
        // Regions are aligned to pages, slots to 2 KiB.
        unsafe { Window::new(self.base, self.len) }
    }

    #[inline(always)]
    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        check("run", self.len, offset, len);
        // SAFETY: the offset was just checked to lie inside the run.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

/// Panics unless `len` bytes at `offset` lie inside `whole`: a bug of the caller.
#[inline(always)]
pub(super) fn check(what: &str, whole: usize, offset: usize, len: usize) {
    if offset > whole || len > whole - offset {
        outside(what, whole, offset, len);
    }
}

fn outside(what: &str, whole: usize, offset: usize, len: usize) -> ! {
    panic!("{len} bytes at {offset:#x} of a {what} of {whole:#x}");
}

/// A region in the table's care: the table may be locked from any thread.
#[derive(Debug)]
pub(super) struct Held(pub(super) Region);

// SAFETY: the region's pointer is the address of memory that belongs to the holder alone, in no way
// bound to a thread.
unsafe impl Send for Held {}

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
    arch::{copy, volatile::Window},
    mm::contiguous::Region,
};
use core::ptr::NonNull;

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
    /// The invariant is kept by the mapping, which owns the buffer next to this value and leaves it
    /// alone until this value is gone.
    pub(super) fn of_buffer(buffer: &mut impl Bytes) -> Self {
        let bytes = match buffer.bytes_mut() {
            Some(bytes) => NonNull::from(bytes),
            None => NonNull::from(buffer.bytes()),
        };
        Self { base: bytes.cast(), len: bytes.len() }
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

    /// Writes `word` twice from byte `offset`.
    #[inline(always)]
    pub(super) fn write_pair(&mut self, offset: usize, word: u64) {
        let to = self.at(offset, 16);
        // SAFETY: as for `write`.
        unsafe { copy::store_pair(to, word) }
    }

    /// Zero if the 16 bytes from `offset` are `word` twice.
    #[inline(always)]
    pub(super) fn compare_pair(&self, offset: usize, word: u64) -> u64 {
        let from = self.at(offset, 16);
        // SAFETY: as for `write`.
        unsafe { copy::compare_pair(from, word) }
    }

    /// Writes zero to all of them.
    pub(super) fn zero(&mut self) {
        // SAFETY: as for `write`.
        unsafe { copy::zero_device(self.base.as_ptr(), self.len) }
    }

    /// A volatile view. It must not be used once this value is gone: keep it next to it, hand out none.
    pub(super) const fn window(&self) -> Window {
        // SAFETY: the type's invariant keeps the bytes mapped and free of references; whoever calls
        // this keeps the window no longer. Regions are aligned to pages, slots to 2 KiB.
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

#[cold]
fn outside(what: &str, whole: usize, offset: usize, len: usize) -> ! {
    panic!("{len} bytes at {offset:#x} of a {what} of {whole:#x}");
}

/// A region in the table's care: the table may be locked from any thread.
#[derive(Debug)]
pub(super) struct Held(pub(super) Region);

// SAFETY: the region's pointer is the address of memory that belongs to the holder alone, in no way
// bound to a thread.
unsafe impl Send for Held {}

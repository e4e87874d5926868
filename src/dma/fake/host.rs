//! Pages of the test process that stand for machine frames.
#![expect(unsafe_code, reason = "page-aligned memory that a fake device writes behind Rust's back")]

use crate::{
    addr::{Mfn, PAGE_SIZE, Pfn},
    arch::{copy, words},
    mm::contiguous::{Order, Region},
};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

/// Zeroed, page-aligned memory that is never freed, so that a stale pointer into it stays harmless.
#[derive(Debug)]
pub(super) struct HostPages {
    base: NonNull<u8>,
    pages: usize,
}

// SAFETY: the memory is reached only through this value's address, and lives for the whole process.
unsafe impl Send for HostPages {}

impl HostPages {
    pub(super) fn new(pages: usize) -> Self {
        assert!(pages > 0, "no pages asked for");
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a sane size");
        // SAFETY: the layout is not empty, by the assertion above.
        let memory = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
        Self { base, pages }
    }

    pub(super) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The pages as a region of the guest's, which is over when the fake machine gets it back.
    pub(super) const fn region(&self, pfn: Pfn, mfn: Mfn, order: Order) -> Region {
        // SAFETY: the memory lives for ever, and the fake machine hands each piece out once at a time.
        unsafe { Region::new(pfn, mfn, order, self.base) }
    }

    pub(super) const fn pages(&self) -> usize {
        self.pages
    }

    pub(super) fn zero(&mut self) {
        // SAFETY: the memory lives for ever; whoever held the region gave it back.
        unsafe { words::zero_device(self.base.as_ptr(), self.pages * PAGE_SIZE) }
    }

    /// The bytes; they move no more.
    pub(super) const fn bytes(&self) -> &[u8] {
        // SAFETY: the memory lives for ever, and whoever has this value uses it as one buffer.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.pages * PAGE_SIZE) }
    }

    /// The same, to change.
    pub(super) const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`.
        unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr(), self.pages * PAGE_SIZE) }
    }

    /// The pages as a test's own buffer.
    pub(super) fn leak(self) -> &'static mut [u8] {
        // SAFETY: the memory is zeroed, lives for ever, and this value, the only way to make another
        // slice of it, is gone.
        unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr(), self.pages * PAGE_SIZE) }
    }
}

/// What a device does to memory: a plain write.
pub(super) fn device_write(to: NonNull<u8>, from: &[u8]) {
    // SAFETY: the fake machine passes only addresses of host pages with that many bytes left.
    unsafe { copy::copy_to_device(to.as_ptr(), from) }
}

/// What a device does to memory: a plain read.
pub(super) fn device_read(from: NonNull<u8>, to: &mut [u8]) {
    // SAFETY: as for `device_write`.
    unsafe { copy::copy_from_device(to, from.as_ptr()) }
}

/// The address `offset` bytes into some host pages.
pub(super) fn at(base: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: the fake machine passes only offsets inside the pages at `base`.
    unsafe { base.add(offset) }
}

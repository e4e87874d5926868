//! Memory that somebody else writes too: Xen, dom0 or a device.
//!
//! Rust references promise that nobody else writes, so none is ever made to such memory. A [`Window`]
//! copies values in and out, one volatile access each, bounds-checked. Whoever creates one vouches for
//! the mapping for as long as the window's lifetime says; everything after that is safe. An owner of mapped
//! bytes lends its window, so that none outlives the mapping:
//!
//! ```compile_fail,E0505
//! # use pvbounce::mm::contiguous::{ContiguousMemory, Region};
//! fn write_after_giving_back(memory: &dyn ContiguousMemory, region: Region) {
//!     let window = region.window();
//!     memory.release(region).unwrap();
//!     window.write_u8(0, 1);
//! }
//! ```
#![expect(unsafe_code, reason = "volatile access through a raw pointer is what this module is for")]

use core::{
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
};

/// A run of bytes shared with an untrusted writer, mapped for `'m`.
///
/// A window is lent by the value that owns the mapping; `'static` ones are on pages that are mapped for good.
/// Copyable on purpose: both ends of a shared page in a host test hold one. Offsets are checked against
/// the length and, for wider accesses, for natural alignment; a violation is a bug of the caller and
/// panics.
#[derive(Clone, Copy, Debug)]
pub struct Window<'m> {
    base: NonNull<u8>,
    len: usize,
    mapped: PhantomData<&'m ()>,
}

// SAFETY: a Window is only an address; every access through it is volatile and stands for itself, and
// the creator promised that the bytes stay mapped for the window's lifetime, whoever uses it.
unsafe impl Send for Window<'_> {}
// SAFETY: as for Send; concurrent volatile accesses are the situation the type exists for.
unsafe impl Sync for Window<'_> {}

macro_rules! access {
    ($read:ident, $write:ident, $ty:ty) => {
        #[doc = concat!("Reads one `", stringify!($ty), "` at byte `offset`.")]
        #[inline]
        pub fn $read(&self, offset: usize) -> $ty {
            let at = self.at(offset, size_of::<$ty>()).cast::<$ty>();
            // SAFETY: `at` checked bounds and alignment; the creator keeps the bytes mapped.
            unsafe { at.read_volatile() }
        }

        #[doc = concat!("Writes one `", stringify!($ty), "` at byte `offset`.")]
        #[inline]
        pub fn $write(&self, offset: usize, value: $ty) {
            let at = self.at(offset, size_of::<$ty>()).cast::<$ty>();
            // SAFETY: `at` checked bounds and alignment; the creator keeps the bytes mapped writable.
            unsafe { at.write_volatile(value) }
        }
    };
}

impl Window<'_> {
    /// No bytes at all.
    pub const EMPTY: Self =
        Self { base: NonNull::<u64>::dangling().cast(), len: 0, mapped: PhantomData };

    /// A window on `len` bytes at `base`.
    ///
    /// # Safety
    /// For the whole lifetime of the window, which the caller chooses, the bytes must stay mapped readable
    /// and writable, and no Rust reference to any of them may be used; with `'static` they must never be
    /// unmapped. `base` must be aligned to 8.
    pub const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len, mapped: PhantomData }
    }

    /// Bytes in the window.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The address of the first byte, for the P2M look-up when the page is granted.
    pub const fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    access!(read_u8, write_u8, u8);
    access!(read_u16, write_u16, u16);
    access!(read_u32, write_u32, u32);
    access!(read_u64, write_u64, u64);

    /// Sets the bits of `mask` in the `u32` at `offset`, without losing bits the other side sets or clears
    /// at the same moment.
    #[inline]
    pub fn set_bits_u32(&self, offset: usize, mask: u32) {
        self.atomic(offset).fetch_or(mask, Ordering::AcqRel);
    }

    /// Clears the bits of `mask` in the `u32` at `offset`, as [`Window::set_bits_u32`] sets them.
    #[inline]
    pub fn clear_bits_u32(&self, offset: usize, mask: u32) {
        self.atomic(offset).fetch_and(!mask, Ordering::AcqRel);
    }

    /// Copies `into.len()` bytes out, starting at `offset`.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        self.check(offset, into.len());
        for (i, byte) in into.iter_mut().enumerate() {
            *byte = self.read_u8(offset + i);
        }
    }

    /// Copies `from` in, starting at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) {
        self.check(offset, from.len());
        for (i, &byte) in from.iter().enumerate() {
            self.write_u8(offset + i, byte);
        }
    }

    /// Writes zero to every byte.
    pub fn zero(&self) {
        for offset in 0..self.len {
            self.write_u8(offset, 0);
        }
    }

    /// Clears bit `bit` of the `u64` at byte `offset`, whoever else sets others meanwhile; says what it was.
    pub fn take_bit(&self, offset: usize, bit: u32) -> bool {
        let at = self.at(offset, size_of::<u64>()).cast::<u64>();
        // SAFETY: `at` checked bounds and alignment; the creator keeps the bytes mapped, and every other
        // access by this guest to a word used with bits is atomic or a plain volatile one on one CPU.
        let word = unsafe { AtomicU64::from_ptr(at) };
        let mask = 1u64 << (bit % 64);
        word.fetch_and(!mask, Ordering::SeqCst) & mask != 0
    }

    /// Replaces the `u16` at byte `offset` by `new` if it still is `old`; says whether it did.
    pub fn compare_exchange_u16(&self, offset: usize, old: u16, new: u16) -> bool {
        let at = self.at(offset, size_of::<u16>()).cast::<u16>();
        // SAFETY: as in `take_bit`.
        let word = unsafe { AtomicU16::from_ptr(at) };
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{len} bytes at {offset:#x} of a window of {:#x}",
            self.len
        );
    }

    fn atomic(&self, offset: usize) -> &AtomicU32 {
        let at = self.at(offset, size_of::<u32>()).cast::<u32>();
        // SAFETY: `at` checked bounds and alignment; the creator keeps the bytes mapped writable, and an
        // atomic may be written by others while it is referenced. The other side uses locked operations.
        unsafe { AtomicU32::from_ptr(at) }
    }

    #[inline]
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        self.check(offset, size);
        assert!(offset.is_multiple_of(size), "offset {offset:#x} is not aligned to {size}");
        // SAFETY: the offset was just checked to lie inside the creator's mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

/// Makes everything written before visible before everything written after, to other CPUs and devices.
///
/// On x86 stores are not reordered with stores, so only the compiler has to be held back.
#[inline]
pub fn write_barrier() {
    fence(Ordering::Release);
}

/// Makes everything read after really be read after everything read before.
#[inline]
pub fn read_barrier() {
    fence(Ordering::Acquire);
}

/// Orders all earlier accesses before all later ones: between writing a flag and reading the other side's.
#[inline]
pub fn full_barrier() {
    fence(Ordering::SeqCst);
}

/// Pages for host tests, where no Xen hands any out.
#[cfg(not(target_os = "none"))]
pub mod host {
    use super::{NonNull, Window};
    use crate::addr::{self, PAGE_SIZE};
    use alloc::{vec, vec::Vec};

    #[derive(Clone)]
    #[repr(C, align(4096))]
    struct Page([u8; PAGE_SIZE]);

    /// What keeps the pages from being taken for lost by a tool that looks for leaks.
    static PAGES: spin::Mutex<Vec<Window<'static>>> = spin::Mutex::new(Vec::new());

    /// A zeroed page that lives for the rest of the test process; copies of the window share it.
    pub fn shared_page() -> Window<'static> {
        shared(PAGE_SIZE)
    }

    /// As many zeroed bytes, from the start of a page.
    pub fn shared(len: usize) -> Window<'static> {
        let pages = vec![Page([0; PAGE_SIZE]); addr::pages(len)].leak();
        let base = NonNull::from(pages).cast();
        // SAFETY: the leaked pages are never freed and the reference to them ends here.
        let window = unsafe { Window::new(base, len) };
        PAGES.lock().push(window);
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_copies_see_the_same_page() {
        let ours = host::shared_page();
        let theirs = ours;
        ours.write_u32(4, 0x1122_3344);
        assert_eq!(theirs.read_u8(4), 0x44);
        let mut two = [0; 2];
        theirs.read(5, &mut two);
        assert_eq!(two, [0x33, 0x22]);
        ours.write(0xffd, &[1, 2, 3]);
        assert_eq!([0xffd, 0xffe, 0xfff].map(|at| theirs.read_u8(at)), [1, 2, 3]);
        assert_eq!((ours.len(), Window::EMPTY.len()), (0x1000, 0));
    }

    #[test]
    fn bits_change_without_touching_their_neighbours() {
        let page = host::shared_page();
        page.write_u32(8, 0b0101);
        page.set_bits_u32(8, 0b0010);
        page.clear_bits_u32(8, 0b0001);
        assert_eq!(page.read_u32(8), 0b0110);
    }

    #[test]
    #[should_panic(expected = "4 bytes at 0xffe of a window of 0x1000")]
    fn an_access_past_the_end_panics() {
        host::shared_page().read(0xffe, &mut [0; 4]);
    }

    #[test]
    #[should_panic(expected = "not aligned")]
    fn a_torn_access_panics() {
        host::shared_page().read_u32(2);
    }
}

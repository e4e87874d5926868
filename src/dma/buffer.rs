//! What can be mapped, and what of it a device may use where it lies.
//!
//! A mapping can be forgotten, and then a borrow ends while the device goes on. So a device writes only into
//! memory that the mapping owns, which is lost with it, or into slots; bytes behind `&mut` always go through
//! slots. Bytes behind `&` are only ever read by a device, hence may lie where they are.

use super::direction::{Bidirectional, Direction, FromDevice, ToDevice};
use crate::mm::pages::{LowPages, Pages};
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

mod sealed {
    /// The bytes behind a buffer, for this crate only.
    pub trait Bytes {
        /// Whether a device may use the bytes where they lie.
        ///
        /// Whoever says so vouches that the bytes stay where they are when the buffer moves, that no reference to
        /// them moves with it, and that they outlive a mapping that is forgotten, unless they are only read.
        const DIRECT: bool;

        fn bytes(&self) -> &[u8];

        /// Whether the device gets these bytes where they lie or not at all.
        #[inline(always)]
        fn stays(&self) -> bool {
            false
        }

        /// `None` for buffers that may only be read; those are no [`super::Buffer`] for a device that writes.
        fn bytes_mut(&mut self) -> Option<&mut [u8]> {
            None
        }
    }
}

pub(crate) use sealed::Bytes;

/// A buffer that may be mapped in direction `D`.
pub trait Buffer<D: Direction>: Bytes {}

impl Bytes for &[u8] {
    const DIRECT: bool = true;

    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Buffer<ToDevice> for &[u8] {}

/// 2 KiB of the heap that lie in one page: a device that reaches the page can use all of them where they lie.
#[derive(Debug)]
pub struct HalfPage(Vec<Half>);

#[derive(Debug)]
#[repr(C, align(2048))]
struct Half([u8; HalfPage::LEN]);

impl HalfPage {
    /// Bytes.
    pub const LEN: usize = 2048;

    /// Zeroed.
    pub fn new() -> Self {
        Self(Vec::from([Half([0; Self::LEN])]))
    }
}

impl Default for HalfPage {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for HalfPage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.first().map_or(&[], |half| &half.0)
    }
}

impl DerefMut for HalfPage {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.first_mut().map_or(&mut [], |half| &mut half.0)
    }
}

macro_rules! writable_buffer {
    ($($ty:ty, direct: $direct:literal;)*) => {$(
        impl Bytes for $ty {
            const DIRECT: bool = $direct;

            fn bytes(&self) -> &[u8] {
                self
            }

            fn bytes_mut(&mut self) -> Option<&mut [u8]> {
                Some(self)
            }
        }

        impl Buffer<ToDevice> for $ty {}
        impl Buffer<FromDevice> for $ty {}
        impl Buffer<Bidirectional> for $ty {}
    )*};
}

writable_buffer! {
    &mut [u8], direct: false;
    Vec<u8>, direct: true;
    HalfPage, direct: true;
    Pages<'_>, direct: true;
    LowPages<'_>, direct: true;
}

#[cfg(not(target_os = "none"))]
writable_buffer! {
    super::fake::FakePages, direct: true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_page_lies_in_one_page() {
        let halves: Vec<_> = (0..9).map(|_| HalfPage::new()).collect();
        for half in &halves {
            assert_eq!((half.len(), half.as_ptr().addr() % HalfPage::LEN), (HalfPage::LEN, 0));
        }
    }

    #[test]
    fn what_may_only_be_read_is_never_lent_for_writing() {
        assert!((&[1_u8, 2][..]).bytes_mut().is_none());
        assert_eq!((&mut [1_u8, 2][..]).bytes_mut().map(|bytes| bytes.len()), Some(2));
    }
}

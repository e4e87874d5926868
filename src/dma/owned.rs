//! Bytes to be sent from where they lie, or to be written there, together with the memory they are in.
//!
//! A borrow ends when its scope does, whatever a device is still doing; an owned buffer can be kept from everybody
//! else for as long as the device may read it. Places matter to whoever sends from one (across two pages, at an odd
//! offset, low), so the memory and the range in it are chosen apart.

use super::{
    buffer::{Buffer, Bytes},
    direction::{FromDevice, ToDevice},
};
use crate::mm::pages::{LowPages, Pages};
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut, Range};

/// What kind of memory it is.
#[derive(Debug)]
enum Owner {
    Heap(Vec<u8>),
    Pages(Pages<'static>),
    Low(LowPages<'static>),
}

/// A range of bytes in memory that is owned whole.
#[derive(Debug)]
pub struct OwnedSlice {
    owner: Owner,
    range: Range<usize>,
}

impl OwnedSlice {
    /// The same memory with another range chosen, in bytes from the start of the memory.
    ///
    /// # Panics
    /// If the range does not lie inside the memory.
    pub fn select(&mut self, range: Range<usize>) -> &mut [u8] {
        let len = self.owner.bytes().len();
        assert!(range.start <= range.end && range.end <= len, "{range:?} of {len} bytes");
        self.range = range;
        self
    }

    /// The whole memory if it is a vector.
    pub fn into_vec(self) -> Option<Vec<u8>> {
        if let Owner::Heap(bytes) = self.owner { Some(bytes) } else { None }
    }

    fn whole(owner: Owner) -> Self {
        let range = 0..owner.bytes().len();
        Self { owner, range }
    }
}

impl Owner {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages,
            Self::Low(pages) => pages,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages,
            Self::Low(pages) => pages,
        }
    }
}

impl From<Vec<u8>> for OwnedSlice {
    fn from(bytes: Vec<u8>) -> Self {
        Self::whole(Owner::Heap(bytes))
    }
}

impl From<Pages<'static>> for OwnedSlice {
    fn from(pages: Pages<'static>) -> Self {
        Self::whole(Owner::Pages(pages))
    }
}

impl From<LowPages<'static>> for OwnedSlice {
    fn from(pages: LowPages<'static>) -> Self {
        Self::whole(Owner::Low(pages))
    }
}

impl Deref for OwnedSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.owner.bytes()[self.range.clone()]
    }
}

impl DerefMut for OwnedSlice {
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.range.clone();
        &mut self.owner.bytes_mut()[range]
    }
}

impl Bytes for OwnedSlice {
    // The memory moves no byte when its owner moves, and is lost with a mapping that is.
    const DIRECT: bool = true;

    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        Some(self)
    }
}

impl Buffer<ToDevice> for OwnedSlice {}
impl Buffer<FromDevice> for OwnedSlice {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_chosen_and_the_memory_comes_back_whole() {
        let mut slice = OwnedSlice::from(alloc::vec![0; 8]);
        slice.select(2..5).fill(7);
        assert_eq!(slice[..], [7, 7, 7]);
        assert_eq!(slice.into_vec().unwrap(), [0, 0, 7, 7, 7, 0, 0, 0]);
    }

    #[test]
    #[should_panic(expected = "3..9 of 8 bytes")]
    fn a_range_outside_panics() {
        OwnedSlice::from(alloc::vec![0; 8]).select(3..9);
    }
}

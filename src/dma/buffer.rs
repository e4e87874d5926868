//! What can be mapped: byte buffers whose address does not change when their owner moves.
//!
//! `&[u8]` only ever goes to a device; everything a device writes needs exclusive access.

use super::direction::{Bidirectional, Direction, FromDevice, ToDevice};
use alloc::{boxed::Box, vec::Vec};

mod sealed {
    /// The bytes behind a buffer, for this crate only.
    pub trait Bytes {
        fn bytes(&self) -> &[u8];

        /// Address and length, without a reference to the bytes.
        fn extent(&self) -> (usize, usize);

        /// `None` for buffers that may only be read; those are no [`super::Buffer`] for a device that writes.
        fn bytes_mut(&mut self) -> Option<&mut [u8]>;
    }
}

pub(crate) use sealed::Bytes;

/// A buffer that may be mapped in direction `D`.
pub trait Buffer<D: Direction>: Bytes {}

impl Bytes for &[u8] {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn extent(&self) -> (usize, usize) {
        (self.as_ptr().addr(), self.len())
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        None
    }
}

impl Buffer<ToDevice> for &[u8] {}

macro_rules! owned_buffer {
    ($($ty:ty),*) => {$(
        impl Bytes for $ty {
            fn bytes(&self) -> &[u8] {
                self
            }

            fn extent(&self) -> (usize, usize) {
                (self.as_ptr().addr(), self.len())
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

owned_buffer!(&mut [u8], Vec<u8>, Box<[u8]>);

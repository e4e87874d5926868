//! The bytes that decide everything the other side does, shared by all that play a part of it.

use std::{cell::Cell, rc::Rc};

/// A stream of bytes; clones draw from the same one. Past its end it gives zeros, so that every story has an end.
#[derive(Clone, Debug)]
pub struct Input(Rc<Stream>);

#[derive(Debug)]
struct Stream {
    bytes: Box<[u8]>,
    at: Cell<usize>,
}

impl Input {
    /// A stream of a copy of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Rc::new(Stream { bytes: bytes.into(), at: Cell::new(0) }))
    }

    /// Whether all bytes were drawn.
    pub fn is_over(&self) -> bool {
        self.0.at.get() >= self.0.bytes.len()
    }

    /// The next byte.
    pub fn u8(&self) -> u8 {
        let at = self.0.at.get();
        self.0.at.set(at + 1);
        self.0.bytes.get(at).copied().unwrap_or(0)
    }

    /// The next two bytes.
    pub fn u16(&self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next four bytes.
    pub fn u32(&self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next eight bytes.
    pub fn u64(&self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        std::array::from_fn(|_| self.u8())
    }

    /// A number below `end`, which is at most 65536; 0 when the stream is over.
    pub fn below(&self, end: usize) -> usize {
        let drawn = if end <= 256 { usize::from(self.u8()) } else { usize::from(self.u16()) };
        drawn % end.max(1)
    }

    /// True once in `n` times, by a byte; never when the stream is over.
    pub fn once_in(&self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// Up to `most` bytes, at most 65535; less where the stream ends.
    pub fn bytes(&self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        let from = self.0.at.get().min(self.0.bytes.len());
        let end = (from + len).min(self.0.bytes.len());
        self.0.at.set(end);
        self.0.bytes[from..end].to_vec()
    }

    /// Text of up to `most` bytes; what is no UTF-8 is replaced.
    pub fn text(&self, most: usize) -> String {
        String::from_utf8_lossy(&self.bytes(most)).into_owned()
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

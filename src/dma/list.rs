//! Scatter/gather: several buffers in a device's hands at once, in order, all or none.

use super::{
    buffer::Buffer,
    device::Device,
    direction::Direction,
    error::{FinishError, MapError},
    mapping::Mapping,
};
use crate::addr::BusAddr;
use alloc::vec::Vec;

/// One entry of a device's scatter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub bus: BusAddr,
    /// Its bytes.
    pub len: usize,
}

/// Several mappings that one transfer uses in order.
#[derive(Debug)]
#[must_use = "what the device has is lost unless the list is finished or abandoned"]
pub struct List<'m, D: Direction, B: Buffer<D>> {
    parts: Vec<Mapping<'m, D, B>>,
}

impl<'m> Device<'m> {
    /// Maps every buffer, or none: a failure gives back what was taken for the ones before.
    pub fn map_list<D: Direction, B: Buffer<D>>(
        &self,
        buffers: impl IntoIterator<Item = B>,
    ) -> Result<List<'m, D, B>, MapError> {
        let mut list = List { parts: Vec::new() };
        for buffer in buffers {
            match self.map(buffer) {
                Ok(part) => list.parts.push(part),
                Err(error) => {
                    list.abandon();
                    return Err(error);
                }
            }
        }
        if list.parts.is_empty() { Err(MapError::Empty) } else { Ok(list) }
    }
}

impl<'m, D: Direction, B: Buffer<D>> List<'m, D, B> {
    /// What the device's descriptors say: one span per buffer, those that touch joined.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let (bus, len) = (part.bus(), part.len());
            match spans.last_mut() {
                Some(last) if last.bus.0 + last.len as u64 == bus.0 => last.len += len,
                _ => spans.push(Span { bus, len }),
            }
        }
        spans
    }

    /// Bytes in all of them.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Mapping::len).sum()
    }

    /// The mappings, in order.
    pub fn parts(&self) -> &[Mapping<'m, D, B>] {
        &self.parts
    }

    /// Ends all of them after the device filled the first `written` bytes, and returns the buffers.
    ///
    /// The first failure is reported; the mappings after it end without being looked at.
    pub fn finish(self, written: usize) -> Result<Vec<B>, FinishError> {
        let (bus, len) = (self.parts[0].bus(), self.len());
        if written > len {
            self.abandon();
            return Err(FinishError::Overlong { written, len, bus });
        }
        let (mut left, mut buffers, mut failure) = (written, Vec::new(), None);
        for part in self.parts {
            let here = left.min(part.len());
            left -= here;
            if failure.is_some() {
                part.abandon();
                continue;
            }
            match part.end(here) {
                Ok(buffer) => buffers.push(buffer),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(buffers), Err)
    }

    /// Ends all of them without looking at what the device did, as [`Mapping::abandon`].
    pub fn abandon(self) -> Vec<B> {
        self.parts.into_iter().map(Mapping::abandon).collect()
    }
}

//! What a device was given: every address, so that a witness of the addresses it used has something to
//! compare them with.

use crate::{
    addr::{BusAddr, PAGE_SIZE_U64},
    dma::{Buffer, Coherent, Direction, Mapping, Why},
    mm::translate::Place,
};
use alloc::vec::Vec;

/// How the device got at a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through slots of the bounce pool.
    Pool,
    /// Where the buffer lay.
    Direct,
    /// Where a page lay that the device was to be tried on, whether it got there or not.
    Probe,
}

/// Whole pages the device was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRange {
    /// The first byte.
    pub start: BusAddr,
    /// The first byte after.
    pub end: BusAddr,
    /// What kind of memory it is.
    pub via: Via,
}

impl DmaRange {
    /// Whether all `len` bytes from `bus` are in the range.
    pub const fn covers(&self, bus: BusAddr, len: usize) -> bool {
        match bus.0.checked_add(len as u64) {
            Some(end) => self.start.0 <= bus.0 && end <= self.end.0,
            None => false,
        }
    }

    const fn touches(&self, other: &Self) -> bool {
        self.start.0 <= other.end.0 && other.start.0 <= self.end.0
    }
}

/// How one run of bytes got to the device that was to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where the bytes themselves lay; `None` if its first byte is no RAM.
    pub source: Option<Place>,
    /// The address the device was given.
    pub dma: BusAddr,
    /// Bytes, padding included.
    pub len: usize,
    /// Why it went through the pool; `None` if it did not.
    pub bounced: Option<Why>,
}

impl Sent {
    pub(crate) fn of<D: Direction, B: Buffer<D>>(mapping: &Mapping<'_, D, B>) -> Self {
        let (source, dma) = (mapping.place(), mapping.bus());
        Self { source, dma, len: mapping.len(), bounced: mapping.why() }
    }
}

/// The ranges given so far, page by page, neighbours of a kind joined.
#[derive(Debug, Default)]
pub(crate) struct Ranges(Vec<DmaRange>);

impl Ranges {
    pub(crate) fn all(&self) -> &[DmaRange] {
        &self.0
    }

    pub(crate) fn add<D: Direction, B: Buffer<D>>(&mut self, mapping: &Mapping<'_, D, B>) {
        let via = match (mapping.is_probe(), mapping.bounced()) {
            (true, _) => Via::Probe,
            (false, true) => Via::Pool,
            (false, false) => Via::Direct,
        };
        self.add_range(mapping.bus(), mapping.len(), via);
    }

    pub(crate) fn add_shared(&mut self, shared: &Coherent<'_>) {
        let via = if shared.from_pool() { Via::Pool } else { Via::Direct };
        self.add_range(shared.bus(), shared.len(), via);
    }

    fn add_range(&mut self, bus: BusAddr, len: usize, via: Via) {
        if self.0.iter().any(|range| range.via == via && range.covers(bus, len)) {
            return;
        }
        let start = BusAddr(bus.0 & !(PAGE_SIZE_U64 - 1));
        let end = BusAddr((bus.0 + len as u64).next_multiple_of(PAGE_SIZE_U64));
        self.join(DmaRange { start, end, via });
    }

    /// Adds whole pages.
    pub(crate) fn join(&mut self, mut joined: DmaRange) {
        self.0.retain(|range| {
            let joins = range.via == joined.via && range.touches(&joined);
            if joins {
                joined.start = joined.start.min(range.start);
                joined.end = joined.end.max(range.end);
            }
            !joins
        });
        self.0.push(joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_kinds_stay_apart() {
        let mut ranges = Ranges::default();
        ranges.add_range(BusAddr(0x1010), 60, Via::Pool);
        ranges.add_range(BusAddr(0x3000), 1, Via::Pool);
        ranges.add_range(BusAddr(0x2000), 1, Via::Direct);
        assert_eq!(ranges.all().len(), 3);
        ranges.add_range(BusAddr(0x1fff), 2, Via::Pool);
        let of = |start, end, via| DmaRange { start: BusAddr(start), end: BusAddr(end), via };
        assert_eq!(ranges.all(), [of(0x2000, 0x3000, Via::Direct), of(0x1000, 0x4000, Via::Pool)]);
        // One within another of the other kind is not said by that.
        ranges.add_range(BusAddr(0x1000), 60, Via::Direct);
        assert_eq!(ranges.all()[1..], [of(0x1000, 0x3000, Via::Direct)]);
        let mut both = Ranges::default();
        ranges.all().iter().chain(ranges.all()).for_each(|range| both.join(*range));
        assert_eq!(both.all(), ranges.all(), "what two devices used is said once");
    }
}

//! One region and its slots, and runs of slots on loan.
//!
//! A [`Lease`] is a run taken out: the right to read and write those bytes, and the bus address under
//! which a device does. The table never lets a region go while one of its slots is taken, so a lease's
//! bytes stay mapped for as long as it exists; a lease that is forgotten keeps its segment for good.

use super::{
    raw::{Held, SharedBytes},
    slots::{NotTaken, Run, Slots},
};
use crate::{addr::BusAddr, mm::contiguous::Region};

/// Where a segment's region came from, hence where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Acquired when the pool was started; released when it stops.
    Started,
    /// Acquired because the pool was full; released when it is idle.
    Grown,
    /// Handed in by the caller; handed back.
    Adopted,
}

/// A place in the table: a region with its slots, or nothing.
#[derive(Debug)]
pub(super) struct Segment {
    held: Option<Held>,
    origin: Origin,
    slots: Slots,
}

impl Segment {
    /// Nothing; all zero.
    pub(super) const EMPTY: Self = Self { held: None, origin: Origin::Started, slots: Slots::NONE };

    /// Puts a region here.
    pub(super) fn fill(&mut self, region: Region, origin: Origin) {
        self.slots.reset(region.order());
        self.origin = origin;
        self.held = Some(Held(region));
    }

    /// Takes the region out; `None` if there is none or a slot of it is in use.
    pub(super) fn empty(&mut self) -> Option<Region> {
        if self.slots.in_use() > 0 {
            return None;
        }
        self.slots.clear();
        self.held.take().map(|held| held.0)
    }

    pub(super) fn region(&self) -> Option<&Region> {
        self.held.as_ref().map(|held| &held.0)
    }

    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Takes `count` slots, the first at a multiple of `2^align` slots. `index` is this segment's place.
    #[inline]
    pub(super) fn take(&mut self, index: usize, count: usize, align: usize) -> Option<Lease> {
        let region = &self.held.as_ref()?.0;
        let run = self.slots.take(count, align)?;
        let bus = BusAddr(region.bus().0 + run.offset() as u64);
        let bytes = SharedBytes::of_region(region, run.offset(), run.len());
        #[expect(clippy::cast_possible_truncation, reason = "a table has 64 places")]
        let segment = index as u8;
        Some(Lease { bytes, bus, run, segment })
    }

    /// Joins what was put aside with the free blocks.
    pub(super) fn settle(&mut self) {
        self.slots.settle();
    }

    /// Gives a lease back.
    #[inline]
    pub(super) fn give(&mut self, lease: Lease) -> Result<(), NotTaken> {
        self.slots.give(lease.run)
    }
}

/// A run of slots: the memory between a CPU's buffer and a device.
#[derive(Debug)]
#[must_use = "the slots are lost unless the lease is given back"]
pub(super) struct Lease {
    pub(super) bytes: SharedBytes,
    bus: BusAddr,
    run: Run,
    segment: u8,
}

impl Lease {
    /// The first byte as a device sees it.
    pub(super) const fn bus(&self) -> BusAddr {
        self.bus
    }

    /// The place of the segment in the table.
    pub(super) const fn segment(&self) -> usize {
        self.segment as usize
    }

    /// Slots in the run.
    pub(super) const fn slots(&self) -> usize {
        self.run.count()
    }
}

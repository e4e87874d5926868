//! One region and its slots, and runs of slots on loan.
//!
//! A [`Lease`] is a run taken out: the right to read and write those bytes, and the bus address under
//! which a device does. The table never lets a region go while one of its slots is taken, so a lease's
//! bytes stay mapped for as long as it exists; a lease that is forgotten keeps its segment for good.

use super::{
    raw::{Held, SharedBytes},
    run::{Run, SLOT_SHIFT, SLOT_SIZE},
    slots::{NotTaken, Slots},
    want::Want,
};
use crate::{
    addr::{BusAddr, to_usize},
    mm::contiguous::Region,
};

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

/// A segment as the evidence report sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The first byte on the bus.
    pub bus: BusAddr,
    /// Bytes.
    pub len: usize,
    /// Where it came from.
    pub origin: Origin,
    /// Slots taken.
    pub in_use: usize,
}

impl SegmentInfo {
    /// The first bytes of its slots, as a device sees them.
    pub fn slots(&self) -> impl Iterator<Item = BusAddr> + use<> {
        let start = self.bus.0;
        (0..self.len).step_by(SLOT_SIZE).map(move |offset| BusAddr(start + offset as u64))
    }

    /// Whether a byte is in it.
    pub const fn holds(&self, bus: BusAddr) -> bool {
        self.bus.0 <= bus.0 && bus.0 - self.bus.0 < self.len as u64
    }
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

    /// Nothing again: what there was is left to whoever has it.
    pub(super) fn disown(&mut self) {
        self.held = None;
        self.slots.clear();
    }

    /// Takes the wanted slots. `index` is this segment's place.
    pub(super) fn take(&mut self, index: usize, want: Want) -> Option<Lease> {
        let run = self.slots.take(want)?;
        self.lease(index, want, run)
    }

    /// Takes the wanted slots from the one at `bus` on, if those are free and do.
    pub(super) fn take_at(&mut self, index: usize, want: Want, bus: BusAddr) -> Option<Lease> {
        let inside = bus.0.checked_sub(self.region()?.bus().0)?;
        let run = self.slots.take_at(want, to_usize(inside >> SLOT_SHIFT))?;
        self.lease(index, want, run)
    }

    /// Whether the slot with that byte is free.
    pub(super) fn is_free_at(&self, bus: BusAddr) -> bool {
        let inside = self.region().and_then(|region| bus.0.checked_sub(region.bus().0));
        inside.is_some_and(|inside| self.slots.is_free_slot(to_usize(inside >> SLOT_SHIFT)))
    }

    fn lease(&self, index: usize, want: Want, run: Run) -> Option<Lease> {
        let region = self.region()?;
        let bus = BusAddr(region.bus().0 + run.offset() as u64);
        let bytes = SharedBytes::of_region(region, run.offset(), run.len());
        #[expect(clippy::cast_possible_truncation, reason = "a table has 64 places")]
        let segment = index as u8;
        Some(Lease { bytes, bus, want, run, segment, word: 0 })
    }

    /// Joins what was put aside with the free blocks.
    pub(super) fn coalesce(&mut self) {
        self.slots.coalesce();
    }

    /// Gives a lease back.
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
    want: Want,
    run: Run,
    segment: u8,
    word: u64,
}

impl Lease {
    /// The first byte as a device sees it.
    #[inline(always)]
    pub(super) const fn bus(&self) -> BusAddr {
        self.bus
    }

    /// A word that no run had before, and nobody outside can guess.
    #[inline(always)]
    pub(super) const fn word(&self) -> u64 {
        self.word
    }

    /// The same run with another word.
    #[inline(always)]
    pub(super) const fn with_word(self, word: u64) -> Self {
        Self { word, ..self }
    }

    /// What was asked for.
    #[inline(always)]
    pub(super) const fn want(&self) -> Want {
        self.want
    }

    /// The place of the segment in the table.
    pub(super) const fn segment(&self) -> usize {
        self.segment as usize
    }
}

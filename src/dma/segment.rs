//! One region and its slots, and runs of slots on loan.
//!
//! A [`Lease`] is a run taken out: the right to read and write those bytes, and the bus address under
//! which a device does. The table never lets a region go while one of its slots is taken, so a lease's
//! bytes stay mapped for as long as it exists; a lease that is forgotten keeps its segment for good.

use super::{
    raw::{Held, SharedBytes},
    slots::{MAX_SLOTS, NotTaken, ORDERS, Run, Slots},
};
use crate::{
    addr::{BusAddr, DmaMask},
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

    /// Takes the wanted slots. `index` is this segment's place.
    pub(super) fn take(&mut self, index: usize, want: Want) -> Option<Lease> {
        let region = &self.held.as_ref()?.0;
        let run = self.slots.take(want.count(), want.align())?;
        let bus = BusAddr(region.bus().0 + run.offset() as u64);
        let bytes = SharedBytes::of_region(region, run.offset(), run.len());
        #[expect(clippy::cast_possible_truncation, reason = "a table has 64 places")]
        let segment = index as u8;
        Some(Lease { bytes, bus, want, run, segment })
    }

    /// Joins what was put aside with the free blocks.
    pub(super) fn settle(&mut self) {
        self.slots.settle();
    }

    /// Gives a lease back.
    pub(super) fn give(&mut self, lease: Lease) -> Result<(), NotTaken> {
        self.slots.give(lease.run)
    }
}

/// What a run of slots has to be, in one word, so that two are compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want(u32);

impl Want {
    /// No slots yet, but below `mask`, the first at a multiple of `2^align` slots.
    pub(super) const fn below(mask: DmaMask, align: usize) -> Self {
        let align = if align < ORDERS { align } else { ORDERS };
        #[expect(clippy::cast_possible_truncation, reason = "not above ORDERS")]
        Self(mask.bits() << 24 | (align as u32) << 16)
    }

    /// The same for `count` slots; `None` for more than any segment has.
    #[inline(always)]
    pub(super) const fn of(self, count: usize) -> Option<Self> {
        if count > MAX_SLOTS {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "compared just above")]
        Some(Self(self.0 | count as u32))
    }

    /// How many slots.
    #[inline(always)]
    pub(super) const fn count(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// log2 of what the first slot's number is a multiple of.
    pub(super) const fn align(self) -> usize {
        (self.0 >> 16 & 0xff) as usize
    }

    /// The width of the addresses they lie at.
    pub(super) const fn bits(self) -> u32 {
        self.0 >> 24
    }

    /// The same as a mask.
    pub(super) fn mask(self) -> DmaMask {
        DmaMask::from_bits(self.bits()).unwrap_or(DmaMask::BITS_32)
    }
}

const _: () = assert!(MAX_SLOTS <= 0xffff && ORDERS <= 0xff);

/// A run of slots: the memory between a CPU's buffer and a device.
#[derive(Debug)]
#[must_use = "the slots are lost unless the lease is given back"]
pub(super) struct Lease {
    pub(super) bytes: SharedBytes,
    bus: BusAddr,
    want: Want,
    run: Run,
    segment: u8,
}

impl Lease {
    /// The first byte as a device sees it.
    #[inline(always)]
    pub(super) const fn bus(&self) -> BusAddr {
        self.bus
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

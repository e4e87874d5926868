//! What a run of slots has to be: one value, from a device's limits down to the choice of a slot.
//!
//! Whoever looks for slots asks [`Want::admits`] about a place, so that no one knows half of what is demanded.
//! A segment is aligned to its size and none is larger than [`MAX_SLOTS`], so inside one the numbers of slots
//! say as much about alignment and boundaries as bus addresses do.

use super::{
    limits::Limits,
    run::{MAX_SLOTS, SLOT_SHIFT},
};
use crate::addr::{BusAddr, DmaMask, to_usize};

/// A request for a run of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Slots.
    count: u16,
    /// Slots from the run's start that the device may use: all but the last one if that holds only a guard.
    span: u16,
    /// The first slot's number is a multiple of `2^align`.
    align: u8,
    /// The span lies in one of the blocks of `2^block` slots that all slots divide into.
    block: u8,
    /// The device's address lines.
    bits: u8,
}

const _: () = assert!(MAX_SLOTS <= u16::MAX as usize);

/// The order of a block that holds the largest segment.
const WHOLE: u32 = MAX_SLOTS.ilog2();

impl Want {
    /// `count` slots, wherever they are; `None` for none, and for more than any segment has.
    pub const fn slots(count: usize) -> Option<Self> {
        Self::of(&Limits::new(DmaMask::BITS_64)).sized(count, count)
    }

    /// What a device demands, of no slots yet.
    pub(super) const fn of(limits: &Limits) -> Self {
        let (kept, aligned) = (limits.keep_offset.bytes(), limits.alignment.bytes());
        let unit = if kept > aligned { kept } else { aligned };
        let align = unit.ilog2().saturating_sub(SLOT_SHIFT);
        let block = match limits.boundary {
            Some(boundary) => boundary.bytes().ilog2().saturating_sub(SLOT_SHIFT),
            None => WHOLE,
        };
        #[expect(clippy::cast_possible_truncation, reason = "logarithms of 64-bit numbers")]
        Self {
            count: 0,
            span: 0,
            align: align as u8,
            block: if block < WHOLE { block } else { WHOLE } as u8,
            bits: limits.mask.bits() as u8,
        }
    }

    /// The same for `count` slots of which the device may use the first `span`.
    ///
    /// `None` for none, for more than any segment has, and for a span that no boundary leaves room for.
    #[inline(always)]
    pub(super) const fn sized(self, count: usize, span: usize) -> Option<Self> {
        if count == 0 || count > MAX_SLOTS || span > count || span > 1 << self.block {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "both are at most MAX_SLOTS")]
        Some(Self { count: count as u16, span: span as u16, ..self })
    }

    /// How many slots.
    #[inline]
    pub const fn count(self) -> usize {
        self.count as usize
    }

    /// How many bytes.
    pub(super) const fn len(self) -> usize {
        self.count() << SLOT_SHIFT
    }

    /// What the first slot's number is a multiple of.
    #[inline]
    pub(super) const fn step(self) -> usize {
        1 << self.align
    }

    /// The device's reach.
    pub(super) fn mask(self) -> DmaMask {
        DmaMask::from_bits(self.bits()).unwrap_or(DmaMask::BITS_32)
    }

    /// Its address lines.
    pub(super) const fn bits(self) -> u32 {
        self.bits as u32
    }

    /// The order of a block at whose start such a run can be wherever the block is.
    pub(super) const fn order(self) -> usize {
        let order = self.count().next_power_of_two().ilog2() as usize;
        let align = self.align as usize;
        if order > align { order } else { align }
    }

    /// Whether a run that starts with slot `start` meets what is demanded of its place.
    #[inline]
    pub(super) const fn admits(self, start: usize) -> bool {
        let (step, block) = (self.step(), 1 << self.block);
        start.is_multiple_of(step) && (start % block) + self.span as usize <= block
    }

    /// The same for a run of bytes on the bus, reach included.
    pub(super) fn admits_bus(self, bus: BusAddr) -> bool {
        let slot = to_usize(bus.0 >> SLOT_SHIFT);
        self.admits(slot) && self.mask().covers(bus, self.len())
    }

    /// The fewest slots of an aligned segment in which there is a place.
    #[inline]
    pub(super) const fn least(self) -> usize {
        let (count, step) = (self.count(), self.step());
        if step > count { step } else { count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_no_segment_or_boundary_has_room_for_is_none() {
        let page = super::super::limits::PowerOfTwo::new(4096).unwrap();
        let free = Want::of(&Limits::new(DmaMask::BITS_32));
        let bound = Want::of(&Limits::new(DmaMask::BITS_32).within(page));
        for (want, count, span, fits) in [
            (free, 1, 1, true),
            (free, 0, 0, false),
            (free, MAX_SLOTS, MAX_SLOTS, true),
            (free, MAX_SLOTS + 1, 1, false),
            (free, 3, 4, false),
            (bound, 3, 2, true),
            (bound, 3, 3, false),
        ] {
            assert_eq!(want.sized(count, span).is_some(), fits, "{count}, {span}");
        }
        assert_eq!(Want::slots(3).unwrap().len(), 3 << SLOT_SHIFT);
    }
}

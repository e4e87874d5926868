//! Where in a run of slots the bytes of a mapping go, and the guard bytes around them.
//!
//! ```text
//! run of slots  |· · · guard|b u f f e r   o r   w h a t   t h e   d e v i c e   w r i t e s|guard · · ·|
//!               0           head                                               head + len       slots * 2 KiB
//! ```
//!
//! Guards are [`GUARD`] bytes of the mapping's own pattern (`bounce`). They cost a slot where a buffer fills its
//! slots exactly; a pool too full for that gives a bare run, whose guards are whatever slack there is.

use super::{limits::Limits, run::SLOT_SIZE, want::Want};

/// Guard bytes on each side, at most.
pub(super) const GUARD: usize = 16;

/// The smallest head spent on a guard: a cache line, so that the copy stays aligned.
const HEAD_MIN: usize = 64;

/// The largest head spent on a guard alone.
const HEAD_MAX: usize = 512;

/// The place of one mapping in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes before the mapping.
    pub(super) head: usize,
    /// The slots it takes.
    pub(super) want: Want,
}

/// A device's limits, worked out for placing mappings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The bits of a buffer's address that the mapping keeps: what the device wants kept, less what its
    /// alignment forbids.
    keep: usize,
    /// Bytes spent on a guard in front.
    lead: usize,
    /// What a run has to be, but for its length.
    want: Want,
    /// The most bytes from the run's start that no boundary cuts, wherever slots begin.
    room: usize,
    max_len: usize,
}

impl Shape {
    /// What these limits come to.
    pub(super) const fn new(limits: &Limits) -> Self {
        let (kept, aligned) = (limits.keep_offset.bytes(), limits.alignment.bytes());
        let unit = if kept > aligned { kept } else { aligned };
        let lead = if unit > HEAD_MIN { unit } else { HEAD_MIN };
        Self {
            keep: limits.keep_offset.low_bits() & !limits.alignment.low_bits(),
            lead: if lead <= HEAD_MAX { lead } else { 0 },
            want: Want::of(limits),
            room: match limits.boundary {
                Some(boundary) => boundary.bytes(),
                None => usize::MAX,
            },
            max_len: limits.max_len,
        }
    }

    /// With full guards on both sides, where alignment and boundary leave room for them.
    #[inline(always)]
    pub(super) fn guarded(&self, address: usize, len: usize) -> Option<Layout> {
        let kept = address & self.keep;
        let lead = if kept < GUARD { self.lead } else { 0 };
        let crosses = kept + lead + len > self.room;
        self.with(if crosses { kept } else { kept + lead }, len, GUARD)
    }

    /// In as few slots as possible.
    #[inline(always)]
    pub(super) fn bare(&self, address: usize, len: usize) -> Option<Layout> {
        self.with(address & self.keep, len, 0)
    }

    /// The largest `len` that [`Shape::bare`] fits into one run of `run` bytes, whatever the address.
    pub(super) fn largest(&self, run: usize) -> usize {
        run.min(self.room).saturating_sub(self.keep).min(self.max_len)
    }

    /// No sum here overflows: a buffer has at most half of all addresses, and the rest is small.
    #[inline(always)]
    fn with(&self, head: usize, len: usize, tail: usize) -> Option<Layout> {
        if head + len > self.room || len > self.max_len {
            return None;
        }
        let slots = |bytes: usize| bytes.div_ceil(SLOT_SIZE);
        let want = self.want.sized(slots(head + len + tail), slots(head + len))?;
        Some(Layout { head, want })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{addr::DmaMask, dma::limits::PowerOfTwo};

    const PLAIN: Limits = Limits::new(DmaMask::BITS_32);

    fn power(bytes: usize) -> PowerOfTwo {
        PowerOfTwo::new(bytes).unwrap()
    }

    fn head(limits: Limits, address: usize, len: usize) -> Option<usize> {
        Shape::new(&limits).guarded(address, len).map(|layout| layout.head)
    }

    #[test]
    fn an_offset_that_is_kept_makes_room_for_the_guard_from_its_length_on() {
        let limits = PLAIN.keeping_offset(power(256));
        assert_eq!(head(limits, 0x1000 + GUARD - 1, 8), Some(256 + GUARD - 1));
        assert_eq!(head(limits, 0x1000 + GUARD, 8), Some(GUARD));
    }

    #[test]
    fn a_guard_in_front_goes_where_the_boundary_leaves_room_for_it() {
        let limits = PLAIN.within(power(1024));
        assert_eq!(head(limits, 0, 1024 - HEAD_MIN), Some(HEAD_MIN));
        assert_eq!(head(limits, 0, 1025 - HEAD_MIN), Some(0));
        assert_eq!(head(limits, 0, 1024), Some(0));
        assert_eq!(head(limits, 0, 1025), None);
        let both = limits.keeping_offset(power(128));
        assert_eq!(head(both, 5, 1024 - 128 - 5), Some(133));
        assert_eq!(head(both, 5, 1025 - 128 - 5), Some(5), "the offset comes before the guard");
    }

    #[test]
    fn a_mapping_may_be_as_long_as_the_device_takes() {
        let shape = Shape::new(&Limits { max_len: 5000, ..PLAIN });
        assert!(shape.bare(0, 5000).is_some() && shape.guarded(0, 5000).is_some());
        assert_eq!(shape.bare(0, 5001), None);
        assert_eq!(shape.largest(1 << 20), 5000);
    }
}

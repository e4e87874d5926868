//! Where in a run of slots the bytes of a mapping go, and the guard bytes around them.
//!
//! ```text
//! run of slots  |· · · guard|b u f f e r   o r   w h a t   t h e   d e v i c e   w r i t e s|guard · · ·|
//!               0           head                                               head + len       slots * 2 KiB
//! ```
//!
//! Guards are [`GUARD`] bytes of the mapping's own pattern (`bounce`). They cost a slot where a buffer fills its
//! slots exactly; a pool too full for that gives a bare run, whose guards are whatever slack there is.

use super::{limits::Limits, slots::SLOT_SIZE, want::Want};

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

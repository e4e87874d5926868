//! Where in a run of slots the bytes of a mapping go, and the guard bytes around them.
//!
//! ```text
//! run of slots  |· · · guard|b u f f e r   o r   w h a t   t h e   d e v i c e   w r i t e s|guard · · ·|
//!               0           head                                               head + len       slots * 2 KiB
//! ```
//!
//! Guards are [`GUARD`] bytes of a pattern made from the mapping's bus address, so that a stray copy of
//! another mapping's guard is not mistaken for an intact one. They cost a slot where a buffer fills its
//! slots exactly; a pool too full for that gives a bare run, whose guards are whatever slack there is.

use super::{
    limits::Limits,
    slots::{SLOT_SHIFT, SLOT_SIZE},
};
use crate::addr::BusAddr;

/// Guard bytes on each side, at most.
pub(super) const GUARD: usize = 32;

/// The smallest head spent on a guard: a cache line, so that the copy stays aligned.
const HEAD_MIN: usize = 64;

/// The largest head spent on a guard alone.
const HEAD_MAX: usize = 512;

/// The shape of a run for one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes before the mapping.
    pub(super) head: usize,
    /// Bytes of the mapping.
    pub(super) len: usize,
    /// Slots in the run.
    pub(super) slots: usize,
    /// log2 of the slots the run's start is a multiple of.
    pub(super) align: usize,
}

impl Layout {
    /// With full guards on both sides, where alignment and boundary leave room for them.
    #[inline]
    pub(super) fn guarded(address: usize, len: usize, limits: &Limits) -> Option<Self> {
        let kept = kept_offset(address, limits);
        let unit = limits.keep_offset.bytes().max(limits.alignment.bytes());
        let lead = if kept >= GUARD { 0 } else { unit.max(HEAD_MIN) };
        let head = if lead <= HEAD_MAX { kept + lead } else { kept };
        let crosses = limits.boundary.is_some_and(|b| head + len > b.bytes());
        Self::with(if crosses { kept } else { head }, len, GUARD, limits)
    }

    /// In as few slots as possible.
    #[inline]
    pub(super) fn bare(address: usize, len: usize, limits: &Limits) -> Option<Self> {
        Self::with(kept_offset(address, limits), len, 0, limits)
    }

    /// The largest `len` that [`Layout::bare`] fits into one run of `run` bytes, whatever the address.
    pub(super) fn largest(run: usize, limits: &Limits) -> usize {
        let room = limits.boundary.map_or(run, |b| run.min(b.bytes()));
        let kept = kept_offset(limits.keep_offset.low_bits(), limits);
        room.saturating_sub(kept).min(limits.max_len)
    }

    #[inline]
    fn with(head: usize, len: usize, tail: usize, limits: &Limits) -> Option<Self> {
        let end = head.checked_add(len)?;
        if limits.boundary.is_some_and(|b| end > b.bytes()) || len > limits.max_len {
            return None;
        }
        let slots = end.checked_add(tail)?.div_ceil(SLOT_SIZE);
        let unit = limits.keep_offset.bytes().max(limits.alignment.bytes());
        // A run is naturally aligned to the power of two above its size, or to `align` if that is
        // more. With a boundary below that size the data still starts aligned to the boundary, and
        // ends within it by the check above.
        let align = unit.trailing_zeros().saturating_sub(SLOT_SHIFT) as usize;
        Some(Self { head, len, slots, align })
    }
}

/// The bytes from the unit's start that the device wants kept, less what its alignment forbids.
const fn kept_offset(address: usize, limits: &Limits) -> usize {
    address & limits.keep_offset.low_bits() & !limits.alignment.low_bits()
}

/// The guard pattern of the mapping at `bus`, repeated.
pub(super) const fn pattern(bus: BusAddr) -> u64 {
    (bus.0 ^ 0xb0c3_9a6d_5e87_f142).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

//! Runs of slots: what a segment is divided into and what is taken of it.

use crate::{addr::PAGE_SIZE, mm::contiguous::Order, options};

/// log2 of [`SLOT_SIZE`].
pub const SLOT_SHIFT: u32 = 11;
/// Bytes in a slot: an Ethernet frame fits in one, with room for guard bytes.
pub const SLOT_SIZE: usize = 1 << SLOT_SHIFT;
/// Slots in the largest segment (16 MiB).
pub const MAX_SLOTS: usize = Order::MAX.bytes() / SLOT_SIZE;

const _: () = assert!(PAGE_SIZE.is_multiple_of(SLOT_SIZE));
// `slots=` on the command line counts these.
const _: () = assert!(SLOT_SIZE == options::SLOT_SIZE);
const _: () = assert!(MAX_SLOTS <= u16::MAX as usize);

/// A run of neighbouring slots, taken from [`super::slots::Slots::take`].
///
/// Not `Clone`: it is given back once. Giving it to the wrong `Slots` is found out.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the slots are lost unless the run is given back"]
pub struct Run {
    pub(super) start: u16,
    pub(super) count: u16,
}

impl Run {
    /// No run, which nobody gets.
    pub(super) const NONE: Self = Self { start: 0, count: 0 };

    /// The first slot.
    pub const fn start(&self) -> usize {
        self.start as usize
    }

    /// How many slots.
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes from the start of the segment.
    pub const fn offset(&self) -> usize {
        self.start() << SLOT_SHIFT
    }

    /// Bytes in the run.
    pub const fn len(&self) -> usize {
        self.count() << SLOT_SHIFT
    }

    /// Whether the run has no slots.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

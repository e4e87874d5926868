//! From an address the CPU uses to the addresses a device and the frame allocator use.

use crate::addr::{BusAddr, PhysAddr};

/// Where a byte of guest memory lies, in both numberings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the guest's own numbering.
    pub phys: PhysAddr,
    /// On the bus.
    pub bus: BusAddr,
}

/// Finds the place of a mapped byte. Only the page is looked up: neighbours may lie elsewhere.
pub trait Translate: Sync {
    /// The place behind `address`, `None` if it is no RAM of this guest.
    fn place_of(&self, address: *const u8) -> Option<Place>;
}

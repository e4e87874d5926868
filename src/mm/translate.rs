//! From an address the CPU uses to the addresses a device and the frame allocator use.

use crate::{
    addr::{BusAddr, PhysAddr},
    arch::VIRT_BASE,
    mm::{memory::Memory, page_table},
};

/// Where a byte of guest memory lies, in both numberings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the guest's own numbering.
    pub phys: PhysAddr,
    /// On the bus.
    pub bus: BusAddr,
}

/// Finds the place of a mapped byte. Only the page is looked up: neighbours may lie elsewhere. What is not surely
/// the guest's has no place.
pub trait Translate: Sync {
    /// The place behind `address`, `None` if it is no RAM of this guest.
    fn place_of(&self, address: *const u8) -> Option<Place>;
}

impl Translate for Memory<'_> {
    fn place_of(&self, address: *const u8) -> Option<Place> {
        let virt = address.addr() as u64;
        let pfn = match page_table::direct_pfn(virt) {
            Some(pfn) => pfn,
            None => PhysAddr(virt.checked_sub(VIRT_BASE)?).frame(),
        };
        let offset = PhysAddr(virt).page_offset() as u64;
        let mfn = self.p2m().get(pfn)?;
        // A frame that Xen's table has under another name may be somebody else's by now.
        if self.xen().m2p(mfn) != Some(pfn) {
            return None;
        }
        Some(Place { phys: PhysAddr(pfn.addr().0 + offset), bus: BusAddr(mfn.addr().0 + offset) })
    }
}

/// Memory whose places all differ from its CPU addresses by one constant each: a segment, or a platform
/// on which the bus is shifted against physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The CPU address of the first byte.
    pub cpu: usize,
    /// How many bytes.
    pub len: usize,
    /// The place of the first byte.
    pub place: Place,
}

impl Translate for Offset {
    fn place_of(&self, address: *const u8) -> Option<Place> {
        let offset = address.addr().checked_sub(self.cpu).filter(|&offset| offset < self.len)?;
        Some(Place {
            phys: self.place.phys.checked_add(offset as u64)?,
            bus: self.place.bus.checked_add(offset as u64)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_offset_holds_inside_its_range_only() {
        let place = Place { phys: PhysAddr(0x5000), bus: BusAddr(0x8000_5000) };
        let offset = Offset { cpu: 0x1000, len: 0x2000, place };
        let at = |address| offset.place_of(core::ptr::without_provenance(address));
        assert_eq!(at(0x1000), Some(place));
        assert_eq!(at(0x2fff).unwrap().bus, BusAddr(0x8000_6fff));
        assert_eq!(at(0xfff), None);
        assert_eq!(at(0x3000), None);
    }
}

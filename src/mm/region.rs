//! Pages that are neighbours everywhere: what the bounce pool is made of.
#![expect(unsafe_code, reason = "vouches for where the pages are mapped")]

use crate::{
    addr::{BusAddr, Mfn, Pfn, to_usize},
    arch::volatile::Window,
    mm::{order::Order, page_table},
};
use core::ptr::{NonNull, with_exposed_provenance_mut};

/// `2^order` pages that are neighbours in the machine, in the guest's numbering and in the CPU's view.
///
/// Not `Clone`: whoever holds it holds the frames, and gives them back with
/// [`ContiguousMemory::release`](crate::mm::contiguous::ContiguousMemory::release).
#[derive(Debug)]
#[must_use = "the frames are lost unless the region is released"]
pub struct Region {
    pfn: Pfn,
    mfn: Mfn,
    order: Order,
    /// `None` in a host test, where a fake maps nothing.
    cpu: Option<NonNull<u8>>,
}

impl Region {
    /// The pages from `pfn`, behind which are the machine frames from `mfn`, mapped from `cpu` on.
    ///
    /// # Safety
    /// The whole region must be mapped at `cpu`, readable and writable and nobody else's, until the region is
    /// handed to whoever made it.
    pub const unsafe fn new(pfn: Pfn, mfn: Mfn, order: Order, cpu: NonNull<u8>) -> Self {
        Self { pfn, mfn, order, cpu: Some(cpu) }
    }

    /// As [`Region::new`], for a run that [`crate::mm::memory`] has just mapped in the direct map.
    pub(super) fn in_direct_map(pfn: Pfn, mfn: Mfn, order: Order) -> Option<Self> {
        let virt = to_usize(page_table::direct(pfn)?);
        if cfg!(not(target_os = "none")) {
            return Some(Self { pfn, mfn, order, cpu: None });
        }
        let cpu = NonNull::new(with_exposed_provenance_mut(virt))?;
        // SAFETY: `Memory::acquire`, the only caller, mapped the run and unmaps it only on its release.
        Some(unsafe { Self::new(pfn, mfn, order, cpu) })
    }

    /// First frame, in the guest's numbering.
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// First frame, in the machine's numbering; aligned to the order.
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// How many pages.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Where the CPU sees the first byte.
    ///
    /// # Panics
    /// If the region is a fake Xen's, which maps nothing.
    pub const fn cpu(&self) -> NonNull<u8> {
        self.cpu.expect("a region that is mapped")
    }

    /// The first byte as a device sees it.
    pub const fn bus(&self) -> BusAddr {
        self.mfn.addr()
    }

    /// Size in bytes.
    pub const fn len(&self) -> usize {
        self.order.bytes()
    }

    /// The way to read and write the region's bytes.
    pub const fn window(&self) -> Window<'_> {
        // SAFETY: whoever made the region vouched for the mapping; it lasts until the region is given back, which
        // the window's borrow forbids, and no reference to the bytes is made.
        unsafe { Window::new(self.cpu(), self.len()) }
    }
}

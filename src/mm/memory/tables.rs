//! A page of the guest's as a page table, for a while: what Xen then does with the frame is what is wanted of it.
//!
//! Xen lets a frame be a table only while nothing maps it writable, and takes such a frame out of the IOMMU's tables
//! (`get_page_type` in xen/arch/x86/mm.c). The table hangs where nothing else is mapped, and none of its entries maps
//! anything, so no access ever goes by it.
#![expect(unsafe_code, reason = "hangs a frame into the page tables")]

use super::{Memory, MemoryError, State};
use crate::{
    addr::BusAddr,
    mm::{
        page_table::{self, L1_SPAN},
        region::Region,
    },
    xen::hypercall::{MmuUpdate, Pte, Remap},
};
use x86_64::structures::paging::PageTableFlags;

/// A page that is a page table: mapped read-only as bytes, and not in the allocator's hands.
#[derive(Debug)]
#[must_use = "the page stays a table unless it is taken down"]
pub(in crate::mm) struct TableRegion {
    region: Region,
    /// Where it hangs.
    entry: BusAddr,
}

impl TableRegion {
    /// The page.
    pub(in crate::mm) const fn region(&self) -> &Region {
        &self.region
    }
}

impl Memory<'_> {
    /// Makes a page a page table. Its entries are what it holds, and each is one of [`Pte::absent`].
    ///
    /// If Xen refuses, the page is what it was; one that Xen then does not let be written again is kept.
    pub(in crate::mm) fn hang(
        &self,
        region: Region,
    ) -> Result<TableRegion, (MemoryError, Option<Region>)> {
        let entry = match self.free_entry(&mut self.state.lock()) {
            Ok(entry) => entry,
            Err(error) => return Err((error, Some(region))),
        };
        let hung = self
            .map_page(&region, page_table::CONSTANT)
            .and_then(|()| self.write_entry(entry, Pte::new(region.mfn(), page_table::TABLE)));
        match hung {
            Ok(()) => Ok(TableRegion { region, entry }),
            Err(error) => {
                Err((error, self.map_page(&region, page_table::DATA).ok().map(|()| region)))
            }
        }
    }

    /// Makes a page table a page again. One that Xen keeps as it is stays taken, and the count at the end shows it.
    pub(in crate::mm) fn take_down(&self, table: TableRegion) -> Result<Region, MemoryError> {
        let TableRegion { region, entry } = table;
        self.write_entry(entry, Pte::NONE)?;
        self.map_page(&region, page_table::DATA)?;
        Ok(region)
    }

    /// The entry that a table can hang under, in a part of the window that nothing else will ever be in.
    fn free_entry(&self, state: &mut State) -> Result<BusAddr, MemoryError> {
        let virt = state.next_io.next_multiple_of(L1_SPAN);
        if page_table::END - virt < L1_SPAN {
            return Err(MemoryError::NoAddresses { pages: 1 });
        }
        state.next_io = virt + L1_SPAN;
        loop {
            match state.tables.missing(virt) {
                Some(missing) if missing.is_lowest() => return Ok(missing.entry),
                Some(missing) => self.make_missing(state, virt, missing)?,
                // Addresses are not used again, so this one has no table yet.
                None => return Err(MemoryError::NoAddresses { pages: 1 }),
            }
        }
    }

    fn map_page(&self, region: &Region, flags: PageTableFlags) -> Result<(), MemoryError> {
        let virt = page_table::direct(region.pfn()).unwrap_or(page_table::DIRECT);
        self.apply(&[Remap { virt, pte: Pte::new(region.mfn(), flags) }])
    }

    fn write_entry(&self, entry: BusAddr, pte: Pte) -> Result<(), MemoryError> {
        let update = MmuUpdate { ptr: entry.0, val: pte.0 };
        // SAFETY: the entry covers addresses that nothing is mapped at, before and after: each entry of the table is absent.
        let written = unsafe { self.xen.mmu_update(&[update]) };
        written.map_err(|error| MemoryError::Mapping { virt: entry.0, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::{DmaMask, Pfn},
        mm::{
            contiguous::{ContiguousMemory, Order},
            p2m::{P2m, PfnRange},
        },
        xen::hypercall::fake::FakeXen,
    };
    use alloc::vec::Vec;
    use core::sync::atomic::AtomicU64;

    fn with_memory(test: impl FnOnce(&FakeXen, &Memory<'_>)) {
        let entries: Vec<_> = (0..2048).map(|_| AtomicU64::new(0)).collect();
        let xen = FakeXen::new(4096, &entries);
        let free = [PfnRange { start: Pfn(1024), count: 1024 }];
        test(&xen, &Memory::fake(&xen, P2m::new(&entries), &free));
    }

    fn page(memory: &Memory<'_>) -> Region {
        memory.acquire(Order::ZERO, DmaMask::BITS_64).unwrap()
    }

    #[test]
    fn a_page_is_a_table_for_a_while_and_then_a_page_again() {
        with_memory(|xen, memory| {
            // So that the tables above it are there.
            let none = memory.table_pages();
            let first = memory.hang(page(memory)).unwrap();
            assert_eq!(memory.table_pages(), none + 4, "above it, and above the page that it was");
            memory.release(memory.take_down(first).unwrap()).unwrap();
            let (free, tables) = (memory.free_pages(), memory.table_pages());
            for _ in 0..9 {
                let region = page(memory);
                let mfn = region.mfn();
                let table = memory.hang(region).unwrap();
                assert!(xen.truth(mfn).table && xen.truth(mfn).mapped);
                assert_eq!(table.region().mfn(), mfn);
                let region = memory.take_down(table).unwrap();
                assert!(!xen.truth(mfn).table);
                memory.release(region).unwrap();
            }
            assert_eq!((memory.free_pages(), memory.table_pages()), (free, tables));
        });
    }

    /// There and back, while the n-th call fails.
    fn refused(n: u64) {
        with_memory(|xen, memory| {
            let region = page(memory);
            let mfn = region.mfn();
            xen.fail_calls(n, 1);
            let hung = memory.hang(region);
            assert_eq!(xen.truth(mfn).table, hung.is_ok(), "{n}");
            let back = match hung {
                Ok(table) => memory.take_down(table).ok(),
                Err((_, region)) => region,
            };
            // What is not back stays taken.
            assert!(back.is_none() || !xen.truth(mfn).table, "{n}");
            assert!(xen.truth(mfn).ours);
            // Giving it back may be what fails.
            let _ = back.map(|region| memory.release(region));
        });
    }

    #[test]
    fn whatever_xen_refuses_no_page_is_both() {
        (1..=12).for_each(refused);
    }
}

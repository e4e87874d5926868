//! Frames that are not RAM of ours, or have a second place in the window: mapped one after the other.
//!
//! Addresses are not used again after unmapping: the window is far larger than any guest's appetite, and a stale
//! pointer then faults instead of reaching something else.

use super::{Memory, MemoryError, State};
use crate::{
    addr::{Mfn, PAGE_SIZE_U64, Pfn},
    mm::{p2m::PfnRange, page_table},
    xen::{
        errno::XenError,
        hypercall::{Pte, Remap},
    },
};
use x86_64::structures::paging::PageTableFlags;

impl Memory<'_> {
    /// Maps `count` frames from `first`; returns the virtual address.
    pub(in crate::mm) fn map_frames(
        &self,
        first: Mfn,
        count: u64,
        flags: PageTableFlags,
    ) -> Result<u64, MemoryError> {
        let mut frames = (0..count).map_while(|i| first.checked_add(i));
        self.map_list(&mut frames, count, flags)
    }

    /// Maps `count` frames one after the other; returns the virtual address. Less frames are an error.
    pub(in crate::mm) fn map_list(
        &self,
        frames: &mut dyn Iterator<Item = Mfn>,
        count: u64,
        flags: PageTableFlags,
    ) -> Result<u64, MemoryError> {
        let mut state = self.state.lock();
        let start = state.next_io;
        room(&state, count)?;
        state.next_io += count * PAGE_SIZE_U64;
        let page = |i| start + i * PAGE_SIZE_U64;
        for table in 0..=count.div_ceil(512) {
            self.make_tables(&mut state, page((table * 512).min(count.saturating_sub(1))))?;
        }
        let mut changes = (0..count)
            .zip(frames)
            .map(|(i, mfn)| Remap { virt: page(i), pte: Pte::new(mfn, flags) });
        if self.apply_all(&mut changes)? < count {
            return Err(MemoryError::Mapping { virt: start, error: XenError::BadAddress });
        }
        Ok(start)
    }

    /// Undoes [`Memory::map_frames`], of each page that Xen unmaps. Those that it does not are counted.
    pub(in crate::mm) fn unmap_frames(&self, start: u64, count: u64) -> Result<(), MemoryError> {
        let unmap = |i| self.apply(&[Remap { virt: start + i * PAGE_SIZE_U64, pte: Pte::NONE }]);
        let refused = (0..count).filter_map(|i| unmap(i).err());
        let (mut left, mut first) = (0, None);
        for error in refused {
            left += 1;
            first = first.or(Some(error));
        }
        self.state.lock().unreturned.mapped += left;
        first.map_or(Ok(()), Err)
    }

    /// Whether so many pages could be mapped.
    pub(in crate::mm) fn has_room_for(&self, count: u64) -> Result<(), MemoryError> {
        room(&self.state.lock(), count)
    }

    /// The first of `count` frames from `first` that is RAM of this guest.
    ///
    /// Xen's table has a name of ours for each frame of ours, though perhaps not the one it has by now, so it
    /// rules out almost all others; only for what is left the P2M is searched.
    pub(in crate::mm) fn first_own(&self, first: Mfn, count: u64) -> Option<Mfn> {
        let mut frames = (0..count).map_while(|i| first.checked_add(i));
        let end = Pfn(self.p2m.len());
        let suspect = frames.find(|mfn| self.xen.m2p(*mfn).is_some_and(|pfn| pfn < end))?;
        let suspects = suspect.0..first.0.saturating_add(count);
        let all = PfnRange::between(Pfn(0), end);
        let own = self.p2m.frames(all).map(|(_, mfn)| mfn);
        own.filter(|mfn| suspects.contains(&mfn.0)).min()
    }
}

/// A device may claim more than there are addresses, or tables for: it is not given all memory for them.
fn room(state: &State, count: u64) -> Result<(), MemoryError> {
    if count > (page_table::END - state.next_io) / PAGE_SIZE_U64 {
        return Err(MemoryError::NoAddresses { pages: count });
    }
    let wanted = count.div_ceil(512) + count.div_ceil(512 * 512) + 2;
    match (state.frames.free_count(), state.frames.longest()) {
        (free, longest) if wanted > free / 2 => {
            Err(MemoryError::NoFreePages { wanted, free, longest })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::to_usize,
        mm::p2m::P2m,
        xen::hypercall::{MemoryCalls, fake::FakeXen},
    };
    use alloc::vec::Vec;
    use core::sync::atomic::AtomicU64;

    const GUEST: u64 = 2048;

    fn with_memory(test: impl FnOnce(&FakeXen, &Memory<'_>)) {
        let entries: Vec<_> = (0..GUEST).map(|_| AtomicU64::new(0)).collect();
        let xen = FakeXen::new(GUEST * 2, &entries);
        let free = [PfnRange { start: Pfn(1024), count: 1024 }];
        test(&xen, &Memory::fake(&xen, P2m::new(&entries), &free));
    }

    #[test]
    fn a_list_is_mapped_page_by_page_and_a_missing_page_is_an_error() {
        with_memory(|xen, memory| {
            let list = PfnRange { start: Pfn(0), count: 600 };
            let frames = || memory.p2m().frames(list).map(|(_, mfn)| mfn);
            let first = memory.map_list(&mut frames(), 600, page_table::DATA).unwrap();
            let few = PfnRange { start: Pfn(700), count: 3 };
            let mut more = memory.p2m().frames(few).map(|(_, mfn)| mfn);
            let second = memory.map_list(&mut more, 3, page_table::DATA).unwrap();
            assert_eq!(second, first + 600 * PAGE_SIZE_U64, "behind the first, and apart");
            assert!(frames().all(|mfn| xen.truth(mfn).mapped));
            assert_eq!(xen.mapped(), 603);
            let error = memory.map_list(&mut frames(), 601, page_table::DATA).unwrap_err();
            assert!(matches!(error, MemoryError::Mapping { error: XenError::BadAddress, .. }));
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps 260,608 pages, which takes an hour there")]
    fn what_the_window_holds_is_mapped_as_long_as_half_of_the_pages_is_left() {
        with_memory(|xen, memory| {
            let most = (page_table::END - page_table::IO) / PAGE_SIZE_U64;
            let device = Mfn(0x10_0000);
            let refused = memory.map_frames(device, most, page_table::REGISTERS).unwrap_err();
            assert!(matches!(refused, MemoryError::NoFreePages { .. }), "{refused}");
            // 509 lowest tables, one above them, and two more make up half of 1024 pages.
            let pages = 509 * 512;
            memory.map_frames(device, pages, page_table::REGISTERS).unwrap();
            assert_eq!(xen.mapped() as u64, pages);
        });
    }

    #[test]
    fn more_than_the_window_holds_is_refused_before_xen_is_asked() {
        with_memory(|xen, memory| {
            let most = (page_table::END - page_table::IO) / PAGE_SIZE_U64;
            for pages in [most + 1, u64::MAX / PAGE_SIZE_U64, u64::MAX] {
                let refused = memory.map_frames(Mfn(0x10_0000), pages, page_table::REGISTERS);
                assert_eq!(refused, Err(MemoryError::NoAddresses { pages }));
            }
            assert_eq!(xen.calls(), 0);
            // There is no frame after the last.
            let last = Mfn(u64::MAX >> 12);
            let error = memory.map_frames(last, 2, page_table::REGISTERS).unwrap_err();
            assert!(matches!(error, MemoryError::Mapping { error: XenError::BadAddress, .. }));
        });
    }

    #[test]
    fn own_frames_are_known_under_their_old_names_too() {
        with_memory(|xen, memory| {
            let own = memory.p2m().get(Pfn(7)).unwrap();
            assert_eq!(memory.first_own(own, 1), Some(own));
            assert_eq!(memory.first_own(Mfn(own.0 - 3), 9), Some(Mfn(own.0 - 3)));
            // Xen's table still has the old name of a frame that moved.
            memory.p2m().rename(PfnRange { start: Pfn(7), count: 1 }, Pfn(0));
            assert_ne!(xen.m2p(own), Some(Pfn(0)));
            assert_eq!(memory.first_own(own, 1), Some(own));
            assert_eq!(memory.first_own(Mfn(0), GUEST - 1), None);
            assert_eq!(memory.first_own(Mfn(to_usize(GUEST) as u64 * 2), 100), None);
        });
    }
}

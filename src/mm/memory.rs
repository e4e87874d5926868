//! The guest's memory as a whole: frames, P2M, page tables and exchange, behind one object.
//!
//! Invariants: a free frame is mapped nowhere, so that Xen will trade it and a page table may be made of it;
//! [`Memory::take`] maps, [`Memory::give`] unmaps. A free frame holds nothing that this guest wrote, so that
//! it may leave at any time; it may hold what others did, so it is wiped before it is used. Both are done by
//! the CPU while the pages are mapped: a hypercall for it costs more than the wiping. A frame that is taken
//! has its name in Xen's table, too; a free one may have to wait for it ([`crate::mm::names`]).

pub use crate::mm::error::MemoryError;

use crate::{
    addr::{DmaMask, Mfn, PAGE_SIZE_U64, Pfn},
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order, Region, ReleaseError},
        exchange,
        frames::Frames,
        names::Names,
        p2m::{P2m, PfnRange},
        page_table::{self, Tables},
    },
    xen::{
        errno::XenError,
        hypercall::{MemoryCalls, MmuUpdate, Pte, Remap, machphys_update},
    },
};
use x86_64::structures::paging::PageTableFlags;

/// Changes handed to Xen at a time.
const BATCH: usize = 256;

#[derive(Debug)]
struct State {
    frames: Frames,
    names: Names,
    tables: Tables,
    next_io: u64,
}

/// All memory of the domain.
pub struct Memory<'x> {
    xen: &'x dyn MemoryCalls,
    p2m: P2m<'x>,
    state: spin::Mutex<State>,
}

impl core::fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Memory").field("pages", &self.p2m.len()).finish_non_exhaustive()
    }
}

impl<'x> Memory<'x> {
    /// Memory of which nothing is free yet; `l4` is the top page table.
    pub const fn new(xen: &'x dyn MemoryCalls, p2m: P2m<'x>, l4: Mfn) -> Self {
        let state = State {
            frames: Frames::empty(),
            names: Names::all_told(),
            tables: Tables::new(l4),
            next_io: page_table::IO,
        };
        Self { xen, p2m, state: spin::Mutex::new(state) }
    }

    /// Goes on with a longer P2M that has the same entries, and new names from `first` on, which Xen's table
    /// gets when their frames are taken.
    pub fn lengthen(&mut self, p2m: P2m<'x>, first: Pfn) {
        self.p2m = p2m;
        self.state.get_mut().names = Names::told_below(first);
    }

    /// Has Xen's table learn the names of all frames now; says how many it has learnt since the start.
    pub fn tell_all_names(&self) -> Result<u64, MemoryError> {
        let names = &mut self.state.lock().names;
        names.tell(Pfn(self.p2m.len()), self.p2m, self.xen)?;
        Ok(names.count())
    }

    /// The first name that Xen's table may not have yet.
    pub fn told(&self) -> Pfn {
        self.state.lock().names.told()
    }

    /// Declares frames free. They must be mapped nowhere.
    pub fn add_free(&self, run: PfnRange) -> Result<(), MemoryError> {
        Ok(self.state.lock().frames.give(run)?)
    }

    /// The P2M.
    pub const fn p2m(&self) -> P2m<'x> {
        self.p2m
    }

    /// The hypercalls this memory is managed with.
    pub const fn xen(&self) -> &'x dyn MemoryCalls {
        self.xen
    }

    /// Frames that are free.
    pub fn free_pages(&self) -> u64 {
        self.state.lock().frames.free_count()
    }

    /// Calls `visit` for every run of free frames.
    pub fn each_free(&self, visit: &mut dyn FnMut(PfnRange)) {
        self.state.lock().frames.runs().iter().copied().for_each(visit);
    }

    /// Frames that became page tables; they stay so.
    pub fn table_pages(&self) -> u64 {
        self.state.lock().tables.made()
    }

    /// Takes `count` neighbouring zeroed pages and maps them in the direct map, writable.
    pub fn take(&self, count: u64) -> Result<PfnRange, MemoryError> {
        let mut state = self.state.lock();
        let run = self.take_frames(&mut state, count)?;
        let mapped = self.map(&mut state, run);
        mapped.or_else(|error| state.give_unless_mapped(run, error))?;
        self.wipe(run);
        Ok(run)
    }

    /// As [`Memory::take`], but no page's machine neighbour is the next page.
    pub fn take_scattered(&self, count: u64) -> Result<PfnRange, MemoryError> {
        let mut state = self.state.lock();
        let run = self.take_frames(&mut state, count + 1)?;
        let wanted = PfnRange { start: run.start, count };
        let scattered = self.part_neighbours(run).and_then(|()| self.map(&mut state, wanted));
        scattered.or_else(|error| state.give_unless_mapped(run, error))?;
        state.frames.give(PfnRange::between(wanted.end(), run.end()))?;
        self.wipe(wanted);
        Ok(wanted)
    }

    /// Wipes, unmaps and frees pages.
    pub fn give(&self, run: PfnRange) -> Result<(), MemoryError> {
        self.wipe(run);
        self.unmap(run)?;
        Ok(self.state.lock().frames.give(run)?)
    }

    /// Maps `count` frames that are no RAM of ours, from `first`; returns the virtual address.
    pub fn map_io(
        &self,
        first: Mfn,
        count: u64,
        flags: PageTableFlags,
    ) -> Result<u64, MemoryError> {
        self.map_list(&mut (first.0..first.0 + count).map(Mfn), count, flags)
    }

    /// Maps `count` frames one after the other; returns the virtual address. Less frames are an error.
    ///
    /// Addresses are not used again after [`Memory::unmap_io`]: the window is far larger than any guest's
    /// appetite, and a stale pointer then faults instead of reaching something else.
    pub fn map_list(
        &self,
        frames: &mut dyn Iterator<Item = Mfn>,
        count: u64,
        flags: PageTableFlags,
    ) -> Result<u64, MemoryError> {
        let mut state = self.state.lock();
        let start = state.next_io;
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

    /// Undoes [`Memory::map_io`].
    pub fn unmap_io(&self, start: u64, count: u64) -> Result<(), MemoryError> {
        (0..count).try_for_each(|i| {
            let virt = start + i * PAGE_SIZE_U64;
            self.apply(&[Remap { virt, pte: Pte::NONE }])
        })
    }

    /// Parts machine neighbours in all of an unmapped run but its last page, by swapping a frame that follows
    /// its neighbour with the one after it.
    fn part_neighbours(&self, run: PfnRange) -> Result<(), MemoryError> {
        for ((a, b), c) in run.iter().zip(run.iter().skip(1)).zip(run.iter().skip(2)) {
            if let (Some(before), Some(here), Some(next)) =
                (self.p2m.get(a), self.p2m.get(b), self.p2m.get(c))
                && before.checked_add(1) == Some(here)
            {
                self.swap((b, here), (c, next))?;
            }
        }
        Ok(())
    }

    /// Swaps two pages' frames, in both tables or in none.
    fn swap(&self, (a, at_a): (Pfn, Mfn), (b, at_b): (Pfn, Mfn)) -> Result<(), MemoryError> {
        let name =
            |to_a, to_b| self.xen.mmu_update(&[machphys_update(to_a, a), machphys_update(to_b, b)]);
        name(at_b, at_a).map_err(|error| {
            // Xen may have done the first of the two.
            let _ = name(at_a, at_b);
            MemoryError::Naming { pfn: a, error }
        })?;
        self.p2m.set(a, at_b);
        self.p2m.set(b, at_a);
        Ok(())
    }

    /// Takes frames, which have their names in Xen's table then.
    fn take_frames(&self, state: &mut State, count: u64) -> Result<PfnRange, MemoryError> {
        let frames = &mut state.frames;
        let run = frames.take(count).ok_or_else(|| MemoryError::NoFreePages {
            wanted: count,
            free: frames.free_count(),
            longest: frames.longest(),
        })?;
        let told = state.names.tell(run.end(), self.p2m, self.xen);
        told.or_else(|error| state.give_unless_mapped(run, error))?;
        Ok(run)
    }

    /// Maps a run. On failure none of it is mapped, unless the error is [`MemoryError::StillMapped`].
    fn map(&self, state: &mut State, run: PfnRange) -> Result<(), MemoryError> {
        for pfn in run.iter().step_by(512).chain(run.iter().last()) {
            let virt = page_table::direct(pfn).ok_or(MemoryError::BeyondWindow(run))?;
            self.make_tables(state, virt)?;
        }
        self.remap_each(run, |mfn| Pte::new(mfn, page_table::DATA))
            .or_else(|error| self.unmap(run).and(Err(error)))
    }

    /// Writes zero to mapped pages.
    fn wipe(&self, run: PfnRange) {
        let start = page_table::direct(run.start);
        start.into_iter().for_each(|virt| self.xen.wipe(virt, run.count));
    }

    fn unmap(&self, run: PfnRange) -> Result<(), MemoryError> {
        self.remap_each(run, |_| Pte::NONE)
            .map_err(|error| MemoryError::StillMapped { run, error: error.xen() })
    }

    fn remap_each(&self, run: PfnRange, pte: impl Fn(Mfn) -> Pte) -> Result<(), MemoryError> {
        let mut changes = run.iter().filter_map(|pfn| {
            Some(Remap { virt: page_table::direct(pfn)?, pte: pte(self.p2m.get(pfn)?) })
        });
        self.apply_all(&mut changes).map(drop)
    }

    /// Makes changes in batches; returns how many there were.
    fn apply_all(&self, changes: &mut dyn Iterator<Item = Remap>) -> Result<u64, MemoryError> {
        let mut batch = [Remap { virt: 0, pte: Pte::NONE }; BATCH];
        let mut done = 0;
        loop {
            let mut count = 0;
            for (slot, change) in batch.iter_mut().zip(&mut *changes) {
                *slot = change;
                count += 1;
            }
            if count == 0 {
                return Ok(done);
            }
            self.apply(&batch[..count])?;
            done += count as u64;
        }
    }

    fn make_tables(&self, state: &mut State, virt: u64) -> Result<(), MemoryError> {
        while let Some(missing) = state.tables.missing(virt) {
            let frame = self.take_frames(state, 1)?;
            let made = self.p2m.get(frame.start).ok_or(XenError::BadAddress).and_then(|mfn| {
                self.xen.clear(&mut core::iter::once(mfn))?;
                let update =
                    MmuUpdate { ptr: missing.entry.0, val: Pte::new(mfn, page_table::TABLE).0 };
                self.xen.mmu_update(&[update])?;
                Ok(mfn)
            });
            match made {
                Ok(mfn) => state.tables.made_in(missing, mfn),
                Err(error) => {
                    state.frames.give(frame)?;
                    return Err(MemoryError::Mapping { virt, error });
                }
            }
        }
        Ok(())
    }

    fn apply(&self, changes: &[Remap]) -> Result<(), MemoryError> {
        let virt = changes.first().map_or(0, |change| change.virt);
        self.xen.remap(changes).map_err(|error| MemoryError::Mapping { virt, error })
    }

    /// Takes up to `count` neighbouring pages without mapping them: all of them if there is such a run, else
    /// the longest there is.
    pub fn set_aside(&self, count: u64) -> Result<PfnRange, MemoryError> {
        let mut state = self.state.lock();
        let most = state.frames.longest().clamp(1, count.max(1));
        self.take_frames(&mut state, most)
    }

    /// Takes exactly these pages without mapping them, if all of them are free; says whether they were.
    pub fn set_aside_run(&self, run: PfnRange) -> bool {
        let State { frames, names, .. } = &mut *self.state.lock();
        names.tell(run.end(), self.p2m, self.xen).is_ok() && frames.take_run(run)
    }

    /// Trades the frames of an unmapped run, `2^order` pages, for neighbours within `mask`, and maps them.
    ///
    /// On failure the run has frames as good as it had, and is unmapped, unless the error is
    /// [`AcquireError::StillMapped`].
    pub fn gather(
        &self,
        run: PfnRange,
        order: Order,
        mask: DmaMask,
    ) -> Result<Region, AcquireError> {
        let gathered = exchange::gather(self.xen, self.p2m, run, order, mask.bits());
        let mfn = gathered.inspect_err(|error| {
            if let AcquireError::Misplaced { mfn, .. } = *error {
                // Best effort: if even this fails, the run keeps frames that are just as good as RAM.
                let _ = exchange::scatter(self.xen, self.p2m, run, order, mfn);
            }
        })?;
        let mapped = self.map(&mut self.state.lock(), run).and_then(|()| {
            Region::in_direct_map(run.start, mfn, order).ok_or(MemoryError::BeyondWindow(run))
        });
        match mapped {
            Ok(region) => {
                self.wipe(run);
                Ok(region)
            }
            Err(MemoryError::StillMapped { error, .. }) => Err(AcquireError::StillMapped(error)),
            Err(error) => {
                let _ = exchange::scatter(self.xen, self.p2m, run, order, mfn);
                Err(AcquireError::Mapping(error.xen()))
            }
        }
    }

    /// Undoes [`Memory::gather`]; returns the run, unless it is still mapped somewhere.
    ///
    /// While a mapping remains, Xen would refuse the frames and nobody may reuse them.
    pub fn scatter(&self, region: Region) -> (Option<PfnRange>, Result<(), ReleaseError>) {
        let run = PfnRange { start: region.pfn(), count: region.order().pages() as u64 };
        let failed = |error| ReleaseError { mfn: region.mfn(), order: region.order(), error };
        self.wipe(run);
        if let Err(error) = self.unmap(run) {
            return (None, Err(failed(error.xen())));
        }
        let scattered = exchange::scatter(self.xen, self.p2m, run, region.order(), region.mfn());
        (Some(run), scattered.map_err(failed))
    }
}

impl State {
    /// Gives back a run whose mapping failed with `error`, which is passed on.
    fn give_unless_mapped<T>(
        &mut self,
        run: PfnRange,
        error: MemoryError,
    ) -> Result<T, MemoryError> {
        if !matches!(error, MemoryError::StillMapped { .. }) {
            self.frames.give(run)?;
        }
        Err(error)
    }
}

impl ContiguousMemory for Memory<'_> {
    fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        let taken = self.take_frames(&mut self.state.lock(), order.pages() as u64);
        let run = taken.map_err(|error| match error {
            MemoryError::NoFreePages { .. } => AcquireError::NoFreePages { pages: order.pages() },
            refused => AcquireError::Mapping(refused.xen()),
        })?;
        self.gather(run, order, mask).inspect_err(|error| {
            if error.leaves_pages_free() {
                // Taken from the table just now, so there is room for it again.
                let _ = self.state.lock().frames.give(run);
            }
        })
    }

    fn release(&self, region: Region) -> Result<(), ReleaseError> {
        let (mfn, order) = (region.mfn(), region.order());
        let (run, released) = self.scatter(region);
        if let Some(run) = run {
            let given = self.state.lock().frames.give(run);
            given.map_err(|_| ReleaseError { mfn, order, error: XenError::NoSpace })?;
        }
        released
    }
}

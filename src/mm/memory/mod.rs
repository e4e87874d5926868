//! The guest's memory as a whole: frames, P2M, page tables and exchange, behind one object.
//!
//! Invariants: a free frame is mapped nowhere, so that Xen will trade it and a page table may be made of it;
//! `Memory::take` maps, `Memory::give` unmaps. A free frame holds nothing that this guest wrote, so that
//! it may leave at any time; it may hold what others did, so it is wiped before it is used. Both are done by
//! the CPU while the pages are mapped: a hypercall for it costs more than the wiping. A frame that is taken
//! has its name in Xen's table, too; a free one may have to wait for it ([`crate::mm::m2p_sync`]).
//!
//! What takes, frees or maps frames by number is for this layer alone; others hold [`Pages`](crate::mm::pages::Pages),
//! a [`Region`](crate::mm::region::Region) or frames that are [`Withheld`], and give them back by value.
#![expect(unsafe_code, reason = "has Xen map, wipe and rename frames")]

mod io;
mod regions;
mod tables;

pub use crate::mm::error::MemoryError;
pub(in crate::mm) use tables::TableRegion;

#[cfg(not(target_os = "none"))]
use crate::xen::hypercall::fake::FakeXen;
use alloc::{format, string::String};

use crate::{
    addr::{Mfn, Pfn},
    mm::{
        frames::Frames,
        m2p_sync::M2pSync,
        p2m::{P2m, PfnRange},
        page_table::{self, Missing, Tables},
    },
    xen::{
        errno::XenError,
        hypercall::{MemoryCalls, MmuUpdate, Pte, Remap, machphys_update},
    },
};

/// Changes handed to Xen at a time.
const BATCH: usize = 256;

#[derive(Debug)]
struct State {
    frames: Frames,
    m2p: M2pSync,
    tables: Tables,
    next_io: u64,
    unreturned: Unreturned,
    arrived: Arrived,
}

/// What Xen would not take back, and what of it no count of free frames shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreturned {
    /// Regions of neighbouring frames that could not be traded for others.
    pub regions: u64,
    /// Pages of device memory, or of Xen's, that are still mapped.
    pub mapped: u64,
}

impl Unreturned {
    /// The same for people, if there is anything.
    pub fn says(&self) -> Option<String> {
        let Self { regions, mapped } = self;
        (*self != Self::default()).then(|| {
            format!("{regions} regions of low memory kept, {mapped} pages of device memory mapped")
        })
    }
}

/// Frames that came from an exchange and were mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// How many.
    pub frames: u64,
    /// How many of them held anything but zero when they came, before they were wiped.
    pub soiled: u64,
}

/// Free pages that nobody else gets: neither mapped nor used, and free again when dropped.
#[derive(Debug)]
#[must_use = "the pages are free again at once unless this is held"]
pub struct Withheld<'m> {
    memory: &'m Memory<'m>,
    run: PfnRange,
}

impl Drop for Withheld<'_> {
    fn drop(&mut self) {
        // They were free before. Where the table has become too full for that, the count at the end shows them.
        let _ = self.memory.add_free(self.run);
    }
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
    ///
    /// # Safety
    /// `xen` is the hypervisor this runs on, `p2m` its list of the domain's frames and `l4` the table in use. It is
    /// the only memory over them, and nothing else maps into the window of [`page_table`].
    pub const unsafe fn new(xen: &'x dyn MemoryCalls, p2m: P2m<'x>, l4: Mfn) -> Self {
        let state = State {
            frames: Frames::empty(),
            m2p: M2pSync::all_synced(),
            tables: Tables::new(l4),
            next_io: page_table::IO,
            unreturned: Unreturned { regions: 0, mapped: 0 },
            arrived: Arrived { frames: 0, soiled: 0 },
        };
        Self { xen, p2m, state: spin::Mutex::new(state) }
    }

    /// Memory over a fake, which maps nothing: its pages can be counted and traded, but not touched.
    #[cfg(not(target_os = "none"))]
    pub fn fake(xen: &'x FakeXen, p2m: P2m<'x>, free: &[PfnRange]) -> Self {
        // SAFETY: what is not mapped nobody can touch: `Pages`, `Region` and `DeviceMemory` see to it on a host.
        let memory = unsafe { Self::new(xen, p2m, xen.l4()) };
        for run in free {
            memory.add_free(*run).expect("separate runs of a test");
        }
        memory
    }

    /// Goes on with a longer P2M that has the same entries, and new names from `first` on, which Xen's table
    /// gets when their frames are taken.
    pub(super) fn lengthen(&mut self, p2m: P2m<'x>, first: Pfn) {
        self.p2m = p2m;
        self.state.get_mut().m2p = M2pSync::synced_below(first);
    }

    /// Has Xen's table learn the names of all frames now; says how many it has learnt since the start.
    pub fn sync_m2p(&self) -> Result<u64, MemoryError> {
        let m2p = &mut self.state.lock().m2p;
        m2p.sync(Pfn(self.p2m.len()), self.p2m, self.xen)?;
        Ok(m2p.count())
    }

    /// The first name that Xen's table may not have yet.
    pub fn m2p_synced(&self) -> Pfn {
        self.state.lock().m2p.synced()
    }

    /// Declares frames free. They must be mapped nowhere.
    pub(super) fn add_free(&self, run: PfnRange) -> Result<(), MemoryError> {
        Ok(self.state.lock().frames.give(run)?)
    }

    /// The P2M.
    pub const fn p2m(&self) -> P2m<'x> {
        self.p2m
    }

    /// The hypercalls this memory is managed with; those that change anything are unsafe.
    pub const fn xen(&self) -> &'x dyn MemoryCalls {
        self.xen
    }

    /// Frames that are free.
    pub fn free_pages(&self) -> u64 {
        self.state.lock().frames.free_count()
    }

    /// What Xen would not take back so far.
    pub fn unreturned(&self) -> Unreturned {
        self.state.lock().unreturned
    }

    /// The frames that came from exchanges so far.
    pub fn arrived(&self) -> Arrived {
        self.state.lock().arrived
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
    pub(super) fn take(&self, count: u64) -> Result<PfnRange, MemoryError> {
        let mut state = self.state.lock();
        let run = self.take_frames(&mut state, count)?;
        let mapped = self.map(&mut state, run);
        mapped.or_else(|error| state.give_unless_mapped(run, error))?;
        self.wipe(run);
        Ok(run)
    }

    /// As [`Memory::take`], but no page's machine neighbour is the next page.
    pub(super) fn take_scattered(&self, count: u64) -> Result<PfnRange, MemoryError> {
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
    pub(super) fn give(&self, run: PfnRange) -> Result<(), MemoryError> {
        self.wipe(run);
        self.unmap(run)?;
        Ok(self.state.lock().frames.give(run)?)
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
        let tell = |updates: &[MmuUpdate]| {
            // SAFETY: both frames are ours and free: they change their names and nothing else.
            unsafe { self.xen.mmu_update(updates) }
        };
        tell(&[machphys_update(at_b, a), machphys_update(at_a, b)]).map_err(|error| {
            // Xen may have done the first of the two. The other frame may be the reason: it is not named again.
            let _ = tell(&[machphys_update(at_b, b)]);
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
        let synced = state.m2p.sync(run.end(), self.p2m, self.xen);
        synced.or_else(|error| state.give_unless_mapped(run, error))?;
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

    /// Writes zero to mapped pages; how many held anything else.
    fn wipe(&self, run: PfnRange) -> u64 {
        // SAFETY: the run was mapped just now or is about to be unmapped, so that nobody refers to its bytes.
        page_table::direct(run.start).map_or(0, |virt| unsafe { self.xen.wipe(virt, run.count) })
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
            self.make_missing(state, virt, missing)?;
        }
        Ok(())
    }

    /// Makes one table on the way to `virt`.
    fn make_missing(
        &self,
        state: &mut State,
        virt: u64,
        missing: Missing,
    ) -> Result<(), MemoryError> {
        let frame = self.take_frames(state, 1)?;
        let made = self.p2m.get(frame.start).ok_or(XenError::BadAddress).and_then(|mfn| {
            // SAFETY: a free frame, in which nobody has anything.
            unsafe { self.xen.clear(&mut core::iter::once(mfn)) }?;
            let val = Pte::new(mfn, page_table::TABLE).0;
            let update = MmuUpdate { ptr: missing.entry.0, val };
            // SAFETY: an empty table where none was maps nothing, and unmaps nothing.
            unsafe { self.xen.mmu_update(&[update]) }?;
            Ok(mfn)
        });
        match made {
            Ok(mfn) => {
                state.tables.made_in(missing, mfn);
                Ok(())
            }
            Err(error) => {
                state.frames.give(frame)?;
                Err(MemoryError::Mapping { virt, error })
            }
        }
    }

    fn apply(&self, changes: &[Remap]) -> Result<(), MemoryError> {
        let virt = changes.first().map_or(0, |change| change.virt);
        // SAFETY: all changes lie in the window: free frames that are taken, and taken ones whose owner gave them back.
        let remapped = unsafe { self.xen.remap(changes) };
        remapped.map_err(|error| MemoryError::Mapping { virt, error })
    }

    /// Takes up to `count` neighbouring pages without mapping them: all of them if there is such a run, else
    /// the longest there is.
    pub fn set_aside(&self, count: u64) -> Result<PfnRange, MemoryError> {
        let mut state = self.state.lock();
        let most = state.frames.longest().clamp(1, count.max(1));
        self.take_frames(&mut state, most)
    }

    /// Withholds exactly these pages from everybody, if all of them are free.
    pub fn withhold(&self, run: PfnRange) -> Option<Withheld<'_>> {
        let State { frames, m2p, .. } = &mut *self.state.lock();
        let taken = m2p.sync(run.end(), self.p2m, self.xen).is_ok() && frames.take_run(run);
        taken.then(|| Withheld { memory: self, run })
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

//! Pages set aside early for what is exchanged late, or never.
//!
//! A guest that waits for its device may have used up its neighbouring pages by then. A reserve takes them
//! out of the frame allocator at boot, unmapped and unexchanged: no hypercall, nothing of the machine's low
//! memory. Regions are then made from those pages first, and from the rest of memory when they run out.
//!
//! ```text
//! set_aside   frames --> kept
//! acquire     kept --exchange--> region        (kept empty: straight from memory)
//! release     region --exchange back--> kept
//! give_back   kept --> frames
//! ```

use crate::{
    addr::{DmaMask, PAGE_SIZE, PAGE_SIZE_U64, Pfn, to_usize},
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order, Region, ReleaseError},
        frames::Frames,
        memory::{Memory, MemoryError},
        p2m::PfnRange,
    },
};

/// The most runs that pages are set aside in.
pub const MAX_RUNS: usize = 8;

/// Memory with some pages of it set aside.
#[derive(Debug)]
pub struct Reserve<'x> {
    memory: &'x Memory<'x>,
    kept: spin::Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    runs: [PfnRange; MAX_RUNS],
    /// Those pages of `runs` that are in no region.
    idle: Frames,
}

/// What was set aside, or given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// Bytes.
    pub bytes: usize,
    /// Runs of neighbouring pages they are in.
    pub runs: usize,
}

impl<'x> Reserve<'x> {
    const NONE: PfnRange = PfnRange { start: Pfn(0), count: 0 };

    /// Nothing is set aside yet: the same as the memory itself.
    pub const fn new(memory: &'x Memory<'x>) -> Self {
        let kept = Kept { runs: [Self::NONE; MAX_RUNS], idle: Frames::empty() };
        Self { memory, kept: spin::Mutex::new(kept) }
    }

    /// Sets aside `bytes` in up to [`MAX_RUNS`] runs, the longest first; at most half of what is free.
    pub fn set_aside(&self, bytes: usize) -> Result<Aside, MemoryError> {
        let mut kept = self.kept.lock();
        let mut missing = (bytes as u64 / PAGE_SIZE_U64).min(self.memory.free_pages() / 2);
        let mut aside = Aside::default();
        while missing > 0 && aside.runs < MAX_RUNS {
            let Some(place) = kept.runs.iter().position(|run| run.count == 0) else { break };
            let run = self.memory.set_aside(missing)?;
            kept.idle.give(run)?;
            kept.runs[place] = run;
            missing -= run.count;
            aside.bytes += to_usize(run.count) * PAGE_SIZE;
            aside.runs += 1;
        }
        Ok(aside)
    }

    /// Gives back every run of which no page is in a region; the others stay.
    pub fn give_back(&self) -> Result<Aside, MemoryError> {
        let mut kept = self.kept.lock();
        let mut aside = Aside::default();
        for place in 0..MAX_RUNS {
            let run = kept.runs[place];
            if run.count > 0 && kept.idle.take_run(run) {
                kept.runs[place] = Self::NONE;
                self.memory.add_free(run)?;
                aside.bytes += to_usize(run.count) * PAGE_SIZE;
                aside.runs += 1;
            }
        }
        Ok(aside)
    }

    /// Pages set aside now, in a region or not.
    pub fn pages(&self) -> u64 {
        self.kept.lock().runs.iter().map(|run| run.count).sum()
    }

    /// Whether a page is one of those set aside.
    pub fn holds(&self, pfn: Pfn) -> bool {
        self.kept.lock().runs.iter().any(|run| run.start <= pfn && pfn < run.end())
    }
}

impl ContiguousMemory for Reserve<'_> {
    fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        let Some(run) = self.kept.lock().idle.take(order.pages() as u64) else {
            return self.memory.acquire(order, mask);
        };
        self.memory.gather(run, order, mask).inspect_err(|error| {
            if error.leaves_pages_free() {
                // Taken out just now, so there is room for it.
                let _ = self.kept.lock().idle.give(run);
            }
        })
    }

    fn release(&self, region: Region) -> Result<(), ReleaseError> {
        if !self.holds(region.pfn()) {
            return self.memory.release(region);
        }
        let (run, released) = self.memory.scatter(region);
        // A run that could not be unmapped is neither kept nor free: it is lost, and counted as such.
        let _ = run.map(|run| self.kept.lock().idle.give(run));
        released
    }
}

//! The frame allocator: which PFNs are free, as a sorted table of runs.
//!
//! A test guest takes few, large pieces, so a short table beats a bitmap whose size would grow with the
//! domain. The table is fixed, because frames are handed out before there is a heap.
//!
//! Invariant kept by [`crate::mm::memory`]: a free frame is not mapped anywhere.

use crate::{addr::Pfn, mm::p2m::PfnRange};

/// Most runs the table holds: holes between pieces that were given back out of order.
const RUNS: usize = 256;

/// The free frames.
#[derive(Debug)]
pub struct Frames {
    runs: [PfnRange; RUNS],
    used: usize,
    free: u64,
}

/// Why frames could not be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreeError {
    /// Some of them are free already.
    #[error("{0:?} overlaps frames that are free already")]
    DoubleFree(PfnRange),
    /// The table of runs is full; the frames stay taken.
    #[error("no room to remember {0:?}: {RUNS} separate runs are free")]
    TableFull(PfnRange),
}

impl Frames {
    /// No frame free.
    pub const fn empty() -> Self {
        Self { runs: [PfnRange { start: Pfn(0), count: 0 }; RUNS], used: 0, free: 0 }
    }

    /// Frames that are free.
    pub const fn free_count(&self) -> u64 {
        self.free
    }

    /// The runs of free frames, in order.
    pub fn runs(&self) -> &[PfnRange] {
        &self.runs[..self.used]
    }

    /// The longest run of neighbouring free frames.
    pub fn longest(&self) -> u64 {
        self.runs().iter().map(|run| run.count).max().unwrap_or(0)
    }

    /// Takes `count` neighbouring frames, from the lowest place they fit.
    pub fn take(&mut self, count: u64) -> Option<PfnRange> {
        let index = self.runs().iter().position(|run| run.count >= count)?;
        let run = &mut self.runs[index];
        let taken = PfnRange { start: run.start, count };
        *run = PfnRange::between(taken.end(), run.end());
        if run.count == 0 {
            self.remove(index);
        }
        self.free -= count;
        Some(taken)
    }

    /// Takes exactly these frames, if all of them are free; says whether they were.
    pub fn take_run(&mut self, run: PfnRange) -> bool {
        let Some(index) =
            self.runs().iter().position(|r| r.start <= run.start && run.end() <= r.end())
        else {
            return false;
        };
        let whole = self.runs[index];
        let before = PfnRange::between(whole.start, run.start);
        let after = PfnRange::between(run.end(), whole.end());
        if before.count > 0 && after.count > 0 && self.used == RUNS {
            return false;
        }
        self.remove(index);
        self.free -= whole.count;
        // Neither touches another run, and there is room for both.
        [after, before].into_iter().all(|rest| self.give(rest).is_ok())
    }

    /// Gives frames back, merging with their neighbours.
    pub fn give(&mut self, run: PfnRange) -> Result<(), FreeError> {
        if run.count == 0 {
            return Ok(());
        }
        let index = self.runs().partition_point(|r| r.start < run.start);
        let before = index.checked_sub(1).map(|i| self.runs[i]);
        let after = self.runs().get(index).copied();
        let overlaps = before.is_some_and(|r| r.end() > run.start)
            || after.is_some_and(|r| run.end() > r.start);
        if overlaps {
            return Err(FreeError::DoubleFree(run));
        }
        let joins_before = before.is_some_and(|r| r.end() == run.start);
        let joins_after = after.is_some_and(|r| r.start == run.end());
        match (joins_before, joins_after) {
            (true, true) => {
                self.runs[index - 1].count += run.count + self.runs[index].count;
                self.remove(index);
            }
            (true, false) => self.runs[index - 1].count += run.count,
            (false, true) => {
                let whole = PfnRange::between(run.start, self.runs[index].end());
                self.runs[index] = whole;
            }
            (false, false) => self.insert(index, run)?,
        }
        self.free += run.count;
        Ok(())
    }

    fn insert(&mut self, index: usize, run: PfnRange) -> Result<(), FreeError> {
        if self.used == RUNS {
            return Err(FreeError::TableFull(run));
        }
        self.runs.copy_within(index..self.used, index + 1);
        self.runs[index] = run;
        self.used += 1;
        Ok(())
    }

    fn remove(&mut self, index: usize) {
        self.runs.copy_within(index + 1..self.used, index);
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, vec::Vec};
    use proptest::prelude::*;

    fn run(start: u64, count: u64) -> PfnRange {
        PfnRange { start: Pfn(start), count }
    }

    #[test]
    fn neighbours_merge_from_both_sides() {
        let mut frames = Frames::empty();
        for piece in [run(0, 2), run(4, 2), run(2, 2)] {
            frames.give(piece).unwrap();
        }
        assert_eq!(frames.longest(), 6);
        assert_eq!(frames.take(6), Some(run(0, 6)));
        assert_eq!(frames.take(1), None);
    }

    #[test]
    fn a_named_run_is_taken_whole_or_not_at_all() {
        let mut frames = Frames::empty();
        frames.give(run(8, 8)).unwrap();
        for absent in [run(7, 2), run(15, 2), run(0, 4)] {
            assert!(!frames.take_run(absent));
        }
        assert!(frames.take_run(run(10, 3)));
        assert!(!frames.take_run(run(9, 2)));
        assert_eq!((frames.free_count(), frames.longest()), (5, 3));
        assert!(frames.take_run(run(8, 2)) && frames.take_run(run(13, 3)));
        assert_eq!(frames.take(1), None);
    }

    #[test]
    fn from_a_full_list_a_run_is_taken_at_an_edge_and_not_from_the_middle() {
        let mut frames = Frames::empty();
        (0..RUNS as u64).for_each(|i| frames.give(run(i * 8, 4)).unwrap());
        assert!(!frames.take_run(run(9, 2)), "no room for two pieces");
        assert!(frames.take_run(run(8, 2)) && frames.take_run(run(18, 2)));
        assert!(frames.take_run(run(24, 4)), "no pieces");
        assert!(frames.take_run(run(33, 2)), "there is room");
    }

    #[test]
    fn freeing_twice_is_refused() {
        let mut frames = Frames::empty();
        frames.give(run(8, 8)).unwrap();
        for again in [run(8, 1), run(15, 1), run(0, 9), run(10, 2)] {
            assert_eq!(frames.give(again), Err(FreeError::DoubleFree(again)));
        }
        assert_eq!(frames.free_count(), 8);
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let mut frames = Frames::empty();
        for i in 0..RUNS as u64 {
            frames.give(run(i * 2, 1)).unwrap();
        }
        let one_more = run(RUNS as u64 * 2, 1);
        assert_eq!(frames.give(one_more), Err(FreeError::TableFull(one_more)));
        assert_eq!(frames.free_count(), RUNS as u64);
    }

    proptest! {
        #[test]
        fn never_hands_out_a_frame_twice_and_loses_none(steps in prop::collection::vec(0usize..40, 1..200)) {
            let mut frames = Frames::empty();
            frames.give(run(16, 512)).unwrap();
            let mut taken: Vec<PfnRange> = Vec::new();
            let mut held = BTreeSet::new();
            for step in steps {
                if step < 20 {
                    if let Some(piece) = frames.take(step as u64 + 1) {
                        for pfn in piece.iter() {
                            prop_assert!(held.insert(pfn));
                        }
                        taken.push(piece);
                    }
                } else if !taken.is_empty() {
                    let piece = taken.swap_remove(step % taken.len());
                    for pfn in piece.iter() {
                        held.remove(&pfn);
                    }
                    frames.give(piece).unwrap();
                }
                prop_assert_eq!(frames.free_count(), 512 - held.len() as u64);
            }
            for piece in taken {
                frames.give(piece).unwrap();
            }
            prop_assert_eq!(frames.longest(), 512);
        }
    }
}

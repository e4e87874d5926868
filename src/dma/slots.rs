//! Which slots of one segment are taken: a buddy allocator in fixed storage, with exact runs.
//!
//! Pure bookkeeping: no memory is touched, no heap is needed, and a zeroed value is a valid empty one,
//! so that a table of these costs nothing in the image.
//!
//! ```text
//! order 2   [       0       |       1       ]      a bit per free block of 2^order slots;
//! order 1   [   0   |   1   |   2   |   3   ]      `ready` has a bit per order with any free block,
//! order 0   [ 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 ]      `summary` a bit per 64 blocks with any free one
//! ```
//!
//! A run of n slots is cut from the start of the smallest block that holds it, which suits every demand a
//! [`Want`] can make; what is left over is free at once, as smaller blocks. Finding a block is three bit scans, so the cost depends neither on how full the
//! segment is nor on its size. A run given back is first put aside as it is, a few per length class, since
//! the next requests are most often for the same lengths: joining and splitting blocks all the way up and
//! down each time would cost more than copying a frame. [`Slots::coalesce`] ends that.
//!
//! The run may also fit where no block of its size is free: across the ends of blocks, or between runs inside
//! one. Such a place is looked for, a word of slots at a time, before a request is refused.
//!
//! Invariants: no two free blocks are buddies; a slot is either in exactly one free block or marked in
//! `used`, in use or put aside; `starts` marks the first slot of each run in either state, nothing else.

use super::{
    aside::Aside,
    bits, places,
    run::{MAX_SLOTS, Run, SLOT_SIZE},
    want::Want,
};
use crate::mm::contiguous::Order;

/// Block orders: 1 slot to [`MAX_SLOTS`].
pub const ORDERS: usize = MAX_SLOTS.ilog2() as usize + 1;
const WORDS: usize = MAX_SLOTS / 64;
const LEVELS: [usize; ORDERS + 1] = level_offsets();

/// The first word of each order's bitmap in `free`, and the total at the end.
const fn level_offsets() -> [usize; ORDERS + 1] {
    let mut offsets = [0; ORDERS + 1];
    let mut order = 0;
    while order < ORDERS {
        offsets[order + 1] = offsets[order] + (MAX_SLOTS >> order).div_ceil(64);
        order += 1;
    }
    offsets
}

/// A run that was not taken from here, or was given back already. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slots {start}+{count} were not taken as one run")]
pub struct NotTaken {
    /// The run's first slot.
    pub start: usize,
    /// Its length in slots.
    pub count: usize,
}

/// The slots of one segment.
#[derive(Debug)]
pub struct Slots {
    total: u16,
    in_use: u16,
    ready: u16,
    aside: Aside,
    free: [u64; LEVELS[ORDERS]],
    summary: [[u64; 2]; ORDERS],
    used: [u64; WORDS],
    starts: [u64; WORDS],
}

impl Slots {
    /// No slots; all zero, for a table in `.bss`.
    pub const NONE: Self = Self {
        total: 0,
        in_use: 0,
        ready: 0,
        aside: Aside::NONE,
        free: [0; LEVELS[ORDERS]],
        summary: [[0; 2]; ORDERS],
        used: [0; WORDS],
        starts: [0; WORDS],
    };

    /// Makes these the slots of a region of `order`, all free. Whatever was taken before is forgotten.
    pub fn reset(&mut self, order: Order) {
        self.clear();
        let total = order.bytes() / SLOT_SIZE;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "not above MAX_SLOTS, which fits by the assertion above"
        )]
        {
            self.total = total as u16;
        }
        self.put_block(total.ilog2() as usize, 0);
    }

    /// Back to [`Slots::NONE`].
    pub fn clear(&mut self) {
        (self.total, self.in_use, self.ready) = (0, 0, 0);
        self.aside = Aside::NONE;
        self.free.fill(0);
        self.summary.fill([0; 2]);
        self.used.fill(0);
        self.starts.fill(0);
    }

    /// How many slots there are.
    pub const fn total(&self) -> usize {
        self.total as usize
    }

    /// How many are taken.
    pub const fn in_use(&self) -> usize {
        self.in_use as usize
    }

    /// The order of the largest free block, `None` when there is none. Runs put aside don't count.
    pub fn largest(&self) -> Option<usize> {
        self.ready.checked_ilog2().map(|order| order as usize)
    }

    /// Takes a run that does; `None` when there is none.
    ///
    /// The segment is aligned to its size, so its first slot counts as aligned to no more.
    #[inline]
    pub fn take(&mut self, want: Want) -> Option<Run> {
        if want.least() > self.total() {
            return None;
        }
        let run = match self.aside.take(want) {
            Some(run) => run,
            None => self.take_cut(want)?,
        };
        self.in_use += run.count;
        Some(run)
    }

    /// Takes the run that starts with slot `start`, if it does and its slots are free.
    pub fn take_at(&mut self, want: Want, start: usize) -> Option<Run> {
        self.coalesce();
        let (count, total) = (want.count(), self.total());
        let inside = want.least() <= total && start <= total - count;
        if !inside || !want.admits(start) || bits::any(&self.used, start, count) {
            return None;
        }
        let run = self.cut_at(start, count)?;
        self.in_use += run.count;
        Some(run)
    }

    /// Whether a slot is free, runs put aside not counted.
    pub(super) fn is_free_slot(&self, slot: usize) -> bool {
        slot < self.total() && !bits::get(&self.used, slot)
    }

    /// Joins the runs put aside with the free blocks.
    pub fn coalesce(&mut self) {
        self.aside.drain().for_each(|run| self.free_run(&run));
    }

    /// Gives a run back.
    #[inline]
    pub fn give(&mut self, run: Run) -> Result<(), NotTaken> {
        let (start, count) = (run.start(), run.count());
        if self.aside.holds(&run) || !self.is_run(start, count) {
            return Err(NotTaken { start, count });
        }
        self.in_use -= run.count;
        if let Some(older) = self.aside.put(run) {
            self.free_run(&older);
        }
        Ok(())
    }

    /// Frees a run for any other use.
    fn free_run(&mut self, run: &Run) {
        let (start, count) = (run.start(), run.count());
        bits::clear(&mut self.used, start, count);
        bits::clear(&mut self.starts, start, count.min(1));
        self.free_range(start, start + count);
    }

    /// Cuts a run out of the free blocks; joins what was put aside if that is what it takes.
    fn take_cut(&mut self, want: Want) -> Option<Run> {
        if let Some(run) = self.cut(want) {
            return Some(run);
        }
        self.coalesce();
        self.cut(want).or_else(|| self.cut_between(want))
    }

    fn cut(&mut self, want: Want) -> Option<Run> {
        let (order, count) = (want.order(), want.count());
        let start = self.take_block(order)? << order;
        self.free_range(start + count, start + (1 << order));
        Some(self.allocate(start, count))
    }

    /// Cuts a run out of what is free between others, once nothing is put aside.
    fn cut_between(&mut self, want: Want) -> Option<Run> {
        if want.count() + self.in_use() > self.total() {
            return None;
        }
        let start = places::find(want, &self.used, self.total())?;
        self.cut_at(start, want.count())
    }

    /// Cuts free slots out of the blocks they are in.
    fn cut_at(&mut self, start: usize, count: usize) -> Option<Run> {
        let (mut at, end) = (start, start + count);
        while at < end {
            let order = (0..ORDERS).find(|&order| self.is_free(order, at >> order))?;
            let block = at >> order << order;
            let after = block + (1 << order);
            self.drop_block(order, block >> order);
            self.free_range(block, at);
            self.free_range(end.min(after), after);
            at = after;
        }
        Some(self.allocate(start, count))
    }

    /// Marks slots that are in no free block as a run.
    fn allocate(&mut self, start: usize, count: usize) -> Run {
        bits::set(&mut self.used, start, count);
        bits::set(&mut self.starts, start, 1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both are at most MAX_SLOTS, which fits by the assertion above"
        )]
        let run = Run { start: start as u16, count: count as u16 };
        run
    }

    /// Whether exactly these slots were taken together.
    #[inline]
    fn is_run(&self, start: usize, count: usize) -> bool {
        let (word, bit) = (start / 64, start % 64);
        if bit + count >= 64 || word >= WORDS {
            return self.is_long_run(start, count);
        }
        // As `is_long_run`, in one word.
        let (used, starts) = (self.used[word], self.starts[word]);
        let (run, next) = (((1 << count) - 1) << bit, 1 << (bit + count));
        used & run == run && starts & run == 1 << bit && (used & next == 0 || starts & next != 0)
    }

    fn is_long_run(&self, start: usize, count: usize) -> bool {
        let end = start + count;
        count > 0
            && end <= self.total()
            && bits::get(&self.starts, start)
            && bits::all(&self.used, start, count)
            && !bits::any(&self.starts, start + 1, count - 1)
            && (end == self.total() || !bits::get(&self.used, end) || bits::get(&self.starts, end))
    }

    /// Frees slots `start..end` as the fewest aligned blocks.
    fn free_range(&mut self, mut start: usize, end: usize) {
        while start < end {
            let order = start.trailing_zeros().min((end - start).ilog2()) as usize;
            self.merge_block(order, start >> order);
            start += 1 << order;
        }
    }

    /// Frees a block, joined with its buddy for as long as that one is free; the whole has a buddy that never is.
    fn merge_block(&mut self, mut order: usize, mut index: usize) {
        while self.is_free(order, index ^ 1) {
            self.drop_block(order, index ^ 1);
            (order, index) = (order + 1, index / 2);
        }
        self.put_block(order, index);
    }

    /// Takes the first block of the smallest order that is large enough; the upper halves go back.
    fn take_block(&mut self, order: usize) -> Option<usize> {
        let fitting = self.ready.checked_shr(u32::try_from(order).ok()?)?;
        if fitting == 0 {
            return None;
        }
        let from = order + fitting.trailing_zeros() as usize;
        let mut index = self.first_free(from);
        self.drop_block(from, index);
        for half in (order..from).rev() {
            index *= 2;
            self.put_block(half, index + 1);
        }
        Some(index)
    }

    fn first_free(&self, order: usize) -> usize {
        let [low, high] = self.summary[order];
        let word =
            if low != 0 { low.trailing_zeros() } else { 64 + high.trailing_zeros() } as usize;
        word * 64 + self.free[LEVELS[order] + word].trailing_zeros() as usize
    }

    fn is_free(&self, order: usize, index: usize) -> bool {
        bits::get(&self.free[LEVELS[order]..LEVELS[order + 1]], index)
    }

    fn put_block(&mut self, order: usize, index: usize) {
        let word = index / 64;
        self.free[LEVELS[order] + word] |= 1 << (index % 64);
        self.summary[order][word / 64] |= 1 << (word % 64);
        self.ready |= 1 << order;
    }

    fn drop_block(&mut self, order: usize, index: usize) {
        let word = index / 64;
        let bits = &mut self.free[LEVELS[order] + word];
        *bits &= !(1 << (index % 64));
        if *bits == 0 {
            let summary = &mut self.summary[order];
            summary[word / 64] &= !(1 << (word % 64));
            if *summary == [0; 2] {
                self.ready &= !(1 << order);
            }
        }
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;

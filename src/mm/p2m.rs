//! The P2M: for each frame of the guest's own numbering, the machine frame behind it.
//!
//! The builder leaves the list in the guest's memory; the guest keeps it true. Xen's own table goes the
//! other way (M2P) and is the check: an address goes to a device, and a frame counts as ours, only if both agree,
//! because the M2P also holds what *other* domains wrote for frames of theirs.

use crate::{
    addr::{Mfn, Pfn, to_usize},
    report::spans::Spans,
    xen::hypercall::MemoryCalls,
};
use core::sync::atomic::{AtomicU64, Ordering};

/// `INVALID_P2M_ENTRY`: no machine frame behind this PFN; as little as any other number beyond the last frame.
const INVALID: u64 = u64::MAX;

/// A run of PFNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PfnRange {
    /// The first.
    pub start: Pfn,
    /// How many.
    pub count: u64,
}

impl PfnRange {
    /// None.
    pub const EMPTY: Self = Self { start: Pfn(0), count: 0 };

    /// The PFNs from `start` up to, not including, `end`.
    pub const fn between(start: Pfn, end: Pfn) -> Self {
        Self { start, count: end.0.saturating_sub(start.0) }
    }

    /// The PFN after the last.
    pub const fn end(&self) -> Pfn {
        Pfn(self.start.0.saturating_add(self.count))
    }

    /// Each PFN in turn.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Pfn> + DoubleEndedIterator + Clone + use<> {
        let start = self.start.0;
        (0..to_usize(self.count)).map(move |i| Pfn(start + i as u64))
    }
}

/// The list itself. Entries are atomic because look-ups take no lock; one CPU writes.
#[derive(Clone, Copy, Debug)]
pub struct P2m<'m> {
    entries: &'m [AtomicU64],
}

impl<'m> P2m<'m> {
    /// The list `entries`, indexed by PFN.
    pub const fn new(entries: &'m [AtomicU64]) -> Self {
        Self { entries }
    }

    /// Number of PFNs.
    pub const fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The machine frame behind `pfn`.
    pub fn get(&self, pfn: Pfn) -> Option<Mfn> {
        let entry = self.entries.get(to_usize(pfn.0))?.load(Ordering::Relaxed);
        Mfn::checked(entry)
    }

    /// The names of `run` that have a frame, with their frames.
    pub fn frames(&self, run: PfnRange) -> impl Iterator<Item = (Pfn, Mfn)> + use<'m> {
        let end = run.end().0.min(self.len());
        let entries = &self.entries[to_usize(run.start.0.min(end))..to_usize(end)];
        (run.start.0..).zip(entries).filter_map(|(pfn, entry)| {
            Some((Pfn(pfn), Mfn::checked(entry.load(Ordering::Relaxed))?))
        })
    }

    /// Where all frames are.
    pub fn spans<const N: usize>(&self) -> Spans<N> {
        let mut spans = Spans::default();
        let mut run: Option<(Mfn, u64)> = None;
        for (_, mfn) in self.frames(PfnRange::between(Pfn(0), Pfn(self.len()))) {
            run = match run {
                Some((first, count)) if mfn.0.checked_sub(first.0) == Some(count) => {
                    Some((first, count + 1))
                }
                ended => {
                    ended.into_iter().for_each(|(first, count)| spans.add(first.addr().0, count));
                    Some((mfn, 1))
                }
            };
        }
        run.into_iter().for_each(|(first, count)| spans.add(first.addr().0, count));
        spans
    }

    /// The same entries in a longer list, which has no frames behind the names after them.
    ///
    /// `entries` starts with the same memory as the list so far, or with a copy.
    pub fn lengthened(self, entries: &'m [AtomicU64]) -> Self {
        entries[self.entries.len()..]
            .iter()
            .for_each(|entry| entry.store(INVALID, Ordering::Relaxed));
        Self { entries }
    }

    /// Gives the frames of `run` the names from `to` on, and takes their old ones away.
    pub(super) fn rename(&self, run: PfnRange, to: Pfn) {
        let new = self.slice(PfnRange { start: to, count: run.count });
        for (old, new) in self.slice(run).iter().zip(new) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
            old.store(INVALID, Ordering::Relaxed);
        }
    }

    /// Records that `mfn` is behind `pfn` now. Out of range is a bug of the caller.
    pub(super) fn set(&self, pfn: Pfn, mfn: Mfn) {
        self.slice(PfnRange { start: pfn, count: 1 })[0].store(mfn.0, Ordering::Relaxed);
    }

    /// Records that no frame is behind `pfn`.
    pub(super) fn clear(&self, pfn: Pfn) {
        self.slice(PfnRange { start: pfn, count: 1 })[0].store(INVALID, Ordering::Relaxed);
    }

    /// The entries of a run, as the list of machine frames that Xen takes.
    pub(super) fn slice(&self, run: PfnRange) -> &'m [AtomicU64] {
        &self.entries[to_usize(run.start.0)..to_usize(run.end().0)]
    }

    /// The PFN of a machine frame, if the frame really is ours: M2P and P2M must agree.
    pub fn pfn_of(&self, mfn: Mfn, xen: &dyn MemoryCalls) -> Option<Pfn> {
        let pfn = xen.m2p(mfn)?;
        (self.get(pfn) == Some(mfn)).then_some(pfn)
    }

    /// The first name of `run` of whose frame the M2P says something else, with both entries. A name without a
    /// frame is nothing to disagree about.
    pub fn first_disagreement(
        &self,
        run: PfnRange,
        xen: &dyn MemoryCalls,
    ) -> Option<(Pfn, Mfn, Option<Pfn>)> {
        let mut frames = self.frames(run).map(|(pfn, mfn)| (pfn, mfn, xen.m2p(mfn)));
        frames.find(|&(pfn, _, back)| back != Some(pfn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_SIZE;
    use alloc::vec::Vec;

    #[test]
    fn frames_that_follow_each_other_are_one_span_and_others_are_not() {
        let entries = [5, 6, 9, 7].map(AtomicU64::new);
        let spans = P2m::new(&entries).spans::<8>();
        let page = |at: u64| at / PAGE_SIZE as u64;
        let found = spans.all().iter().map(|span| (page(span.first), page(span.last), span.pages));
        assert_eq!(found.collect::<Vec<_>>(), [(5, 7, 3), (9, 9, 1)]);
    }
}

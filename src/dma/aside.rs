//! Runs of slots given back and put aside as they are, for the next requests of the same lengths.

use super::{run::Run, want::Want};
use core::mem;

/// Classes by the remainder of the length, so that short runs have their own.
const CLASSES: usize = 16;
/// Runs in each class.
const EACH: usize = 4;

/// A few runs of each length class.
#[derive(Debug)]
pub(super) struct Aside {
    classes: [[Run; EACH]; CLASSES],
}

impl Aside {
    /// No runs; all zero.
    pub(super) const NONE: Self =
        Self { classes: [const { [const { Run::NONE }; EACH] }; CLASSES] };

    /// Takes out a run that does.
    #[inline]
    pub(super) fn take(&mut self, want: Want) -> Option<Run> {
        let class = &mut self.classes[want.count() % CLASSES];
        let does = |run: &&mut Run| run.count() == want.count() && want.admits(run.start());
        let run = class.iter_mut().find(does)?;
        Some(mem::replace(run, Run::NONE))
    }

    /// Whether a run of that length class and start is here.
    #[inline]
    pub(super) fn holds(&self, run: &Run) -> bool {
        let class = &self.classes[run.count() % CLASSES];
        class.iter().any(|aside| aside.start() == run.start() && !aside.is_empty())
    }

    /// Puts a run here; returns the one that has to leave for it.
    #[inline]
    pub(super) fn put(&mut self, run: Run) -> Option<Run> {
        let class = &mut self.classes[run.count() % CLASSES];
        let place = class.iter().position(Run::is_empty).unwrap_or(run.start() % EACH);
        let older = mem::replace(&mut class[place], run);
        (!older.is_empty()).then_some(older)
    }

    /// All runs, which leave.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Run> + use<> {
        let classes = mem::replace(self, Self::NONE).classes;
        classes.into_iter().flatten().filter(|run| !run.is_empty())
    }

    /// Slots in all of them.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.classes.as_flattened().iter().map(Run::count).sum()
    }
}

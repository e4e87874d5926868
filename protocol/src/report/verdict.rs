//! Verdicts: the five words a run can end with, and the outcome of one check.
//!
//! | word         | meaning                                              | whose move is it            |
//! |--------------|------------------------------------------------------|-----------------------------|
//! | SUCCESS      | everything that could run did, and held              | nobody's                    |
//! | SKIP         | nothing could run; the reason says what lacked       | the one who wrote the config|
//! | INCONCLUSIVE | the other end of the network did not do its part     | the network's owner         |
//! | FAILURE      | the machine did something wrong                      | the machine's owner         |
//! | ERROR        | the guest or its configuration is wrong              | ours, or the config's owner |
//!
//! INCONCLUSIVE is TTCN-3's word for it: neither a pass nor a fault of what is under test.
//!
//! The host adds CRASH and TIMEOUT: a guest can't report those about itself.

use alloc::{
    borrow::Cow,
    boxed::Box,
    string::{String, ToString},
};
use core::{
    fmt,
    ops::{Deref, DerefMut},
    str::FromStr,
};

/// How a check, a suite or a run ended. Ordered by severity: `max` keeps the worst.
///
/// ERROR is the worst: where the guest itself is wrong, a FAILURE it reports can't be trusted either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// What ran, held.
    Success,
    /// Nothing ran, for a stated reason.
    Skip,
    /// The network, or its other end, left open whether the machine is right.
    Inconclusive,
    /// The machine is wrong.
    Failure,
    /// The guest or its configuration is wrong.
    Error,
}

impl Verdict {
    /// All of them, mildest first.
    pub const ALL: [Self; 5] =
        [Self::Success, Self::Skip, Self::Inconclusive, Self::Failure, Self::Error];

    /// The more severe of two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }

    /// The word on the console.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Skip => "SKIP",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Failure => "FAILURE",
            Self::Error => "ERROR",
        }
    }

    /// Whether KTAP calls it `ok`: a SKIP is, by KTAP's own rule.
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Success | Self::Skip)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that is none of the five verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a verdict: expected SUCCESS, SKIP, INCONCLUSIVE, FAILURE or ERROR")]
pub struct UnknownVerdict;

impl FromStr for Verdict {
    type Err = UnknownVerdict;

    fn from_str(word: &str) -> Result<Self, UnknownVerdict> {
        Self::ALL.into_iter().find(|v| v.word() == word).ok_or(UnknownVerdict)
    }
}

/// Why a check did not pass. On the heap, as every function of the guest may return one, and few do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Box<Told>);

/// What a [`Reason`] tells: what a script matches on, what was measured, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Stable, kebab-case, listed in docs/suites.md: scripts match on it.
    pub code: &'static str,
    /// The measured value, with what was expected of it.
    pub detail: String,
    /// The option or setting to change, or where to look; empty if there is none.
    pub remedy: Cow<'static, str>,
}

impl Reason {
    /// A reason without a remedy.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self::told(code, detail.into(), "")
    }

    fn told(code: &'static str, detail: String, remedy: &'static str) -> Self {
        Self(Box::new(Told { code, detail, remedy: remedy.into() }))
    }

    /// The same reason, with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy = remedy.into();
        self
    }
}

impl Deref for Reason {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

impl DerefMut for Reason {
    fn deref_mut(&mut self) -> &mut Told {
        &mut self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => f.write_str(self.code),
            detail => write!(f, "{}: {detail}", self.code),
        }
    }
}

/// An error that a report can carry: its text has the value.
pub trait Coded: fmt::Display {
    /// Its stable name.
    fn code(&self) -> &'static str;

    /// What to do about it; empty if there is nothing.
    fn remedy(&self) -> &'static str;
}

/// Makes an error [`Coded`] by its own functions of the same names.
#[macro_export]
macro_rules! coded {
    ($error:ty) => {
        impl $crate::report::Coded for $error {
            fn code(&self) -> &'static str {
                self.code()
            }

            fn remedy(&self) -> &'static str {
                self.remedy()
            }
        }
    };
}

impl<E: Coded> From<E> for Reason {
    fn from(error: E) -> Self {
        of_error(&error)
    }
}

/// Not for each error's type anew.
fn of_error(error: &dyn Coded) -> Reason {
    Reason::told(error.code(), error.to_string(), error.remedy())
}

/// An error is the machine's doing unless whoever met it knows better.
impl<E: Coded> From<E> for Outcome {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It held. The note carries what was measured; empty if there is nothing to say.
    Pass {
        /// What was measured.
        note: String,
    },
    /// It could not run here.
    Skip(Reason),
    /// The network, or its other end, left it open.
    Inconclusive(Reason),
    /// The machine is wrong.
    Failure(Reason),
    /// The guest or its configuration is wrong.
    Error(Reason),
}

impl Outcome {
    /// A pass with a note.
    pub fn pass(note: impl Into<String>) -> Self {
        Self::Pass { note: note.into() }
    }

    /// Why it did not hold; the note as it is if it did.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Pass { note } => Reason::new("", note.clone()),
            Self::Skip(reason)
            | Self::Inconclusive(reason)
            | Self::Failure(reason)
            | Self::Error(reason) => reason.clone(),
        }
    }

    /// The same reason as a SKIP: for what depends on something that is reported already.
    #[must_use]
    pub fn as_skip(&self) -> Self {
        Self::Skip(self.reason())
    }

    /// The verdict this outcome counts as.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Pass { .. } => Verdict::Success,
            Self::Skip(_) => Verdict::Skip,
            Self::Inconclusive(_) => Verdict::Inconclusive,
            Self::Failure(_) => Verdict::Failure,
            Self::Error(_) => Verdict::Error,
        }
    }
}

/// Verdicts added up: the rule by which checks make a suite and suites make a run.
///
/// One INCONCLUSIVE, FAILURE or ERROR is enough to spoil the whole, and the worst wins. SKIP does not spoil it: a guest without COM
/// ports still proved what it proved. Only where nothing passed at all is the whole a SKIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that held.
    pub passed: usize,
    /// Checks that could not run.
    pub skipped: usize,
    /// Checks that the network left open.
    pub inconclusive: usize,
    /// Checks that found the machine wrong.
    pub failed: usize,
    /// Checks that found the guest or its configuration wrong.
    pub errors: usize,
}

impl Tally {
    /// Counts one more.
    pub const fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Success => &mut self.passed,
            Verdict::Skip => &mut self.skipped,
            Verdict::Inconclusive => &mut self.inconclusive,
            Verdict::Failure => &mut self.failed,
            Verdict::Error => &mut self.errors,
        };
        *count += 1;
    }

    /// How many were counted.
    pub const fn total(&self) -> usize {
        self.passed + self.skipped + self.inconclusive + self.failed + self.errors
    }

    /// The verdict of the whole. An empty tally is a SKIP: nothing ran.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self { errors: 1.., .. } => Verdict::Error,
            Self { failed: 1.., .. } => Verdict::Failure,
            Self { inconclusive: 1.., .. } => Verdict::Inconclusive,
            Self { passed: 1.., .. } => Verdict::Success,
            _ => Verdict::Skip,
        }
    }
}

impl FromIterator<Verdict> for Tally {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Self {
        let mut tally = Self::default();
        verdicts.into_iter().for_each(|verdict| tally.add(verdict));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_wins() {
        assert_eq!(Verdict::Success.worst(Verdict::Skip), Verdict::Skip);
        assert_eq!(Verdict::Error.worst(Verdict::Failure), Verdict::Error);
    }

    #[test]
    fn words_round_trip() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.to_string().parse(), Ok(verdict));
        }
        assert_eq!("success".parse::<Verdict>(), Err(UnknownVerdict));
    }

    #[test]
    fn a_skip_does_not_spoil_a_pass() {
        let tally: Tally = [Verdict::Success, Verdict::Skip].into_iter().collect();
        assert_eq!((tally.verdict(), tally.total()), (Verdict::Success, 2));
    }

    #[test]
    fn nothing_that_passed_is_a_skip() {
        assert_eq!(Tally::default().verdict(), Verdict::Skip);
        assert_eq!(Tally::from_iter([Verdict::Skip]).verdict(), Verdict::Skip);
    }

    #[test]
    fn the_worst_spoils_everything() {
        for worst in 2..Verdict::ALL.len() {
            let upto = &Verdict::ALL[..=worst];
            let tally: Tally = upto.iter().copied().collect();
            assert_eq!(tally.verdict(), Verdict::ALL[worst]);
            assert_eq!(tally.total(), upto.len());
        }
    }

    #[test]
    fn what_the_network_leaves_open_is_no_pass_and_no_fault() {
        let outcome = Outcome::Inconclusive(Reason::new("ping-lost", "7 of 10"));
        assert_eq!(outcome.verdict(), Verdict::Inconclusive);
        assert_eq!(outcome.reason().code, "ping-lost");
        assert!(!Verdict::Inconclusive.is_ok());
        let tally = Tally::from_iter([Verdict::Success, Verdict::Inconclusive]);
        assert_eq!((tally.verdict(), tally.inconclusive), (Verdict::Inconclusive, 1));
    }

    #[test]
    fn reason_shows_code_then_value() {
        assert_eq!(Reason::new("no-ports", "").to_string(), "no-ports");
        assert_eq!(Reason::new("no-ports", "0 of 8").to_string(), "no-ports: 0 of 8");
    }
}

//! What can be wrong with a report: found line by line while it is read, and over the whole of it at its end.
//!
//! The reader believes nothing that the [`Writer`](super::Writer) would not have written. What a console adds of its own
//! is passed over as long as it does not look like a line of the report; a line that does, and has no place where it
//! stands, is a defect. So are totals and ranges that contradict each other.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

/// One thing that is wrong with a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// What it is.
    pub flaw: Flaw,
    /// The console's line, counted from 1; 0 for what no single line shows.
    pub line: usize,
    /// That line, or what lacks.
    pub text: String,
}

impl Defect {
    pub(super) fn of_all(flaw: Flaw, text: &str) -> Self {
        Self { flaw, line: 0, text: text.to_owned() }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.text, self.flaw),
            line => write!(f, "line {line}, `{}`: {}", self.text, self.flaw),
        }
    }
}

/// The ways in which a report can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Flaw {
    /// A line of the report whose rest can't be read.
    #[error("can't be read")]
    Unreadable,
    /// A line of the report where none of its kind can stand.
    #[error("has no place there")]
    OutOfPlace,
    /// Something that is said once was said twice.
    #[error("was said before")]
    Twice,
    /// A number that is not one more than the last.
    #[error("is not the next number")]
    WrongNumber,
    /// A report within or after another.
    #[error("starts a second report")]
    SecondReport,
    /// Anything of the report after its result.
    #[error("comes after the result")]
    AfterTheEnd,
    /// A panic and a result exclude each other.
    #[error("a panic and a result in one report")]
    PanicAndResult,
    /// `ok` with a word that is none, or the other way round.
    #[error("its verdict contradicts its `ok`")]
    NotItsWord,
    /// What is not ok has its reason on the line before, too, and nothing else has; what passed needs no remedy.
    #[error("its reason or remedy is not the one before it")]
    NotItsReason,
    /// A suite's or the run's verdict is not what its parts add up to.
    #[error("contradicts what it is made of")]
    Contradiction,
    /// Something without which a report proves nothing.
    #[error("is missing")]
    Missing,
    /// More or less than announced.
    #[error("is not as many as announced")]
    NotAsPlanned,
    /// A range beyond the device's reach.
    #[error("lies beyond the device's mask")]
    BeyondMask,
    /// Two ranges that share bytes.
    #[error("overlaps another range")]
    Overlap,
    /// More bytes than can be.
    #[error("is more than there is")]
    TooMuch,
}

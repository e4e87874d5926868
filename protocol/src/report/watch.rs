//! What a report is made of while it is being written, for whoever shows it elsewhere than on the console.

use super::verdict::{Outcome, Reason, Verdict};

/// A step of a report.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A suite with this many checks begins.
    Suite {
        /// Its title.
        name: &'a str,
        /// How many checks it has.
        checks: usize,
    },
    /// A check of the suite that runs has ended.
    Check {
        /// Its name.
        name: &'a str,
        /// How.
        outcome: &'a Outcome,
    },
    /// The suite has ended.
    Ended {
        /// How.
        verdict: Verdict,
        /// Why it could not run or showed nothing, if that is so.
        why: Option<&'a Reason>,
    },
    /// The run has ended; the last line is about to be written.
    Over {
        /// How.
        verdict: Verdict,
        /// Why a run of which all held is a SKIP, if it is one.
        why: Option<&'a Reason>,
    },
}

/// Whoever is told: a plain function, as there is one screen.
pub type Watch = fn(&Event<'_>);

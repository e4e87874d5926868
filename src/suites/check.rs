//! What the suites are written in: a check's outcome, and what a suite can't do without.

use super::suite;
use crate::{
    guest::Guest,
    report::{Outcome, Reason},
};
use alloc::string::String;

pub(super) use super::suite::{Finding, all_hold, attends, proof};

/// A suite of this guest.
pub(super) type Suite = suite::Suite<Guest>;

/// Nothing is missing: for suites that run everywhere.
pub(super) const fn nothing(_: &Guest) -> Option<Reason> {
    None
}

/// Why the device can't be used, if it can't.
pub(super) fn driven(guest: &Guest) -> Option<Reason> {
    match guest.device() {
        Ok(device) => device.running.as_ref().err().map(Outcome::reason),
        Err(outcome) => Some(outcome.reason()),
    }
}

/// The machine is wrong.
pub(super) fn failure(code: &'static str, detail: impl Into<String>) -> Outcome {
    Outcome::Failure(Reason::new(code, detail))
}

/// The check can't run here.
pub(super) fn skip(code: &'static str, detail: impl Into<String>) -> Outcome {
    Outcome::Skip(Reason::new(code, detail))
}

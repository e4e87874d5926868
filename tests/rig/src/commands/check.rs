//! `check`: what can be said about the source without running it.

use std::process::ExitCode;

use crate::checks::{self, Tally};
use crate::error::Result;
use crate::judge::Verdict;

pub(super) fn run() -> Result<ExitCode> {
    close(&checks::all()?)
}

/// Prints the closing line, and turns it into an exit code.
pub(super) fn close(tally: &Tally) -> Result<ExitCode> {
    println!("{tally}");
    let verdict = if tally.failed == 0 { Verdict::Success } else { Verdict::Failure };
    Ok(ExitCode::from(verdict.exit_code()))
}

//! The rig: builds the machine the guest runs on, runs it, and judges what it says.
//!
//! ```text
//! cli -> commands ─┬─ artifacts   Xen, dom0, QEMU out of the distribution's packages, cached
//!                  ├─ guest       the image: built, stripped, symbols kept
//!                  ├─ bundle      the archive for a real Xen host
//!                  ├─ stick       the boot stick; picture: what is on the screen
//!                  ├─ boot        one boot of a machine (machine, dom0, console), with those jobs of the queue in it that come to it
//!                  ├─ judge       verdict on each job, from the guest's report and QEMU's own trace (evidence)
//!                  ├─ checks      what `check` and `test` do without a machine
//!                  ├─ readers     what others' programs make of a run
//!                  └─ report      records.jsonl as the run goes; of it table, result.json, junit.xml, report.html
//! ```
//!
//! It runs in the repository's top folder, where `run.sh` starts it.

mod artifacts;
mod boot;
mod bundle;
mod checks;
mod child;
mod cli;
#[cfg(test)]
mod cli_tests;
mod commands;
mod console;
mod dice;
mod dom0;
mod error;
mod evidence;
mod guest;
mod heeded;
mod interrupt;
mod job;
mod judge;
mod machine;
mod mirror;
mod peers;
mod picture;
mod progress;
mod queue;
mod readers;
mod report;
mod stick;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::error::Error;
use crate::judge::Verdict;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let read = heeded::check(&matches).and_then(|()| Cli::from_arg_matches(&matches));
    let cli = read.unwrap_or_else(|error| error.exit());
    match interrupt::listen().and_then(|()| commands::run(&cli)) {
        Ok(code) => code,
        // The terminal's Ctrl-C also reaches the programs that the rig waits for; how they then fail is not the news.
        Err(error) => explain(&interrupt::check().err().unwrap_or(error)),
    }
}

fn explain(error: &Error) -> ExitCode {
    match error {
        Error::Interrupted => {
            eprintln!("interrupted: nothing is left running, the cache is intact");
            ExitCode::from(130)
        }
        error => {
            eprintln!("error: {error}");
            if let Some(remedy) = error.remedy() {
                eprintln!("  remedy: {remedy}");
            }
            ExitCode::from(Verdict::Error.exit_code())
        }
    }
}

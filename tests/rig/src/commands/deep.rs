//! `test --deep`: what takes a nightly compiler or an hour. Miri on the host tests where memory is touched, libFuzzer for
//! a minute a target, and a sample of the mutants, on the host and as guests. Others' programs on the run: see `readers`.

use std::process::Command;

use super::fuzz::{self, Effort};
use super::mutants::{self, Choice};
use super::nightly::Nightly;
use crate::checks::Tally;
use crate::child;
use crate::cli::Options;
use crate::error::{Error, Result};
use crate::progress::Stage;

/// What each target gets.
const FUZZ: Effort = Effort::Seconds(60);
/// Mutants drawn, by where they run: seconds each, and one program for all of a place.
const SAMPLES: [(bool, usize); 2] = [(false, 20), (true, 10)];
/// What Miri is told: property tests read the clock and where they are, and what a device may still write to is kept
/// for ever on purpose, which is a leak to it. It takes a thousand times as long, so each property gets few cases; the
/// tests that say themselves how many ask for `cfg!(miri)`.
const MIRI: [(&str, &str); 3] = [
    ("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks"),
    ("PROPTEST_CASES", "2"),
    ("CARGO_TARGET_DIR", "target/miri"),
];
/// The library's modules that Miri looks at, as filters of its unit tests.
const MODULES: [&str; 6] = ["--lib", "--", "dma::", "mm::", "xen::", "pci::"];
/// The tests through the public API that it looks at; `hole` and `memory` take it hours, and touch no page.
const SUITES: [&str; 3] = ["xenstore", "pcifront", "dma"];
/// Modules of theirs in which each test waits through time-outs, step by step.
const TIMEOUTS: [&str; 5] = ["--", "--skip", "backend::", "--skip", "faults::"];

/// What it leaves out is counted as skipped, with the reason.
pub(super) fn run(options: &Options) -> Result<Tally> {
    let mut tally = Tally::default();
    match Nightly::find()? {
        Some(nightly) => {
            miri(&nightly, &mut tally)?;
            tally.one("fuzz", fuzz::holds(FUZZ)?);
        }
        None => {
            skip(&mut tally, 2, "Miri and fuzz: no nightly compiler; `./run.sh fuzz` installs it");
        }
    }
    for (nested, count) in SAMPLES {
        let choice = Choice { files: Vec::new(), nested, sample: Some(count), seed: 1 };
        let name = if nested { "mutants as guests" } else { "mutants on the host" };
        tally.one(name, mutants::survivors(options, &choice)?.is_empty());
    }
    Ok(tally)
}

fn skip(tally: &mut Tally, checks: usize, why: &str) {
    tally.skipped += checks;
    Stage::start("deep", why).done(format!("skipped: {why}"));
}

fn miri(nightly: &Nightly, tally: &mut Tally) -> Result {
    if !nightly.has("miri") {
        skip(tally, 1, "Miri: add it with rustup component add miri rust-src");
        return Ok(());
    }
    let suites = SUITES.iter().flat_map(|suite| ["--test", suite]).chain(TIMEOUTS);
    let suites = suites.collect::<Vec<_>>();
    for (name, words) in [("Miri, library", &MODULES[..]), ("Miri, tests", &suites[..])] {
        let stage = Stage::start("deep", name);
        let mut command: Command = nightly.command("cargo");
        command.args(["miri", "test", "--quiet", "--locked", "-p", "pvbounce"]).args(words);
        command.envs(MIRI);
        let held = match child::output(&mut command) {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                stage.done(format!("{name}: FAILED\n{error}"));
                false
            }
            Ok(_) => {
                stage.done(name);
                true
            }
        };
        tally.one(name, held);
    }
    Ok(())
}

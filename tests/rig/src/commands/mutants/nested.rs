//! One image with all mutants in it, and a domain for each: a mutant whose run is as good as the source's, and says the
//! same, survived.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::notes::{self, Steady};
use super::switched::{Edit, Source};
use super::{Fate, Mutant};
use crate::cli::Options;
use crate::commands::bench::Spread;
use crate::commands::{Bench, smoke};
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::job::Job;
use crate::judge::Verdict;
use crate::machine::Device;
use crate::peers::Peers;
use crate::report::JobRecord;

const BUILD: [&str; 7] = [
    "build",
    "--profile",
    "mutants-guest",
    "--bin=pvbounce",
    "--target",
    "x86_64-unknown-none",
    "--package=pvbounce",
];
const ROOTS: [&str; 1] = ["src/lib.rs"];
/// Where the guest reads its command line, and how it does with a mutant's number at its end.
const READS: Edit<'_> = (
    "src/start.rs",
    [
        "Options::parse(info.command_line())",
        "Options::parse(crate::mutant::choose(info.command_line()))",
    ],
);
/// As many share one boot: what they leave behind must not reach the next hundred, and QEMU's trace has to fit.
const BOOT: usize = 60;
/// How often the source itself runs in each boot, for what its reports have in common.
const SOURCES: usize = 3;
/// Above all numbers of mutants.
const NO_MUTANT: usize = 1_000_000;
const SOURCE: &str = "source-";
const MUTANT: &str = "mutant-";
/// A run takes some five seconds, on a busy machine thirty; one that takes twice that will not end.
const LIMIT: Duration = Duration::from_secs(60);

/// What became of each.
pub(super) fn run(options: &Options, mutants: &[Mutant]) -> Result<Vec<Fate>> {
    let source = Source { mutants, roots: &ROOTS, edits: &[READS], words: &BUILD };
    let switched = source.build()?;
    let image = Path::new(super::OUTPUT).join("guest.elf");
    let elf = switched.programs.into_iter().next_back();
    let elf = elf.ok_or_else(|| Error::unfit("cargo named no image", "check [[bin]]"))?;
    Guest { elf }.strip(&image)?;
    let mut fates = vec![Fate::NoProgram; mutants.len()];
    let numbers: Vec<usize> = switched.numbers.into_iter().collect();
    for numbers in numbers.chunks(BOOT) {
        for (number, fate) in boot(options, &image, numbers)? {
            if fate == Fate::Survived {
                eprintln!("survived: {}", mutants[number].name);
            }
            fates[number] = fate;
        }
    }
    Ok(fates)
}

fn fate(record: &JobRecord, steady: &Steady) -> Fate {
    match record.verdict {
        _ if record.is_as_expected() => match steady.differs(&notes::of(record)) {
            Some(_) => Fate::Told,
            None => Fate::Survived,
        },
        Verdict::Timeout => Fate::Endless,
        _ => Fate::Noticed,
    }
}

fn boot(options: &Options, image: &Path, numbers: &[usize]) -> Result<Vec<(usize, Fate)>> {
    let bench = Bench::prepare("mutants", options)?;
    let peers = Peers::start()?;
    let job = |name: String, words: &str| {
        let (_, device) = smoke::device(smoke::DEFAULT_NIC);
        let job = smoke::job(options, device.or(Some(Device::Nic)), &peers);
        let raw_words = format!("{} {words}", job.raw_words).trim().to_owned();
        Job { name, image: Some(image.to_owned()), raw_words, limit: LIMIT, ..job }
    };
    // The report has the command line in it, so the source gets numbers, too: of mutants that there are not.
    let numbered =
        |kind, number: usize| job(format!("{kind}{number}"), &format!("mutant={number}"));
    let sources = (NO_MUTANT..NO_MUTANT + SOURCES).map(|number| numbered(SOURCE, number));
    let mutants = numbers.iter().map(|number| numbered(MUTANT, *number));
    let jobs: Vec<Job> = sources.chain(mutants).collect();
    let records = bench.run(options, smoke::DEFAULT_NIC, &jobs, Spread::Many)?;
    let (sources, mutants): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record.name.starts_with(SOURCE));
    if let Some(bad) = sources.iter().find(|record| !record.is_as_expected()) {
        let what = format!("{}, which is the source, ended as {}", bad.name, bad.verdict.word());
        return Err(Error::unfit(
            what,
            "see the run's folder; mutants show nothing until it is cured",
        ));
    }
    let steady = Steady::of(&sources.into_iter().map(notes::of).collect::<Vec<_>>());
    let ended = mutants.into_iter().filter_map(|record| {
        let number = record.name.strip_prefix(MUTANT)?.parse().ok()?;
        Some((number, fate(record, &steady)))
    });
    let ended: Vec<(usize, Fate)> = ended.collect();
    let seen: BTreeSet<usize> = ended.iter().map(|(number, _)| *number).collect();
    match numbers.iter().find(|number| !seen.contains(number)) {
        Some(number) => Err(Error::unfit(
            format!("mutant {number} was not run"),
            "a mutant before it took the machine along; see the run's folder",
        )),
        None => Ok(ended),
    }
}

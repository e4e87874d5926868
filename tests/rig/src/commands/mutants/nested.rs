//! One image with all mutants in it, and a domain for each: a mutant whose run is as good as the source's, and says the
//! same, has survived that.
//!
//! What is wrong with a comparison is not seen while all is right. So a mutant of the suites that got so far has a domain more
//! for each fault on purpose that its suite has to see, and it survived if all of them are seen.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::notes::{self, Steady};
use super::switched::{Edit, Source};
use super::{Fate, Mutant};
use crate::cli::Options;
use crate::commands::bench::Spread;
use crate::commands::{Bench, smoke, test};
use crate::error::{Error, Result};
use crate::job::{Fault, Job};
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
/// As many domains share one run: what they leave behind must not reach the next hundred, and QEMU's trace has to fit.
const BOOT: usize = 60;
/// How often the source itself runs in each boot, for what its reports have in common.
const SOURCES: usize = 3;
/// Above all numbers of mutants.
const NO_MUTANT: usize = 1_000_000;
/// A run takes some five seconds, on a busy machine thirty; one that takes twice that will not end.
const LIMIT: Duration = Duration::from_secs(60);

/// Stands before the number at the end of a job's name.
const OF: &str = "-of-";

/// What serves several suites.
const SHARED: [&str; 4] = ["check", "runner", "suite", "faults"];

/// What became of each.
pub(super) fn run(options: &Options, mutants: &[Mutant]) -> Result<Vec<Fate>> {
    let source = Source { mutants, roots: &ROOTS, edits: &[READS], words: &BUILD };
    let switched = source.build()?;
    let elf = switched.programs.into_iter().next_back();
    let elf = elf.ok_or_else(|| Error::unfit("cargo named no image", "check [[bin]]"))?;
    let options = Options { guest: Some(elf), ..options.clone() };
    let mut fates = vec![Fate::NoProgram; mutants.len()];
    let numbers: Vec<usize> = switched.numbers.into_iter().collect();
    for numbers in numbers.chunks(BOOT) {
        for (number, fate) in all_right(&options, numbers)? {
            fates[number] = fate;
        }
    }
    let peers = Peers::start()?;
    let survived = numbers.into_iter().filter(|number| fates[*number] == Fate::Survived);
    let tries: Vec<Try> = survived
        .flat_map(|number| {
            let faults = test::with_faults(&peers).into_iter();
            let seen = faults.filter(|job| has_to_see(job, &mutants[number].file));
            seen.map(move |job| Try { number, job }).collect::<Vec<_>>()
        })
        .collect();
    for tries in tries.chunks(BOOT) {
        for (number, fate) in faulty(&options, tries)? {
            fates[number] = fate;
        }
    }
    Ok(fates)
}

/// A mutant and a job with a fault on purpose.
struct Try {
    number: usize,
    job: Job,
}

impl Try {
    /// The job as a domain of this mutant's.
    fn numbered(job: &Job, number: usize) -> Job {
        let raw_words = format!("{} mutant={number}", job.raw_words).trim().to_owned();
        Job {
            name: format!("{}{OF}{number}", job.name),
            raw_words,
            limit: job.limit.min(LIMIT),
            ..job.clone()
        }
    }
}

/// Whether the fault on purpose of this job is one that the suite of this file has to see. What several suites have in common
/// has to serve all of them.
fn has_to_see(job: &Job, file: &Path) -> bool {
    let Ok(file) = file.strip_prefix("src/suites") else { return false };
    let room = file.iter().next().unwrap_or_default().to_string_lossy();
    let room = match room.trim_end_matches(".rs") {
        "reach" | "transfer" | "walk" => "dma",
        "rung" => "irq",
        room => room,
    };
    let is_of = |fault: &&Fault| fault.0.split_once('.').is_some_and(|(suite, _)| suite == room);
    SHARED.contains(&room) || job.faults.iter().any(|fault| is_of(&fault))
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

/// A run of each of these mutants in which all is right.
fn all_right(options: &Options, numbers: &[usize]) -> Result<Vec<(usize, Fate)>> {
    let peers = Peers::start()?;
    let (_, device) = smoke::device(smoke::DEFAULT_NIC);
    let job = smoke::job(options, device.or(Some(Device::Nic)), &peers);
    // The report has the command line in it, so the source gets numbers, too: of mutants that there are not.
    let sources = NO_MUTANT..NO_MUTANT + SOURCES;
    let jobs: Vec<Job> =
        sources.chain(numbers.iter().copied()).map(|number| Try::numbered(&job, number)).collect();
    let records = ran(options, &jobs)?;
    let sources = records.iter().filter(|(number, _)| *number >= NO_MUTANT);
    let steady = Steady::of(&sources.map(|(_, record)| notes::of(record)).collect::<Vec<_>>());
    let mutants = records.iter().filter(|(number, _)| *number < NO_MUTANT);
    Ok(mutants.map(|(number, record)| (*number, fate(record, &steady))).collect())
}

/// What became of those that have to see faults on purpose, of which one that is overlooked is enough.
fn faulty(options: &Options, tries: &[Try]) -> Result<Vec<(usize, Fate)>> {
    let mut sources: Vec<Job> = Vec::new();
    for Try { job, .. } in tries {
        let source = Try::numbered(job, NO_MUTANT);
        if !sources.iter().any(|known| known.name == source.name) {
            sources.push(source);
        }
    }
    let mutants = tries.iter().map(|Try { number, job }| Try::numbered(job, *number));
    let records = ran(options, &sources.into_iter().chain(mutants).collect::<Vec<_>>())?;
    let mutants = records.into_iter().filter(|(number, _)| *number < NO_MUTANT);
    let overlooked = mutants.filter(|(_, record)| !record.is_as_expected());
    Ok(overlooked.map(|(number, _)| (number, Fate::Noticed)).collect())
}

/// The records of jobs that are numbered, with their numbers; of the source's each has to be as expected.
fn ran(options: &Options, jobs: &[Job]) -> Result<Vec<(usize, JobRecord)>> {
    let bench = Bench::prepare("mutants", options)?;
    let records = bench.run(options, smoke::DEFAULT_NIC, jobs, Spread::Many)?;
    let number = |name: &str| name.rsplit_once(OF).and_then(|(_, number)| number.parse().ok());
    let records = records.into_iter();
    let records: Vec<(usize, JobRecord)> =
        records.filter_map(|record| Some((number(&record.name)?, record))).collect();
    let sources = records.iter().filter(|(number, _)| *number >= NO_MUTANT);
    if let Some((_, bad)) = sources.into_iter().find(|(_, record)| !record.is_as_expected()) {
        let what = format!("{}, which is the source, ended as {}", bad.name, bad.verdict.word());
        return Err(Error::unfit(
            what,
            "see the run's folder; mutants show nothing until it is cured",
        ));
    }
    let seen: BTreeSet<&str> = records.iter().map(|(_, record)| record.name.as_str()).collect();
    match jobs.iter().find(|job| !seen.contains(job.name.as_str())) {
        Some(job) => Err(Error::unfit(
            format!("{} was not run", job.name),
            "a mutant before it took the machine along; see the run's folder",
        )),
        None => Ok(records),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_of_a_suite_has_the_faults_that_the_suite_has_to_see() {
        const LEAK: &[Fault] = &[("close.nothing_is_kept", "leak")];
        let leak = Job::new("selftest-leak", "no-device.cfg", None).expect(Verdict::Failure, LEAK);
        for (file, seen) in [
            ("src/suites/close.rs", true),
            ("src/suites/runner.rs", true),
            ("src/suites/memory/map.rs", false),
            ("src/suites/transfer.rs", false),
            ("src/start.rs", false),
        ] {
            assert_eq!(has_to_see(&leak, Path::new(file)), seen, "{file}");
        }
        let every = test::with_faults(&Peers::start().unwrap());
        for room in ["irq", "transfer", "close", "memory/frames", "swiotlb/mapping"] {
            let file = format!("src/suites/{room}.rs");
            assert!(every.iter().any(|job| has_to_see(job, Path::new(&file))), "{file}");
        }
    }

    #[test]
    fn a_domain_is_told_its_mutant_last() {
        let job = Job::new("selftest-leak", "no-device.cfg", None).word("selftest=leak");
        let job = Try::numbered(&Job { raw_words: "net".into(), ..job }, 17);
        assert_eq!(
            (job.name.as_str(), job.raw_words.as_str()),
            ("selftest-leak-of-17", "net mutant=17")
        );
    }
}

//! One image with all mutants in it, and a domain for each: a mutant whose run is as good as the source's, and says the
//! same, has survived that.
//!
//! What is wrong with a comparison is not seen while all is right, and what only another device, option or home needs is not
//! seen with the usual ones. So what got so far goes through the jobs of `test` that run the mutant's suite, one after the
//! other, until one does not end as it has to; and at last it is dom0. It survived if all of that ends as it has to.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::notes::{self, Steady};
use super::switched::{Edit, Source};
use super::{Fate, Mutant};
use crate::cli::Options;
use crate::commands::at_once::{self, Task};
use crate::commands::home::{self, Home};
use crate::commands::workbench::Spread;
use crate::commands::{Bench, smoke, test};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::judge::Verdict;
use crate::machine::{Card, Device};
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

/// The suite that follows whatever was asked for.
const CLOSE: &str = "close";
/// Stands before the number at the end of a job's name.
const OF: &str = "-of-";

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
    let left = |fates: &[Fate]| -> Vec<usize> {
        numbers.iter().copied().filter(|number| fates[*number] == Fate::Survived).collect()
    };
    for job in test::of_one_guest(&peers) {
        let mut tries = left(&fates);
        tries.retain(|number| runs_the_suite_of(&job, &mutants[*number].file));
        for tries in tries.chunks(BOOT) {
            for number in noticed(&options, &job, tries)? {
                fates[number] = Fate::Noticed;
            }
        }
    }
    for number in noticed_by_dom0(&options, &left(&fates))? {
        fates[number] = Fate::Noticed;
    }
    Ok(fates)
}

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

/// Whether a job runs the suite whose file this is. What several suites have in common, and what is no suite, runs in all.
fn runs_the_suite_of(job: &Job, file: &Path) -> bool {
    let Ok(file) = file.strip_prefix("src/suites") else { return true };
    let room = file.iter().next().unwrap_or_default().to_string_lossy();
    let room = room.trim_end_matches(".rs");
    let mut asked = job.words.iter().filter_map(|word| word.strip_prefix("suite="));
    let is_suite = protocol::options::SUITES.contains(&room);
    asked
        .next()
        .is_none_or(|list| !is_suite || room == CLOSE || list.split(',').any(|name| name == room))
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
        sources.chain(numbers.iter().copied()).map(|number| numbered(&job, number)).collect();
    let records = ran(options, &jobs)?;
    let sources = records.iter().filter(|(number, _)| *number >= NO_MUTANT);
    let steady = Steady::of(&sources.map(|(_, record)| notes::of(record)).collect::<Vec<_>>());
    let mutants = records.iter().filter(|(number, _)| *number < NO_MUTANT);
    Ok(mutants.map(|(number, record)| (*number, fate(record, &steady))).collect())
}

/// Those with which this job does not end as it has to, and does with the source.
fn noticed(options: &Options, job: &Job, numbers: &[usize]) -> Result<Vec<usize>> {
    let all = [NO_MUTANT].into_iter().chain(numbers.iter().copied());
    let jobs: Vec<Job> = all.map(|number| numbered(job, number)).collect();
    let bad = ran(options, &jobs)?.into_iter().filter(|(_, record)| !record.is_as_expected());
    Ok(bad.map(|(number, _)| number).collect())
}

/// The same for a board with no Linux on it.
fn noticed_by_dom0(options: &Options, numbers: &[usize]) -> Result<Vec<usize>> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let bench = Bench::prepare("mutants", options)?;
    let all = [NO_MUTANT].into_iter().chain(numbers.iter().copied());
    let boots = all.map(|number| -> Task<'_, (usize, JobRecord)> {
        let bench = &bench;
        Box::new(move || {
            let job = Job::new("dom0", "no-device.cfg", None).word(home::WORDS);
            let device = Card::find("e1000e").map_or(Device::Nic, Device::Card);
            let job = numbered(&home::with(job, device, Home::USUAL.iommu), number);
            let folder = bench.own_folder(&job.name)?;
            Ok((number, home::boot(bench, &job, Home::USUAL, folder)?))
        })
    });
    let records = at_once::run(bench.machines, boots.collect())?;
    source_holds(&records)?;
    let bad = records.into_iter().filter(|(_, record)| !record.is_as_expected());
    Ok(bad.map(|(number, _)| number).collect())
}

/// The records of jobs that are numbered, with their numbers; of the source's each has to be as expected.
fn ran(options: &Options, jobs: &[Job]) -> Result<Vec<(usize, JobRecord)>> {
    let bench = Bench::prepare("mutants", options)?;
    let records = bench.run(options, smoke::DEFAULT_NIC, jobs, Spread::Many)?;
    let number = |name: &str| name.rsplit_once(OF).and_then(|(_, number)| number.parse().ok());
    let records = records.into_iter();
    let records: Vec<(usize, JobRecord)> =
        records.filter_map(|record| Some((number(&record.name)?, record))).collect();
    source_holds(&records)?;
    let seen: BTreeSet<&str> = records.iter().map(|(_, record)| record.name.as_str()).collect();
    match jobs.iter().find(|job| !seen.contains(job.name.as_str())) {
        Some(job) => Err(Error::unfit(
            format!("{} was not run", job.name),
            "a mutant before it took the machine along; see the run's folder",
        )),
        None => Ok(records),
    }
}

/// Of the source each record has to be as expected.
fn source_holds(records: &[(usize, JobRecord)]) -> Result {
    let mut sources = records.iter().filter(|(number, _)| *number >= NO_MUTANT);
    match sources.find(|(_, record)| !record.is_as_expected()) {
        None => Ok(()),
        Some((_, bad)) => Err(Error::unfit(
            format!("{}, which is the source, ended as {}", bad.name, bad.verdict.word()),
            "see the run's folder; mutants show nothing until it is cured",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_of_a_suite_goes_through_the_jobs_that_run_it() {
        let leak = Job::new("selftest-leak", "no-device.cfg", None).word("suite=boot,dma");
        let all = Job::new("smoke", "smoke-late.cfg", None);
        for (file, runs) in [
            ("src/suites/dma.rs", true),
            ("src/suites/close.rs", true),
            ("src/suites/runner.rs", true),
            ("src/suites/transfer.rs", true),
            ("src/suites/memory/map.rs", false),
            ("src/start.rs", true),
        ] {
            assert_eq!(runs_the_suite_of(&leak, Path::new(file)), runs, "{file}");
            assert!(runs_the_suite_of(&all, Path::new(file)), "{file}");
        }
    }

    #[test]
    fn a_domain_is_told_its_mutant_last() {
        let job = Job::new("selftest-leak", "no-device.cfg", None).word("selftest=leak");
        let job = numbered(&Job { raw_words: "net".into(), ..job }, 17);
        assert_eq!(
            (job.name.as_str(), job.raw_words.as_str()),
            ("selftest-leak-of-17", "net mutant=17")
        );
    }
}

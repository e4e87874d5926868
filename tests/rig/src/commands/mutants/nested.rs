//! One image with all mutants in it, and a domain for each: a mutant whose run is as good as the source's survived.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::switched::{Edit, Source};
use super::{Fate, Mutant};
use crate::cli::Options;
use crate::commands::{Bench, smoke};
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::job::Job;
use crate::judge::Verdict;
use crate::machine::Device;
use crate::peers::Peers;

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
/// A run takes two seconds; one that takes more will not end.
const LIMIT: Duration = Duration::from_secs(25);

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

fn boot(options: &Options, image: &Path, numbers: &[usize]) -> Result<Vec<(usize, Fate)>> {
    let bench = Bench::prepare("mutants", options)?;
    let peers = Peers::start()?;
    let jobs: Vec<Job> = numbers
        .iter()
        .map(|number| {
            let (_, device) = smoke::device(smoke::DEFAULT_NIC);
            let job = smoke::job(options, device.or(Some(Device::Nic)), &peers);
            let name = format!("mutant-{number}");
            let raw_words = format!("{} mutant={number}", job.raw_words).trim().to_owned();
            Job { name, image: Some(image.to_owned()), raw_words, limit: LIMIT, ..job }
        })
        .collect();
    let records = bench.run(options, smoke::DEFAULT_NIC, &jobs)?;
    let fate = |verdict: Verdict, as_expected: bool| match verdict {
        _ if as_expected => Fate::Survived,
        Verdict::Timeout => Fate::Endless,
        _ => Fate::Noticed,
    };
    let ended = records.iter().filter_map(|record| {
        let number = record.name.strip_prefix("mutant-")?.parse().ok()?;
        Some((number, fate(record.verdict, record.is_as_expected())))
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

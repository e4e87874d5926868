//! `bundle`: packs what a real Xen host needs; and the jobs in which dom0 plays that host.

mod desk;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::smoke::DEFAULT_NIC;
use super::workbench::Spread;
use super::{Bench, conclude};
use crate::bundle;
use crate::cli::Options;
use crate::dice::{self, Dice};
use crate::error::{Context, Error, Result};
use crate::guest::Guest;
use crate::job::{Job, OF_NOBODY, Story};
use crate::judge::{Problem, Verdict};
use crate::machine::{Device, Model};
use crate::report::JobRecord;
use desk::Desk;

/// The story in which a desk comes by ssh.
const DESK: &str = "bundle-desk";

/// Where the archive goes.
const ARCHIVE: &str = "target/pvbounce.tar.gz";

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let size = pack(options)?.len();
    println!("{ARCHIVE}  {} KiB", size.div_ceil(1024));
    println!("on the host: tar xzf pvbounce.tar.gz && cd {} && ./pvbounce --check", bundle::FOLDER);
    Ok(ExitCode::SUCCESS)
}

/// Builds the archive, and leaves it in `target/`.
pub(super) fn pack(options: &Options) -> Result<Vec<u8>> {
    let guest = Guest::get(options.guest.as_deref())?;
    fs::create_dir_all("target").on("create", "target")?;
    let stripped = Path::new("target/pvbounce.elf");
    guest.strip(stripped)?;
    let archive = bundle::pack(stripped)?;
    fs::write(ARCHIVE, &archive).on("write", ARCHIVE)?;
    Ok(archive)
}

/// What the script is put through by a dom0: the stories of its `bundle.sh`, all or some.
pub(super) fn nested(options: &Options, wanted: &[String], seed: Option<u64>) -> Result<ExitCode> {
    let seed = seed.unwrap_or_else(dice::of_the_time);
    let mut jobs = stories(wanted, seed)?;
    if jobs.iter().any(|job| job.bundle.as_ref().is_some_and(|story| !story.moments.is_empty())) {
        println!("moments drawn with --seed {seed}");
    }
    let bench = Bench::prepare("bundle", options)?;
    let records = match jobs.iter_mut().find(|job| job.name == DESK) {
        Some(job) => {
            let device = job.devices().map(Device::bdf).collect();
            let desk = Desk::set_up(&bench.folder, &bench.guest.elf, device)?;
            let door = desk.door()?;
            job.bundle.iter_mut().for_each(|story| story.door = Some(door.clone()));
            beside(&bench, options, &jobs, &desk)?
        }
        None => bench.run(options, DEFAULT_NIC, &jobs, Spread::Many)?,
    };
    conclude(bench.record(records), &bench)
}

/// Runs the jobs, with the desk at work beside them.
fn beside(bench: &Bench, options: &Options, jobs: &[Job], desk: &Desk) -> Result<Vec<JobRecord>> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let visit = scope.spawn(|| desk.visit(&|| over.load(Ordering::Relaxed)));
        let records = bench.run(options, DEFAULT_NIC, jobs, Spread::One);
        over.store(true, Ordering::Relaxed);
        let wrong = visit.join().unwrap_or_else(|_| vec!["the desk's thread panicked".to_owned()]);
        let mut records = records?;
        if let Some(record) = records.iter_mut().find(|record| record.name == DESK) {
            for what in wrong {
                let remedy = "see the desk's logs in its folder, and dom0.log";
                record.add(Verdict::Failure, Problem::rig("desk-broken", what, remedy));
            }
        }
        Ok(records)
    })
}

/// The jobs of these names; none: all.
fn stories(wanted: &[String], seed: u64) -> Result<Vec<Job>> {
    let known = all(seed);
    let is = |word: &String, job: &Job| job.name == *word;
    if let Some(word) = wanted.iter().find(|word| !known.iter().any(|job| is(word, job))) {
        let names: Vec<_> = known.iter().map(|job| job.name.as_str()).collect();
        return Err(Error::unfit(
            format!("no story is called {word}"),
            format!("use one of {}", names.join(", ")),
        ));
    }
    let named = |job: &Job| wanted.is_empty() || wanted.iter().any(|word| is(word, job));
    Ok(known.into_iter().filter(named).collect())
}

/// Those that `test` has time for.
pub(super) fn quick() -> Vec<Job> {
    let hang = "--timeout 5 --words selftest=hang";
    let mut route = job("bundle", "route", "--words suite=irq,dma");
    // The card carries dom0's traffic when it is taken by force.
    route.provokes = OF_NOBODY.to_vec();
    let mut hang =
        job("bundle-hang", "plain", hang).expect(Verdict::Timeout, &[("rig", "timeout")]);
    // The guest that is destroyed has a card that takes what is on its wire.
    hang.provokes = OF_NOBODY.to_vec();
    vec![route, hang]
}

/// All of them.
fn all(seed: u64) -> Vec<Job> {
    let corrupt = job("bundle-corrupt", "plain", "--words selftest=corrupt").expect(
        Verdict::Failure,
        &[("swiotlb.every_length_and_offset_survives", "swiotlb-byte-mismatch")],
    );
    let mut killed = job("bundle-killed", "killed", "--words suite=irq,dma");
    killed.bundle = killed.bundle.map(|story| Story { moments: moments(seed), ..story });
    killed.limit = Duration::from_secs(600);
    // What the device still had under way when its guest was paused.
    killed.provokes = OF_NOBODY.to_vec();
    let mut xl = job("bundle-xl", "xl", "--words suite=irq,dma");
    xl.limit = Duration::from_secs(600);
    let mut desk = job(DESK, "desk", "--words suite=irq,dma");
    desk.limit = Duration::from_secs(900);
    let mut several = job("bundle-all", "all", "--words suite=irq,dma");
    several.beside = Model::find("nvme").map(Device::Other);
    several.limit = Duration::from_secs(300);
    let mut jobs = quick();
    jobs.extend([corrupt, killed, xl, several, desk]);
    jobs
}

/// How many moments there are, and which part of what a run takes holds one of them, in tenths of a second.
const MOMENTS: u32 = 10;
const PART: u32 = 12;

/// One in each part of what a run takes, so that each of its stages is likely to have one; each signal several times.
fn moments(seed: u64) -> Vec<(&'static str, f64)> {
    let mut dice = Dice::new(seed);
    let signals = ["TERM", "HUP", "KILL"];
    let at = (0..MOMENTS).map(|part| f64::from(part * PART + dice.between(1, PART)) / 10.0);
    signals.into_iter().cycle().skip(usize::try_from(seed % 3).unwrap_or(0)).zip(at).collect()
}

fn job(name: &str, story: &'static str, arguments: &'static str) -> Job {
    let mut job = Job::new(name, "smoke-late.cfg", Some(Device::Nic));
    job.bundle = Some(Story { name: story, arguments, ..Story::default() });
    job.limit = Duration::from_secs(180);
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_asked_for_by_its_name() {
        let names = |words: &[&str]| -> Result<Vec<String>> {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            Ok(stories(&words, 1)?.into_iter().map(|job| job.name).collect())
        };
        assert_eq!(names(&["bundle", "bundle-xl"]).unwrap(), ["bundle", "bundle-xl"]);
        assert!(names(&[]).unwrap().len() > quick().len());
        let error = names(&["bundle", "bundle-x"]).unwrap_err();
        assert_eq!(error.to_string(), "no story is called bundle-x");
        assert!(error.remedy().unwrap().contains("bundle-killed"));
    }

    #[test]
    fn moments_are_spread_over_a_run_and_the_same_for_a_seed() {
        for seed in 0..50 {
            let moments = moments(seed);
            for signal in ["TERM", "HUP", "KILL"] {
                assert!(moments.iter().filter(|(name, _)| *name == signal).count() >= 3);
            }
            for (part, (_, at)) in (0..MOMENTS).zip(&moments) {
                let part = f64::from(part * PART) / 10.0;
                assert!(*at > part && *at < part + 1.3, "{seed}: {moments:?}");
            }
        }
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(10));
        let job = all(7).into_iter().find(|job| job.name == "bundle-killed").unwrap();
        assert_eq!(job.bundle.unwrap().moments().lines().count(), 10);
    }
}

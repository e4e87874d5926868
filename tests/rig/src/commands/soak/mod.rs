//! `soak`: domain after domain for as long as told, most of them drawn at random: verdicts, leaks, and whether anything
//! gets slower on the way.

mod draw;
mod summary;
mod trend;

use std::fs;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{Bench, smoke};
use crate::cli::Options;
use crate::commands::workbench::{Keep, Spread};
use crate::dice;
use crate::error::{Context, Error, Result};
use crate::peers::Peers;
use crate::report::{self, JobRecord};
use summary::Summary;

/// More domains than a machine gets through.
const A_MINUTE: usize = 12;
/// So many domains that went wrong are enough to look at.
const ENOUGH: usize = 20;
/// How often a line says how far it is.
const EACH: Duration = Duration::from_secs(60);

pub(super) fn run(options: &Options, minutes: u32, seed: Option<u64>) -> Result<ExitCode> {
    let seed = seed.unwrap_or_else(dice::of_the_time);
    let bench = Bench::prepare("soak", options)?;
    let (nic, _) = smoke::device(options.device());
    let length = Duration::from_secs(60 * u64::from(minutes));
    let count = A_MINUTE * usize::try_from(minutes).unwrap_or(A_MINUTE) + 1;
    let mut jobs = draw::jobs(seed, count, &Peers::start()?, options.limit(120));
    jobs.iter_mut().for_each(|job| job.raw_words.clone_from(&options.cmdline));

    let mut soak = Soak::new(seed, length);
    soak.say();
    let ended = bench
        .run_each(options, nic, &jobs, (Spread::One, Keep::Bad), &mut |record| soak.add(record));
    let interrupted = matches!(ended, Err(Error::Interrupted));
    if !interrupted {
        ended?;
    }
    soak.conclude(&bench, interrupted)
}

/// How long this host takes for work that is always the same, in ms: the median of five times.
fn own_work() -> f64 {
    let mut times = [0.0; 5];
    for time in &mut times {
        let start = Instant::now();
        let mixed = (0..8_000_000_u64).fold(1, |sum: u64, n| (sum ^ n).wrapping_mul(0x5851_f42d));
        black_box(mixed);
        *time = start.elapsed().as_secs_f64() * 1000.0;
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A soak under way.
struct Soak {
    started: Instant,
    said: Instant,
    length: Duration,
    summary: Summary,
    // Those that went wrong, and the newest.
    records: Vec<JobRecord>,
}

impl Soak {
    fn new(seed: u64, length: Duration) -> Self {
        let now = Instant::now();
        Self { started: now, said: now, length, summary: Summary::new(seed), records: Vec::new() }
    }

    fn add(&mut self, record: JobRecord) -> ControlFlow<()> {
        let elapsed = self.started.elapsed();
        self.summary.add(&record, elapsed.as_secs_f64() / 3600.0, own_work());
        self.records.retain(|known| !known.is_as_expected());
        self.records.push(record);
        if self.said.elapsed() >= EACH {
            self.said = Instant::now();
            self.say();
        }
        match elapsed >= self.length || self.summary.bad() >= ENOUGH {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn say(&self) {
        let [at, of] = [self.started.elapsed(), self.length].map(|t| t.as_secs_f64() / 60.0);
        eprintln!("    soak  {at:.1} of {of:.0} min: {}", self.summary.line());
    }

    /// Reports on disk, tables on the terminal.
    fn conclude(self, bench: &Bench, interrupted: bool) -> Result<ExitCode> {
        let path = bench.folder.join("soak.json");
        let json = serde_json::to_string_pretty(&self.summary).map_err(std::io::Error::from);
        fs::write(&path, json.on("encode", &path)?).on("write", &path)?;
        let run = bench.record(self.records);
        let run = report::write(run, &bench.stream)?;
        report::print(&run, &bench.folder);
        print!("{}", self.summary.table());
        Ok(match interrupted {
            true => ExitCode::from(130),
            false => ExitCode::from(self.summary.verdict().exit_code()),
        })
    }
}

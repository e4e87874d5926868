//! `dom0`: the guest as Xen's only module, with no Linux anywhere; the suites that need no device.

use std::fs::{self, File};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{Bench, conclude};
use crate::boot::{Seen, guest_log};
use crate::cli::Options;
use crate::console::{JobEnd, Piece, Splitter};
use crate::error::{Context, Result};
use crate::job::Job;
use crate::machine::{self, Machine, Next, Plan};
use crate::progress::Stage;
use crate::report::{JobRecord, record};

/// What the guest is told when nothing else is asked for.
pub(super) const WORDS: &str = "suite=smoke";

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let bench = Bench::prepare("dom0", options)?;
    let mut words = options.words();
    if options.suite.is_none() {
        words.insert(0, WORDS.to_owned());
    }
    let mut job = Job::new("dom0", "no-device.cfg", None);
    job.words = words;
    job.raw_words.clone_from(&options.cmdline);
    job.memory = options.memory;
    job.limit = options.limit(60);
    let record = boot(&bench, &job)?;
    conclude(&bench.record(vec![record]), &bench)
}

/// Boots the guest as dom0 and judges it.
pub(super) fn boot(bench: &Bench, job: &Job) -> Result<JobRecord> {
    let image = bench.image();
    let image = fs::canonicalize(&image).on("find", &image)?;
    let plan = Plan {
        stack: bench.stack.clone(),
        release: bench.release,
        accel: bench.accel.clone(),
        without: bench.without.clone(),
        modules: vec![(
            image,
            [job.words.join(" "), job.raw_words.clone()].join(" ").trim().to_owned(),
        )],
        memory_gib: machine::memory_gib(job.memory.unwrap_or(0)),
        little_low: false,
        dom0_memory: job.memory.unwrap_or(512),
        nic: String::new(),
        mirror: None,
        devices: Vec::new(),
        trace: false,
        channels: false,
        label: format!("-{}", job.name),
    };
    let stage = Stage::start("run", "Xen, then the guest as dom0");
    let seen = follow(Machine::start(&plan, &bench.folder)?, bench, job, &stage)?;
    let seconds = seen.end.as_ref().map_or(0.0, |end| end.seconds);
    stage.done(format!("{}: start of QEMU to its end {seconds:.1} s", job.name));
    record(job, seen, &bench.guest, &bench.folder)
}

/// Reads the console until the machine ends or the time is over.
fn follow(mut machine: Machine, bench: &Bench, job: &Job, stage: &Stage) -> Result<Seen> {
    let create =
        |name: &str| File::create(bench.folder.join(name)).on("create", bench.folder.join(name));
    let mut xen = create(&format!("xen-{}.log", job.name))?;
    let mut guest = create(&guest_log(&job.name))?;
    let start = Instant::now();
    let mut splitter = Splitter::default();
    let mut seen = Seen::default();
    let mut crashed = false;
    let late = loop {
        if start.elapsed() > job.limit {
            break true;
        }
        let line = match machine.next()? {
            Next::Ended => break false,
            Next::Quiet => continue,
            Next::Line(_, line) => line,
        };
        match splitter.line(&line) {
            Some(Piece::Xen(line)) => {
                crashed |= line.contains("Hardware Dom0 crashed");
                writeln!(xen, "{line}").on("write", &bench.folder)?;
                seen.xen.push(line);
            }
            Some(Piece::Dom0(line)) => {
                writeln!(guest, "{line}").on("write", &bench.folder)?;
                stage.doing(line.clone());
                seen.console.push((start.elapsed().as_secs_f64(), line));
            }
            None => {}
        }
    };
    if late {
        machine.stop()?;
    }
    seen.end = Some(end(start.elapsed(), late, crashed));
    Ok(seen)
}

/// What dom0 would have said about a domain, from what Xen said about dom0.
fn end(took: Duration, late: bool, crashed: bool) -> JobEnd {
    let reason = match (late, crashed) {
        (true, _) => None,
        (false, true) => Some(3),
        (false, false) => Some(1),
    };
    JobEnd { seconds: took.as_secs_f64(), code: Some(0), reason, late, ..JobEnd::default() }
}

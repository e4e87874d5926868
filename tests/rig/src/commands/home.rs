//! `dom0`: the guest as Xen's only module, with no Linux anywhere; the suites that need no device, or all with devices of
//! the machine's.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{Bench, conclude, smoke};
use crate::boot::{Board, Due, Seen, Watch, guest_log};
use crate::cli::Options;
use crate::console::{JobEnd, Piece, Splitter};
use crate::error::{Context, Result};
use crate::job::Job;
use crate::machine::{
    self, Card, DEFAULT_NIC, Device, Iommu, Machine, Medium, Model, Next, Plan, Start, TRACE_LOG,
};
use crate::mirror;
use crate::peers::Peers;
use crate::progress::Stage;
use crate::report::{JobRecord, record};

/// What the guest is told when nothing else is asked for.
pub(super) const WORDS: &str = "suite=smoke";

/// What it is told when it is to look for no device: the machine always has a controller, with nothing on it.
pub(super) const NO_DEVICE: &str = "dev=none";

pub(super) fn run(options: &Options, iommu: Iommu, strict: bool) -> Result<ExitCode> {
    let bench = Bench::prepare("dom0", options)?;
    let (nic, device) = options.asked_for().map_or((DEFAULT_NIC, None), smoke::device);
    let mut job = Job::new("dom0", "no-device.cfg", None);
    job.words.extend(options.suite.is_none().then(|| WORDS.to_owned()));
    job.words.extend(options.words());
    job.raw_words.clone_from(&options.cmdline);
    job.memory = options.memory;
    job.limit = options.limit(device.map_or(60, Device::limit));
    let job = match device {
        None => job.word(NO_DEVICE),
        Some(device) => {
            job.words.extend(Peers::start()?.words());
            with(job, device, iommu)
        }
    };
    let home = Home { nic, iommu, strict, trace: !options.no_trace };
    let record = boot(&bench, &job, home, bench.folder.clone())?;
    conclude(bench.record(vec![record]), &bench)
}

/// The machine that the guest is dom0 of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home<'n> {
    /// QEMU's name of the network card.
    pub(super) nic: &'n str,
    /// Its IOMMU.
    pub(super) iommu: Iommu,
    /// Whether Xen keeps dom0's devices to dom0's own memory.
    pub(super) strict: bool,
    /// Whether QEMU is to note each address that a device uses.
    pub(super) trace: bool,
}

impl Home<'_> {
    /// The one that most jobs are at home in.
    pub(super) const USUAL: Self =
        Self { nic: DEFAULT_NIC, iommu: Iommu::All, strict: false, trace: true };
}

/// The job with a device, and with another that no IOMMU is before where there is to be one.
pub(super) fn with(mut job: Job, device: Device, iommu: Iommu) -> Job {
    job.device = Some(device);
    let model = |name| Model::find(name).map(Device::Other);
    job.beside = match device {
        _ if iommu != Iommu::Some => None,
        // A card can be tried on any page, so that it is told of both what they reach.
        Device::Nic | Device::Card(_) => Card::find("pcnet").map(Device::Card),
        _ if device.medium() == Some("nvme") => model("xhci"),
        _ => model("nvme"),
    };
    job
}

/// What the guest sees of what it was given, and what of it QEMU's trace does; and of what the machine starts from.
fn board(job: &Job, iommu: Iommu, start: &Start) -> Board {
    let mut board = Board::default();
    board.watched.extend(start.device().map(machine::traced));
    for (n, device) in job.devices().enumerate() {
        let bdf = iommu.bdf(n).unwrap_or_else(|| device.bdf());
        if iommu.covers(n) {
            board.watched.push(machine::traced(&bdf));
        }
        board.asked.push(bdf);
    }
    board
}

/// Boots the guest as dom0, in a machine whose files go to a folder, and judges it.
pub(super) fn boot(bench: &Bench, job: &Job, home: Home<'_>, folder: PathBuf) -> Result<JobRecord> {
    boot_from(bench, job, home, (Start::Xen, folder), &mut |_, _| Ok(()))
}

/// What is done as each line of the guest's comes.
pub(super) type OnLine<'l> = &'l mut dyn FnMut(&mut Machine, &str) -> Result;

/// The same with a machine that starts from something else.
pub(super) fn boot_from(
    bench: &Bench,
    job: &Job,
    home: Home<'_>,
    (start, folder): (Start, PathBuf),
    on_line: OnLine<'_>,
) -> Result<JobRecord> {
    let image = bench.image();
    let image = fs::canonicalize(&image).on("find", &image)?;
    for name in job.devices().filter_map(Device::medium) {
        Medium::in_folder(&folder, name)?;
    }
    let board = board(job, home.iommu, &start);
    let mirrored = Card::is_mirrored(home.nic);
    let plan = Plan {
        stack: bench.stack.clone(),
        release: bench.release,
        accel: bench.accel.clone(),
        without: bench.without.clone(),
        start,
        modules: vec![(
            image,
            [job.words.join(" "), job.raw_words.clone()].join(" ").trim().to_owned(),
        )],
        memory_gib: machine::memory_gib(job.memory.unwrap_or(0)),
        little_low: false,
        iommu: home.iommu,
        strict: home.strict,
        dom0_memory: job.memory.unwrap_or(512),
        nic: home.nic.to_owned(),
        mirror: mirrored.then(mirror::start).transpose()?,
        door: None,
        devices: job.devices().collect(),
        trace: home.trace && !board.watched.is_empty(),
        jobs: None,
        resumed: None,
        folder,
    };
    let stage = Stage::start("run", "Xen, then the guest as dom0");
    let machine = Machine::start(&plan)?;
    bench.stream.begin(job)?;
    let mut on_line = |machine: &mut Machine, at: f64, line: &str| {
        bench.stream.line(&job.name, at, line)?;
        on_line(machine, line)
    };
    let mut seen = follow(machine, (&plan.folder, &bench.folder), job, &stage, &mut on_line)?;
    // The machine has ended, so the file is whole.
    seen.traced = 0..fs::metadata(plan.folder.join(TRACE_LOG)).map_or(0, |trace| trace.len());
    seen.due = Due { trace: plan.trace, memory: false };
    seen.board = Some(board);
    seen.folder = plan.folder;
    let seconds = seen.end.as_ref().map_or(0.0, |end| end.seconds);
    stage.done(format!("{}: start of QEMU to its end {seconds:.1} s", job.name));
    let record = record(job, seen, &bench.guest, &bench.folder)?;
    bench.stream.end(&record)?;
    Ok(record)
}

/// Reads the console until the machine ends or the time is over; what Xen says goes to the machine's folder, what the guest
/// says to the run's.
fn follow(
    mut machine: Machine,
    (folder, run): (&Path, &Path),
    job: &Job,
    stage: &Stage,
    on_line: &mut dyn FnMut(&mut Machine, f64, &str) -> Result,
) -> Result<Seen> {
    let create = |path: PathBuf| File::create(&path).on("create", path);
    let mut xen = create(folder.join("xen.log"))?;
    let mut guest = create(run.join(guest_log(&job.name)))?;
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
                writeln!(xen, "{line}").on("write", folder)?;
                seen.xen.push(line);
            }
            Some(Piece::Dom0(line)) => {
                writeln!(guest, "{line}").on("write", run)?;
                stage.doing(line.clone());
                let at = start.elapsed().as_secs_f64();
                on_line(&mut machine, at, &line)?;
                seen.console.push((at, line));
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

//! One boot of the machine, with a series of jobs in it: follows the consoles, keeps the logs, sees to the deadlines.

mod logs;

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pvbounce::report::ktap;

use crate::console::{JobEnd, Marker, Piece, Splitter};
use crate::error::{Error, Result};
use crate::job::{Act, Job};
use crate::machine::{Device, Machine, Mischief, Next, Plan, Source, TRACE_LOG};
use crate::progress::Stage;
use crate::queue::Queue;

pub(crate) use logs::guest_log;

use logs::Logs;

/// From QEMU's start to a ready dom0; takes about 15 s with TCG on an idle machine.
const READY: Duration = Duration::from_secs(240);
/// What a job may take beyond its own limit: destroying the domain, and xl's own waits.
const SLACK: Duration = Duration::from_secs(60);

/// What was seen of one job.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The guest's console, each line with the seconds since the job began.
    pub(crate) console: Vec<(f64, String)>,
    /// How the domain ended; `None` if the machine ended first.
    pub(crate) end: Option<JobEnd>,
    /// What the guest wrote to `data/pvbounce`.
    pub(crate) store: Vec<(String, String)>,
    /// What xl printed.
    pub(crate) xl: Vec<String>,
    /// What dom0 itself found to be wrong.
    pub(crate) found: Vec<String>,
    /// Seconds from the job's begin to what was done to its guest.
    pub(crate) abused: Option<f64>,
    /// What the machine did while the domain was in it.
    pub(crate) machine: Fate,
    /// The machine's folder, with the DMA trace.
    pub(crate) folder: PathBuf,
    /// Its part of the trace.
    pub(crate) traced: Range<u64>,
    /// What Xen said while the domain was there, or since the one before it was gone.
    pub(crate) xen: Vec<String>,
    /// What was done to the frames on its wire, if that is one on which something is.
    pub(crate) wire: Option<Mischief>,
    /// Which witnesses were to be there.
    pub(crate) due: Due,
    /// The guest's own board, if it had one.
    pub(crate) board: Option<Board>,
}

/// The witnesses that a boot has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    /// QEMU, tracing each address that a device uses.
    pub(crate) trace: bool,
    /// dom0, asking Xen for its free memory.
    pub(crate) memory: bool,
}

/// A guest that is dom0 sees the whole machine, and what was put into it where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    /// The addresses of what it was given to test; there may be more.
    pub(crate) asked: Vec<String>,
    /// Those that an IOMMU translates for, as QEMU's trace has them.
    pub(crate) watched: Vec<String>,
}

/// What became of a machine during a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It lived on.
    #[default]
    Alive,
    /// QEMU ended by itself: Xen or dom0 crashed or shut down.
    Ended,
    /// dom0 said nothing any more.
    Silent,
    /// Nobody watched: all that is known is a log.
    Unknown,
}

/// What becomes of a job as soon as its domain is gone, and whether another one follows.
pub(crate) type Each<'e> = &'e mut dyn FnMut(&Job, Seen) -> Result<ControlFlow<()>>;

/// Boots the machine and runs those of its jobs that nobody else takes from the queue, as many as it survives and `each`
/// lets follow; the last one may be its end. The guests' consoles go to the run's folder.
pub(crate) fn run(
    plan: &Plan,
    jobs: &[Job],
    queue: &Queue,
    folder: &Path,
    each: Each<'_>,
) -> Result {
    let stage = Stage::start("boot", "Xen, then dom0");
    let mut boot = Boot {
        machine: Machine::start(plan)?,
        logs: Logs::create(plan, folder)?,
        splitter: Splitter::default(),
        jobs: jobs.iter(),
        queue,
        partner: None,
        now: None,
        each,
        any: false,
        folder: &plan.folder,
        before: Before::default(),
        due: Due { trace: plan.trace, memory: true },
        xen: Vec::new(),
        deadline: Instant::now() + READY,
        began: None,
        stage: Some(stage),
    };
    while boot.step()? {}
    boot.partner.into_iter().for_each(|partner| queue.give_back(partner));
    boot.finish()
}

struct Boot<'j> {
    machine: Machine,
    logs: Logs,
    splitter: Splitter,
    // Those that dom0 has not asked about.
    jobs: std::slice::Iter<'j, Job>,
    queue: &'j Queue,
    // The one that lives at the same time as the last one that began, until dom0 asks about it.
    partner: Option<&'j Job>,
    // The one whose domain is there, or about to be.
    now: Option<(&'j Job, Seen)>,
    each: Each<'j>,
    // Whether any job has begun.
    any: bool,
    folder: &'j Path,
    before: Before,
    due: Due,
    // What Xen has said since the last job ended, or dom0 was ready.
    xen: Vec<String>,
    deadline: Instant,
    // The job that runs now began then.
    began: Option<Instant>,
    stage: Option<Stage>,
}

// How much there was of what goes on for as long as the machine does, when the last job began that began alone.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    trace: u64,
    wire: Mischief,
}

impl<'j> Boot<'j> {
    /// Handles what comes next; false when the boot is over.
    fn step(&mut self) -> Result<bool> {
        if Instant::now() > self.deadline {
            return self.lost(Fate::Silent);
        }
        match self.machine.next()? {
            Next::Quiet => Ok(true),
            Next::Ended => self.lost(Fate::Ended),
            Next::Line(Source::Com1, line) => {
                let Some(piece) = self.splitter.line(&line) else {
                    return Ok(true);
                };
                self.logs.piece(&piece)?;
                if let Piece::Xen(line) = piece {
                    self.xen.push(line);
                }
                Ok(true)
            }
            Next::Line(Source::Com2, line) => match Marker::parse(&line) {
                Some(marker) => self.marker(marker),
                None => self.guest_line(line).map(|()| true),
            },
        }
    }

    /// The machine is silent for too long, or has ended by itself. Without a dom0 that is an error of the rig; later it
    /// is for the judge.
    fn lost(&mut self, fate: Fate) -> Result<bool> {
        if let Some((job, seen)) = self.now.take() {
            let xen = std::mem::take(&mut self.xen);
            return (self.each)(job, Seen { machine: fate, xen, ..seen }).map(|_| false);
        }
        if self.any {
            return Ok(false);
        }
        let what = match fate {
            Fate::Ended => "QEMU ended before dom0 was ready".to_owned(),
            _ => format!("dom0 was not ready after {} s", READY.as_secs()),
        };
        Err(Error::unfit(
            format!("{what}; its last words: {}", self.logs.last_words()),
            format!("see xen.log, dom0.log and qemu.log in {}", self.folder.display()),
        ))
    }

    fn marker(&mut self, marker: Marker) -> Result<bool> {
        match marker {
            Marker::Ready => {
                self.end_stage("dom0 is ready");
                self.xen.clear();
                self.deadline = Instant::now() + SLACK;
            }
            Marker::Ask(_) => return self.asked(),
            Marker::Begin(_) => {
                self.began = Some(Instant::now());
                // What dom0 did with the device before is not the guest's; of two guests at once both are in what follows.
                if !self.now.as_ref().is_some_and(|(job, _)| job.together) {
                    self.before.trace = self.trace_length();
                }
                let start = self.before.trace;
                self.note(|seen| seen.traced = start..start);
            }
            Marker::Found(what) => self.note(|seen| seen.found.push(what)),
            Marker::Store(key, value) => self.note(|seen| seen.store.push((key, value))),
            Marker::Xl(line) => {
                self.logs.piece(&Piece::Dom0(format!("xl: {line}")))?;
                self.note(|seen| seen.xl.push(line));
            }
            Marker::End(end) => return self.end_job(end),
            Marker::Ruined | Marker::Done => return Ok(false),
        }
        Ok(true)
    }

    /// dom0 asks whether it is to run the next job; false when no job is left for any machine.
    fn asked(&mut self) -> Result<bool> {
        let Some(job) = self.jobs.next() else {
            return Err(Error::unfit(
                "dom0 asks for more jobs than there are",
                "this is a bug of the rig",
            ));
        };
        self.any = true;
        if self.partner.take_if(|partner| partner.name == job.name).is_some() {
            return self.prepare(job).map(|()| true);
        }
        if self.queue.take(job) {
            self.partner = self.jobs.as_slice().first().filter(|next| next.together);
            return self.prepare(job).map(|()| true);
        }
        if self.queue.is_empty() {
            return Ok(false);
        }
        self.machine.tell("skip").map(|()| true)
    }

    /// A job is about to begin: log, cable, deadline, then the word that dom0 waits for.
    fn prepare(&mut self, job: &'j Job) -> Result {
        self.logs.open_guest(&job.name)?;
        if job.device == Some(Device::Unplugged) {
            self.cable(false)?;
        }
        if !job.together {
            self.before = Before { trace: self.trace_length(), wire: self.machine.mischief() };
        }
        let start = self.before.trace;
        let folder = self.folder.to_owned();
        self.now =
            Some((job, Seen { folder, traced: start..start, due: self.due, ..Seen::default() }));
        self.deadline = Instant::now() + job.limit + SLACK;
        self.stage = Some(Stage::start("run", job.name.clone()));
        self.machine.tell("go")
    }

    /// The job's domain is gone; false if no other one is to follow.
    fn end_job(&mut self, end: JobEnd) -> Result<bool> {
        self.began = None;
        let Some((job, mut seen)) = self.now.take() else {
            return Ok(true);
        };
        let pulled = job.abuse.is_some_and(|abuse| abuse.act == Act::Cable);
        if pulled || job.device == Some(Device::Unplugged) {
            self.cable(true)?;
        }
        self.end_stage(&format!("{}: xl create to domain gone {:.1} s", job.name, end.seconds));
        seen.traced.end = self.trace_length();
        let rough = job.device.is_some_and(Device::is_rough);
        seen.wire = rough.then(|| self.machine.mischief().since(self.before.wire));
        seen.end = Some(end);
        seen.xen = std::mem::take(&mut self.xen);
        self.deadline = Instant::now() + SLACK;
        Ok((self.each)(job, seen)?.is_continue())
    }

    fn guest_line(&mut self, line: String) -> Result {
        let Some(began) = self.began else {
            return if line.is_empty() { Ok(()) } else { self.logs.piece(&Piece::Dom0(line)) };
        };
        self.logs.guest(&line)?;
        if let Some(stage) = self.stage.as_ref().filter(|_| !line.trim().is_empty()) {
            stage.doing(line.clone());
        }
        let at = began.elapsed().as_secs_f64();
        self.answer(&line, at)?;
        self.note(|seen| seen.console.push((at, line)));
        Ok(())
    }

    /// What a line of the guest's sets off: its verdict is news for dom0, and some words are what an abuse waits for.
    fn answer(&mut self, line: &str, at: f64) -> Result {
        if line.starts_with(ktap::RESULT) {
            self.machine.tell("said")?;
        }
        let Some((Job { abuse: Some(abuse), .. }, seen)) = &mut self.now else {
            return Ok(());
        };
        if seen.abused.is_some() || !line.contains(abuse.at) {
            return Ok(());
        }
        seen.abused = Some(at);
        match abuse.act {
            Act::Dom0(_) => self.machine.tell("abuse"),
            Act::Cable => self.cable(false),
            Act::Report(device, error) => {
                let qmp = self.machine.qmp.as_mut();
                qmp.map_or(Ok(()), |qmp| qmp.report_error(device, error))
            }
        }
    }

    fn cable(&mut self, plugged: bool) -> Result {
        self.machine.qmp.as_mut().map_or(Ok(()), |qmp| qmp.set_link(plugged))
    }

    fn note(&mut self, change: impl FnOnce(&mut Seen)) {
        if let Some((_, seen)) = &mut self.now {
            change(seen);
        }
    }

    fn trace_length(&self) -> u64 {
        fs::metadata(self.folder.join(TRACE_LOG)).map_or(0, |file| file.len())
    }

    fn end_stage(&mut self, what: &str) {
        self.stage.take().into_iter().for_each(|stage| stage.done(what));
    }

    fn finish(mut self) -> Result {
        let last = std::mem::take(&mut self.splitter).finish();
        last.map_or(Ok(()), |piece| self.logs.piece(&piece))?;
        self.machine.stop()
    }
}

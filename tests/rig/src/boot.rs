//! One boot of the machine, with a series of jobs in it: follows the consoles, keeps the logs, sees to the deadlines.

use std::fs::{self, File};
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pvbounce::report::ktap;

use crate::console::{JobEnd, Marker, Piece, Splitter};
use crate::error::{Context, Error, Result};
use crate::job::{Act, Job};
use crate::machine::{Device, Machine, Mischief, Next, Plan, Source};
use crate::progress::Stage;

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
    /// The DMA trace.
    pub(crate) trace: PathBuf,
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

/// Boots the machine and runs the jobs, as many as it survives and `each` lets follow; the last one may be its end.
pub(crate) fn run(plan: &Plan, jobs: &[Job], folder: &Path, each: Each<'_>) -> Result {
    let stage = Stage::start("boot", "Xen, then dom0");
    let mut boot = Boot {
        machine: Machine::start(plan, folder)?,
        logs: Logs::create(plan, folder)?,
        splitter: Splitter::default(),
        jobs: jobs.iter(),
        now: None,
        each,
        any: false,
        trace: folder.join(plan.trace_log()),
        before: Before::default(),
        due: Due { trace: plan.trace, memory: true },
        xen: Vec::new(),
        deadline: Instant::now() + READY,
        began: None,
        stage: Some(stage),
    };
    while boot.step()? {}
    boot.finish()
}

struct Boot<'j> {
    machine: Machine,
    logs: Logs,
    splitter: Splitter,
    // Those that have not begun.
    jobs: std::slice::Iter<'j, Job>,
    // The one whose domain is there, or about to be.
    now: Option<(&'j Job, Seen)>,
    each: Each<'j>,
    // Whether any job has begun.
    any: bool,
    trace: PathBuf,
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

impl Boot<'_> {
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
            format!("see xen.log, dom0.log and qemu.log in {}", self.logs.folder.display()),
        ))
    }

    fn marker(&mut self, marker: Marker) -> Result<bool> {
        match marker {
            Marker::Ready => {
                self.end_stage("dom0 is ready");
                self.xen.clear();
                self.deadline = Instant::now() + SLACK;
            }
            Marker::Ask(_) => self.prepare()?,
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

    /// The next job is about to begin: log, cable, deadline, then the word that dom0 waits for.
    fn prepare(&mut self) -> Result {
        let Some(job) = self.jobs.next() else {
            return Err(Error::unfit(
                "dom0 asks for more jobs than there are",
                "this is a bug of the rig",
            ));
        };
        self.any = true;
        self.logs.open_guest(&job.name)?;
        if job.device == Some(Device::Unplugged) {
            self.cable(false)?;
        }
        if !job.together {
            self.before = Before { trace: self.trace_length(), wire: self.machine.mischief() };
        }
        let start = self.before.trace;
        let trace = self.trace.clone();
        self.now =
            Some((job, Seen { trace, traced: start..start, due: self.due, ..Seen::default() }));
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
        fs::metadata(&self.trace).map_or(0, |file| file.len())
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

/// The run's log files.
struct Logs {
    folder: PathBuf,
    xen: File,
    dom0: File,
    guest: Option<File>,
    last: String,
}

impl Logs {
    fn create(plan: &Plan, folder: &Path) -> Result<Self> {
        let file = |what: &str| {
            let path = folder.join(plan.log(what));
            File::create(&path).on("create", &path)
        };
        Ok(Self {
            folder: folder.to_owned(),
            xen: file("xen")?,
            dom0: file("dom0")?,
            guest: None,
            last: String::new(),
        })
    }

    fn open_guest(&mut self, job: &str) -> Result {
        let path = self.folder.join(guest_log(job));
        self.guest = Some(File::create(&path).on("create", &path)?);
        Ok(())
    }

    fn piece(&mut self, piece: &Piece) -> Result {
        let (file, line) = match piece {
            Piece::Xen(line) => (&mut self.xen, line),
            Piece::Dom0(line) => (&mut self.dom0, line),
        };
        if !line.trim().is_empty() {
            self.last.clone_from(line);
        }
        writeln!(file, "{line}").on("write", &self.folder)
    }

    fn guest(&mut self, line: &str) -> Result {
        match &mut self.guest {
            Some(file) => writeln!(file, "{line}").on("write", &self.folder),
            None => Ok(()),
        }
    }

    fn last_words(&self) -> &str {
        match self.last.trim() {
            "" => "none at all",
            words => words,
        }
    }
}

/// The name of a job's console log.
pub(crate) fn guest_log(job: &str) -> String {
    format!("guest-{job}.log")
}

//! One boot of the machine, with a series of jobs in it: follows the consoles, keeps the logs, sees to the deadlines.

mod logs;
mod seen;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::report::ktap;

use crate::console::{JobEnd, Marker, Piece, Splitter};
use crate::error::{Error, Result};
use crate::job::{Act, Job};
use crate::machine::{Device, Kept, Machine, Mischief, Next, Plan, Source, TRACE_LOG};
use crate::progress::Stage;
use crate::queue::Queue;

pub(crate) use logs::guest_log;
pub(crate) use seen::{Board, Due, Fate, Seen};

use logs::Logs;

/// From QEMU's start to a ready dom0; takes about 15 s with TCG on an idle machine.
const READY: Duration = Duration::from_secs(240);
/// From a resumed dom0 to its first question; takes a second or two.
const RESUMED: Duration = Duration::from_secs(30);
/// What a job may take beyond its own limit: destroying the domain, and xl's own waits.
const SLACK: Duration = Duration::from_secs(60);

/// What becomes of a job as soon as its domain is gone, and whether another one follows.
pub(crate) type Each<'e> = &'e mut dyn FnMut(&Job, Seen) -> Result<ControlFlow<()>>;

/// Who is told of each job, as it goes.
pub(crate) trait Watch: std::fmt::Debug + Sync {
    /// It begins.
    fn begin(&self, job: &Job) -> Result;
    /// Its guest said a line, this many seconds after its begin.
    fn line(&self, job: &str, at: f64, text: &str) -> Result;
}

/// What a machine is started for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'w> {
    /// The jobs that it was given.
    pub(crate) jobs: &'w [Job],
    /// Those that nobody has taken.
    pub(crate) queue: &'w Queue,
    /// Where the guests' consoles go.
    pub(crate) folder: &'w Path,
    /// Where it is told what comes, as it comes.
    pub(crate) watch: Option<&'w dyn Watch>,
    /// Where it is kept for later runs when it is ready.
    pub(crate) kept: Option<&'w Kept>,
}

/// How a boot ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With its jobs.
    Over,
    /// A machine that was to go on where another one was did not.
    NotResumed(Error),
}

/// Boots the machine, or has it go on from where one was ready, and runs those of its jobs that nobody else takes, as many as
/// it survives and `each` lets follow; the last one may be its end.
pub(crate) fn run(plan: &Plan, work: Work<'_>, each: Each<'_>) -> Result<Ended> {
    let (name, doing) = match plan.resumed {
        None => ("boot", "Xen, then dom0"),
        Some(_) => ("resume", "dom0, as it was ready once"),
    };
    let stage = Stage::start(name, doing);
    let mut boot = Boot {
        machine: Machine::start(plan)?,
        logs: Logs::create(plan, work.folder)?,
        splitter: Splitter::default(),
        jobs: work.jobs.iter(),
        queue: work.queue,
        watch: work.watch,
        kept: work.kept,
        partner: None,
        secret: String::new(),
        now: None,
        each,
        any: false,
        folder: &plan.folder,
        archive: plan.jobs.as_deref(),
        before: Before::default(),
        due: Due { trace: plan.trace, memory: true },
        xen: Vec::new(),
        started: Instant::now(),
        deadline: Instant::now() + READY,
        began: None,
        stage: Some(stage),
    };
    let ran = boot.resume(plan.resumed.as_deref()).and_then(|()| {
        while boot.step()? {}
        Ok(())
    });
    boot.partner.into_iter().for_each(|partner| work.queue.give_back(partner));
    match ran {
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(error) if plan.resumed.is_some() && !boot.any => Ok(Ended::NotResumed(error)),
        ran => ran.and_then(|()| boot.finish()).map(|()| Ended::Over),
    }
}

struct Boot<'j> {
    machine: Machine,
    logs: Logs,
    splitter: Splitter,
    // Those that dom0 has not asked about.
    jobs: std::slice::Iter<'j, Job>,
    queue: &'j Queue,
    watch: Option<&'j dyn Watch>,
    kept: Option<&'j Kept>,
    // The one that lives at the same time as the last one that began, until dom0 asks about it.
    partner: Option<&'j Job>,
    // What dom0's lines begin with, from when it has the jobs.
    secret: String,
    // The one whose domain is there, or about to be.
    now: Option<(&'j Job, Seen)>,
    each: Each<'j>,
    // Whether dom0 has asked about any job.
    any: bool,
    folder: &'j Path,
    archive: Option<&'j Path>,
    before: Before,
    due: Due,
    // What Xen has said since the last job ended, or dom0 was ready.
    xen: Vec<String>,
    started: Instant,
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
            Next::Line(Source::Channel, line) => match Marker::parse(&line, &self.secret) {
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
            _ => format!("dom0 asked for no job within {} s", self.started.elapsed().as_secs()),
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
                self.keep()?;
                self.begin(SLACK)?;
            }
            Marker::Stranger(said) => {
                return Err(Error::unfit(
                    format!("dom0's xl does not get on with this Xen: {said}"),
                    "with --xen, name the --release whose Xen has the same version, since xl is of that one; \
                     or run `./run.sh dom0`, which needs no xl",
                ));
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
            Marker::Undone => self.note(|seen| seen.undone = true),
            Marker::Found(what) => self.note(|seen| seen.found.push(what)),
            Marker::Store(key, value) => self.note(|seen| seen.store.push((key, value))),
            Marker::Xl(line) => {
                self.logs.piece(&Piece::Dom0(format!("xl: {line}")))?;
                self.note(|seen| seen.xl.push(line));
            }
            Marker::End(end) => return self.end_job(end),
            // A job without an end is one that was lost.
            Marker::Ruined | Marker::Done if self.now.is_some() => return self.lost(Fate::Ended),
            // Else its jobs are left, and the next machine would do no better.
            Marker::Done if !self.any => {
                return Err(Error::unfit(
                    "dom0 found no jobs",
                    format!("see dom0.log in {}", self.folder.display()),
                ));
            }
            Marker::Ruined | Marker::Done => return Ok(false),
        }
        Ok(true)
    }

    /// Has the machine go on from a state, if there is one.
    fn resume(&mut self, state: Option<&Path>) -> Result {
        let (Some(state), Some(qmp)) = (state, self.machine.qmp.as_mut()) else {
            return Ok(());
        };
        qmp.resume(state)?;
        self.end_stage("dom0, as it was ready once");
        self.begin(RESUMED)
    }

    /// Keeps the machine for later runs, if it is one to be kept. One that can't be is only slower the next time.
    fn keep(&mut self) -> Result {
        let (Some(kept), Some(qmp)) = (self.kept, self.machine.qmp.as_mut()) else {
            return Ok(());
        };
        let stage = Stage::start("keep", "dom0, for the next run");
        match kept.keep(|state| qmp.save(state)) {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => stage.done(format!("dom0 is not kept for the next run: {error}")),
            Ok(()) => stage.done("dom0, for the next run"),
        }
        Ok(())
    }

    /// dom0 is ready: the jobs are there for it.
    fn begin(&mut self, limit: Duration) -> Result {
        self.xen.clear();
        self.deadline = Instant::now() + limit;
        // What the host's randomness seeds; a guest has no way to it.
        self.secret = format!("-{:016x}", RandomState::new().hash_one(0));
        self.machine.tell(&format!("jobs {}", self.secret))?;
        self.archive.map_or(Ok(()), |archive| self.machine.hand(archive))?;
        // An empty line ends archive bytes that dom0 did not consume, so that the next word stands alone.
        self.machine.tell("")
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
        self.watch.map_or(Ok(()), |watch| watch.begin(job))?;
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
        if let (Some(watch), Some((job, _))) = (self.watch, &self.now) {
            watch.line(&job.name, at, &line)?;
        }
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

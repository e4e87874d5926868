//! What every run needs before its first boot: the stack, the image, an accelerator, a folder.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::Utc;

use crate::artifacts::{self, Release, Stack};
use crate::boot::{self, Ended, Seen, Work};
use crate::cli::Options;
use crate::dom0::{self, Xenstored};
use crate::error::{Context, Error, Result};
use crate::evidence;
use crate::guest::Guest;
use crate::job::Job;
use crate::machine::{
    self, Accel, Card, Device, Iommu, Kept, Medium, Plan, Start, TRACE_LOG, Without,
};
use crate::mirror;
use crate::queue::Queue;
use crate::report::{JobRecord, RunRecord, Stream, record};

use super::at_once::{self, Task};

/// A bench, ready to boot machines.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Xen, dom0, QEMU.
    pub(crate) stack: Stack,
    /// Their release.
    pub(crate) release: &'static Release,
    /// What runs the processors.
    pub(crate) accel: Accel,
    /// What of the rig's own settings it does without.
    pub(crate) without: Without,
    /// dom0's xenstored.
    xenstored: Xenstored,
    /// The guest.
    pub(crate) guest: Guest,
    /// Where this run's files go.
    pub(crate) folder: PathBuf,
    /// How many machines may run at the same time.
    pub(crate) machines: usize,
    /// What is told of this run, as it goes.
    pub(crate) stream: Stream,
    head: RunRecord,
}

/// On how many machines a run's jobs are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// One: what they show goes by their order, or by how long they take.
    One,
    /// As many as there may be.
    Many,
}

/// A boot takes as long as that many jobs: fewer are not worth a machine.
const WORTH_A_BOOT: usize = 4;

/// Takes each record as soon as it is there, and says whether more are wanted.
pub(crate) type OnRecord<'e> = &'e mut (dyn FnMut(JobRecord) -> ControlFlow<()> + Send);

/// Which jobs' logs stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All.
    All,
    /// Of those that did not end as they have to.
    Bad,
}

impl Bench {
    /// Gets everything ready for a run of this name.
    pub(crate) fn prepare(name: &'static str, options: &Options) -> Result<Self> {
        let release = options.release()?;
        options.own().check()?;
        let stack = artifacts::ensure(release)?;
        let guest = Guest::get(options.guest.as_deref())?;
        let accel = match options.no_kvm {
            true => Accel::Tcg("asked for".to_owned()),
            false => machine::probe(&stack, release)?,
        };
        let now = Utc::now();
        let folder = run_folder(&format!("{}-{name}", now.format("%Y%m%d-%H%M%S")))?;
        let mut stack = options.own().in_stack(stack, &folder.join("own"))?;
        if let Some(file) = &stack.xen_of {
            let version = machine::xen_version(&stack, release, &folder.join("own"))?;
            stack.versions.xen = format!("{version} ({file})");
        }
        let image_bytes = guest.strip(&folder.join(IMAGE))?;
        let versions = &stack.versions;
        let store = if options.xenstored == Xenstored::Ocaml { " with oxenstored" } else { "" };
        let head = RunRecord {
            name: name.to_owned(),
            started: now.format("%Y-%m-%d %H:%M:%S").to_string(),
            machine: format!(
                "Xen {}{store}, Linux {}, QEMU {} ({release}), {}",
                versions.xen,
                versions.linux,
                versions.qemu,
                accel.describe()
            ),
            image_bytes,
            ..RunRecord::default()
        };
        let without = Without(options.without.clone());
        Ok(Self {
            stack,
            release,
            accel,
            without,
            xenstored: options.xenstored,
            guest,
            stream: Stream::create(&folder, &head)?,
            folder,
            machines: options.machines.unwrap_or_else(at_once::fitting),
            head,
        })
    }

    /// The stripped image.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }

    /// Runs the jobs and judges each; their records are in the jobs' order. Those of one machine share one boot of it; if a
    /// job takes the machine down with it, the rest go on in another.
    pub(crate) fn run(
        &self,
        options: &Options,
        nic: &str,
        jobs: &[Job],
        spread: Spread,
    ) -> Result<Vec<JobRecord>> {
        let mut records: Vec<JobRecord> = Vec::new();
        self.run_each(options, nic, jobs, (spread, Keep::All), &mut |record| {
            records.push(record);
            ControlFlow::Continue(())
        })?;
        let order = |record: &JobRecord| jobs.iter().position(|job| job.name == record.name);
        records.sort_by_cached_key(order);
        Ok(records)
    }

    /// The same, with each record as soon as it is there, and for as long as more are wanted.
    pub(crate) fn run_each(
        &self,
        options: &Options,
        nic: &str,
        jobs: &[Job],
        (spread, keep): (Spread, Keep),
        each: OnRecord<'_>,
    ) -> Result {
        let queue = Queue::new(jobs);
        let shared = Shared { options, nic, queue: &queue, keep, each: Mutex::new(each) };
        let machines = match spread {
            // ssh gets to one machine only.
            _ if jobs.iter().any(Job::has_door) => 1,
            Spread::One => 1,
            Spread::Many => self.machines.min(jobs.len() / WORTH_A_BOOT).max(1),
        };
        let keep = |number| -> Task<'_, ()> {
            let shared = &shared;
            // What has failed on one, the others need not go on with.
            Box::new(move || {
                self.keep_a_machine(number, shared).inspect_err(|_| shared.queue.close())
            })
        };
        at_once::run(machines, (1..=machines).map(keep).collect()).map(drop)
    }

    /// One machine after the other, until no job is left.
    fn keep_a_machine(&self, number: usize, shared: &Shared<'_>) -> Result {
        let mut may_resume = !shared.options.cold;
        for boot in 1.. {
            let jobs = shared.queue.left();
            if jobs.is_empty() {
                break;
            }
            let folder = match (number, boot) {
                (1, 1) => self.folder.clone(),
                (1, boot) => self.own_folder(&format!("boot{boot}"))?,
                (number, 1) => self.own_folder(&format!("machine{number}"))?,
                (number, boot) => self.own_folder(&format!("machine{number}-boot{boot}"))?,
            };
            let plan = self.plan(shared.options, shared.nic, &jobs, folder)?;
            let kept =
                (may_resume && jobs.iter().all(Job::takes_any_dom0)).then(|| Kept::of(&plan));
            let kept = kept.transpose()?.flatten();
            let resumed = kept.as_ref().and_then(Kept::state);
            let work = Work {
                jobs: &jobs,
                queue: shared.queue,
                folder: &self.folder,
                watch: (shared.keep == Keep::All).then_some(&self.stream),
                kept: kept.as_ref().filter(|_| resumed.is_none()),
            };
            let plan = Plan { resumed, ..plan };
            let ended =
                boot::run(&plan, work, &mut |job, seen| self.conclude(job, seen, &plan, shared))?;
            if let (Ended::NotResumed(error), Some(kept)) = (ended, &kept) {
                eprintln!("the dom0 that was kept does not go on, so it is booted: {error}");
                kept.forget()?;
                may_resume = false;
            }
            // As large as all the logs together, and rebuilt by the next run anyway.
            let image = plan.folder.join(DOM0);
            fs::remove_file(&image).on("remove", &image)?;
        }
        Ok(())
    }

    /// Judges a job, and says whether more are wanted.
    fn conclude(
        &self,
        job: &Job,
        seen: Seen,
        plan: &Plan,
        shared: &Shared<'_>,
    ) -> Result<ControlFlow<()>> {
        let end = seen.traced.end;
        let mut record = record(job, seen, &self.guest, &self.folder)?;
        if shared.keep == Keep::Bad && record.is_as_expected() {
            self.forget(job, plan, end)?;
            record.console.clear();
        } else {
            self.stream.end(&record)?;
        }
        let flow = shared.each.lock().unwrap_or_else(PoisonError::into_inner)(record);
        if flow.is_break() {
            shared.queue.close();
        }
        Ok(flow)
    }

    /// A folder for the files of a machine that is not the run's first.
    pub(crate) fn own_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).on("create", &folder)?;
        Ok(folder)
    }

    /// Removes the log of a job that nobody will ask about, and gives the disk back what its part of the trace took.
    fn forget(&self, job: &Job, plan: &Plan, end: u64) -> Result {
        let log = self.folder.join(boot::guest_log(&job.name));
        fs::remove_file(&log).on("remove", &log)?;
        let trace = plan.folder.join(TRACE_LOG);
        if !trace.exists() {
            return Ok(());
        }
        evidence::forget(&trace, end)
    }

    /// A machine with dom0 and the devices that these jobs want.
    fn plan(&self, options: &Options, nic: &str, jobs: &[Job], folder: PathBuf) -> Result<Plan> {
        let mut devices: Vec<Device> = Vec::new();
        for device in jobs.iter().flat_map(Job::devices) {
            if !devices.iter().any(|other| other.bdf() == device.bdf()) {
                devices.push(device);
            }
        }
        for name in devices.iter().filter_map(|device| device.medium()) {
            Medium::in_folder(&folder, name)?;
        }
        let mirrored = devices.iter().any(|device| match device {
            Device::Card(card) => card.mirrored,
            Device::Reporting => true,
            _ => Card::is_mirrored(nic),
        });
        if self.stack.pciback_stays && jobs.iter().any(|job| job.host_numbers) {
            return Err(Error::unfit(
                "dom0's pciback numbers devices as it was told when it was loaded, and is built into the kernel",
                "build that with CONFIG_XEN_PCIDEV_BACKEND=m, or leave out --host-numbers",
            ));
        }
        let hide: String = devices.iter().map(|device| format!("({})", device.bdf())).collect();
        let (image, archive) = (folder.join(DOM0), folder.join(JOBS));
        dom0::pack_dom0(&self.stack, &self.image(), jobs, &hide, self.xenstored, &image)?;
        dom0::pack_jobs(&self.image(), jobs, &self.without, &archive)?;
        let image = fs::canonicalize(&image).on("find", &image)?;
        Ok(Plan {
            stack: self.stack.clone(),
            release: self.release,
            accel: self.accel.clone(),
            without: self.without.clone(),
            start: Start::Xen,
            modules: vec![
                (self.stack.dom0_kernel.clone(), "console=hvc0".to_owned()),
                (image, String::new()),
            ],
            memory_gib: machine::memory_gib(
                jobs.iter().filter_map(|job| job.memory).max().unwrap_or(0),
            ),
            little_low: jobs.iter().any(|job| job.hog.is_some()),
            iommu: Iommu::All,
            strict: false,
            dom0_memory: 768,
            nic: nic.to_owned(),
            mirror: mirrored.then(mirror::start).transpose()?,
            door: jobs.iter().find_map(|job| Some(job.bundle.as_ref()?.door.as_ref()?.port)),
            trace: !options.no_trace && !devices.is_empty(),
            devices,
            jobs: Some(PathBuf::from(JOBS)),
            resumed: None,
            folder,
        })
    }

    /// The record of the whole run.
    pub(crate) fn record(&self, jobs: Vec<JobRecord>) -> RunRecord {
        RunRecord { jobs, over: true, ..self.head.clone() }
    }
}

/// What the machines of a run have in common.
struct Shared<'r> {
    options: &'r Options,
    nic: &'r str,
    queue: &'r Queue,
    keep: Keep,
    each: Mutex<OnRecord<'r>>,
}

/// The stripped image's name in the run's folder.
const IMAGE: &str = "pvbounce";
/// dom0's, in its machine's.
const DOM0: &str = "dom0.cpio";
/// The jobs', in its machine's, too.
const JOBS: &str = "jobs.cpio";

/// Makes a run's folder and leads `runs/latest` to it.
pub(super) fn run_folder(name: &str) -> Result<PathBuf> {
    if !Path::new("xl-configs").is_dir() {
        return Err(Error::unfit(
            "this is not the repository's top folder",
            "start it through ./run.sh",
        ));
    }
    let runs = Path::new("runs");
    fs::create_dir_all(runs).on("create", runs)?;
    // Two runs may start in the same second.
    let names = std::iter::once(name.to_owned()).chain((2..100).map(|n| format!("{name}-{n}")));
    for name in names {
        let folder = runs.join(&name);
        match fs::create_dir(&folder) {
            Ok(()) => return latest(runs, &name).map(|()| folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).on("create", folder),
        }
    }
    Err(Error::unfit(format!("runs/{name} and 99 more exist"), "run `./run.sh clean`"))
}

fn latest(runs: &Path, name: &str) -> Result {
    let link = runs.join("latest");
    let part = runs.join(format!("latest.{}", std::process::id()));
    std::os::unix::fs::symlink(name, &part).on("create", &part)?;
    fs::rename(&part, &link).on("rename", &link)
}

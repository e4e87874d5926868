//! What every run needs before its first boot: the stack, the image, an accelerator, a folder.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::Utc;

use crate::artifacts::{self, Release, Stack};
use crate::boot;
use crate::cli::Options;
use crate::dom0;
use crate::error::{Context, Error, Result};
use crate::guest::Guest;
use crate::job::Job;
use crate::machine::{self, Accel, Device, Plan};
use crate::report::{JobRecord, RunRecord, record};

/// A bench, ready to boot machines.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Xen, dom0, QEMU.
    pub(crate) stack: Stack,
    /// Their release.
    pub(crate) release: Release,
    /// What runs the processors.
    pub(crate) accel: Accel,
    /// The guest.
    pub(crate) guest: Guest,
    /// Where this run's files go.
    pub(crate) folder: PathBuf,
    name: &'static str,
    started: String,
    image_bytes: u64,
}

impl Bench {
    /// Gets everything ready for a run of this name.
    pub(crate) fn prepare(name: &'static str, options: &Options) -> Result<Self> {
        let release = options.release()?;
        let stack = artifacts::ensure(release)?;
        let guest = Guest::get(options.guest.as_deref())?;
        let accel = match options.no_kvm {
            true => Accel::Tcg("asked for".to_owned()),
            false => machine::probe(&stack, release)?,
        };
        let now = Utc::now();
        let folder = run_folder(&format!("{}-{name}", now.format("%Y%m%d-%H%M%S")))?;
        let image_bytes = guest.strip(&folder.join(IMAGE))?;
        let started = now.format("%Y-%m-%d %H:%M:%S").to_string();
        Ok(Self { stack, release, accel, guest, folder, name, started, image_bytes })
    }

    /// The stripped image.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }

    /// Runs the jobs and judges each. They share one boot of the machine; if a job takes the machine down with it, the
    /// rest go on in another.
    pub(crate) fn run(&self, options: &Options, nic: &str, jobs: &[Job]) -> Result<Vec<JobRecord>> {
        let mut records: Vec<JobRecord> = Vec::new();
        let mut boots = 1;
        while let Some(rest) = jobs.get(records.len()..).filter(|rest| !rest.is_empty()) {
            let label = if boots == 1 { String::new() } else { format!("-boot{boots}") };
            boots += 1;
            let plan = self.plan(options, nic, rest, label)?;
            let seen = boot::run(&plan, rest, &self.folder)?;
            for (job, seen) in rest.iter().zip(seen) {
                records.push(record(job, seen, &self.guest, &self.folder)?);
            }
        }
        // As large as all the logs together, and rebuilt by the next run anyway.
        let image = self.folder.join(DOM0);
        fs::remove_file(&image).on("remove", &image)?;
        Ok(records)
    }

    /// A machine with dom0 and the devices that these jobs want.
    fn plan(&self, options: &Options, nic: &str, jobs: &[Job], label: String) -> Result<Plan> {
        let mut devices: Vec<Device> = Vec::new();
        for device in jobs.iter().filter_map(|job| job.device) {
            if !devices.iter().any(|other| other.slot() == device.slot()) {
                devices.push(device);
            }
        }
        let hide: String = devices.iter().map(|device| format!("({})", device.bdf())).collect();
        let image = self.folder.join(DOM0);
        dom0::pack_run(&self.stack, &self.image(), jobs, &hide, &image)?;
        let image = fs::canonicalize(&image).on("find", &image)?;
        Ok(Plan {
            stack: self.stack.clone(),
            release: self.release,
            accel: self.accel.clone(),
            modules: vec![(self.stack.linux(), "console=hvc0".to_owned()), (image, String::new())],
            memory_gib: machine::memory_gib(
                jobs.iter().filter_map(|job| job.memory).max().unwrap_or(0),
            ),
            little_low: jobs.iter().any(|job| job.hog.is_some()),
            dom0_memory: 768,
            nic: nic.to_owned(),
            trace: !options.no_trace && !devices.is_empty(),
            devices,
            channels: true,
            label,
        })
    }

    /// The record of the whole run.
    pub(crate) fn record(&self, jobs: Vec<JobRecord>) -> RunRecord {
        let versions = &self.stack.versions;
        RunRecord {
            name: self.name.to_owned(),
            started: self.started.clone(),
            machine: format!(
                "Xen {}, Linux {}, QEMU {} ({}), {}",
                versions.xen,
                versions.linux,
                versions.qemu,
                self.release,
                self.accel.describe()
            ),
            image_bytes: self.image_bytes,
            jobs,
            comparison: None,
        }
    }
}

/// The stripped image's name in the run's folder.
const IMAGE: &str = "pvbounce";
/// dom0's.
const DOM0: &str = "dom0.cpio";

/// Makes a run's folder and leads `runs/latest` to it.
fn run_folder(name: &str) -> Result<PathBuf> {
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

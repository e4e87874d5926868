//! `hotplug`: one domain that starts without a device; then its devices come, work, and go in mid-traffic, again and again.

use std::process::ExitCode;
use std::time::Duration;

use super::workbench::Spread;
use super::{Bench, conclude, smoke};
use crate::cli::Options;
use crate::error::Result;
use crate::job::{Job, OF_NOBODY};
use crate::machine::{Device, Model};

/// The device that comes and goes beside the one that was asked for.
const BESIDE: &str = "nvme";
/// What a round takes at most, with two devices as quick as their emulators.
const ROUND: Duration = Duration::from_secs(20);

pub(super) fn run(options: &Options, rounds: u32) -> Result<ExitCode> {
    let bench = Bench::prepare("hotplug", options)?;
    let (nic, device) = smoke::device(options.device());
    let mut job = job(device, rounds);
    job.limit = options.limit(job.limit.as_secs());
    job.memory = options.memory;
    job.words.extend(options.words());
    job.raw_words.clone_from(&options.cmdline);
    let records = bench.run(options, nic, &[job], Spread::One)?;
    conclude(bench.record(records), &bench)
}

/// The guest whose devices come and go.
pub(super) fn job(device: Option<Device>, rounds: u32) -> Job {
    let mut job = Job::new("hotplug", "hotplug.cfg", device).word(format!("rounds={rounds}"));
    job.hotplug = true;
    // xl detaches by the IOMMU first.
    job.provokes = OF_NOBODY.to_vec();
    job.beside = Model::find(BESIDE)
        .map(Device::Other)
        .filter(|beside| device.is_some_and(|one| one != *beside));
    job.limit = Duration::from_secs(30) + ROUND * rounds;
    job
}

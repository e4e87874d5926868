//! `hog`: two guests in one boot. The first takes the memory below 4 GiB; the second must make do with what is left.

use std::process::ExitCode;
use std::time::Duration;

use super::smoke::DEFAULT_NIC;
use super::workbench::Spread;
use super::{Bench, conclude};
use crate::cli::Options;
use crate::error::Result;
use crate::job::{Hog, Job};
use crate::machine::Device;
use crate::peers::Peers;

/// MiB of the pool that the second guest asks for, and of what the hog leaves.
const ASKED: u32 = 16;
const LEFT: u32 = 6;

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let bench = Bench::prepare("hog", options)?;
    let mut job = job(&Peers::start()?);
    job.raw_words.clone_from(&options.cmdline);
    let records = bench.run(options, DEFAULT_NIC, &[job], Spread::One)?;
    conclude(bench.record(records), &bench)
}

/// The guest that has to make do.
pub(super) fn job(peers: &Peers) -> Job {
    // A run in which the pool came whole proves nothing: the hog did not take the memory.
    let mut job = Job::new("low-memory-taken", "smoke-late.cfg", Some(Device::Nic)).shows(
        "swiotlb",
        "pool_is_started",
        "asked for",
    );
    job.words.extend([format!("swiotlb=late,{ASKED}"), "suite=swiotlb,dma,net".to_owned()]);
    job.words.extend(peers.words());
    job.hog = Some(Hog { memory: 600, leave: LEFT });
    job.limit = Duration::from_secs(120);
    job
}

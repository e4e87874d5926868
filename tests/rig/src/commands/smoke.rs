//! `smoke`: nested Xen, one domain with a passed-through card, all suites.

use std::process::ExitCode;

use super::workbench::Spread;
use super::{Bench, conclude};
use crate::cli::Options;
use crate::error::Result;
use crate::job::Job;
pub(super) use crate::machine::DEFAULT_NIC;
use crate::machine::{Card, Device, Model};
use crate::peers::Peers;
use crate::report::JobRecord;

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let bench = Bench::prepare("smoke", options)?;
    let records = records(&bench, options)?;
    conclude(bench.record(records), &bench)
}

/// One domain with the card that the options name.
pub(super) fn records(bench: &Bench, options: &Options) -> Result<Vec<JobRecord>> {
    let (nic, device) = device(options.device());
    let job = job(options, device, &Peers::start()?);
    bench.run(options, nic, &[job], Spread::One)
}

/// What `--nic` or `--device` means: the card's model, and which device the domain gets.
pub(super) fn device(name: &str) -> (&str, Option<Device>) {
    match name {
        "none" => (DEFAULT_NIC, None),
        "unplugged" => (DEFAULT_NIC, Some(Device::Unplugged)),
        "undriven" => (DEFAULT_NIC, Some(Device::Undriven)),
        "second" | "two-functions" => (DEFAULT_NIC, Some(Device::Second)),
        "behind-bridge" => (DEFAULT_NIC, Some(Device::Bridged)),
        "reporting" => (DEFAULT_NIC, Some(Device::Reporting)),
        "other-bus" => (DEFAULT_NIC, Some(Device::Pullable)),
        "lonely" => (DEFAULT_NIC, Some(Device::LonelyNic)),
        name => match Model::find(name) {
            Some(model) => (DEFAULT_NIC, Some(Device::Other(model))),
            None => (Card::find(name).map_or(name, |card| card.device), Some(Device::Nic)),
        },
    }
}

pub(super) fn job(options: &Options, device: Option<Device>, peers: &Peers) -> Job {
    let config = match (device, options.swiotlb.as_deref()) {
        (None, _) => "no-device.cfg",
        (_, Some("early")) => "smoke-early.cfg",
        _ => "smoke-late.cfg",
    };
    let mut job = Job::new(config.trim_end_matches(".cfg"), config, device);
    job.memory = options.memory;
    job.flat = options.flat && device.is_some();
    job.host_numbers = options.host_numbers;
    job.permissive = options.permissive;
    job.beside = (options.device() == "two-functions").then_some(Device::First);
    job.words.extend(Card::find(options.device()).and_then(|card| card.word).map(str::to_owned));
    job.words.extend(options.words());
    if device.is_some() {
        job.words.extend(peers.words());
    }
    job.raw_words.clone_from(&options.cmdline);
    job.limit = options.limit(device.map_or(90, Device::limit));
    job
}

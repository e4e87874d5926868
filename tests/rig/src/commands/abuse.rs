//! `abuse`, the kill list: what is done to a guest, or to the machine under it, in the middle of its traffic, and the verdict that has
//! to come of it. docs/testing.md says why each verdict is the right one.

use std::process::ExitCode;
use std::time::Duration;

use super::smoke::DEFAULT_NIC;
use super::workbench::Spread;
use super::{Bench, conclude};
use crate::cli::Options;
use crate::error::{Error, Result};
use crate::job::{Abuse, Act, Fault, Job};
use crate::judge::Verdict;
use crate::machine::{Device, E1000E, REPORTING};
use crate::peers::Peers;

/// The guest says this right before its download begins.
const DOWNLOADING: &str = "udp_echo_comes_back";

/// One thing that is done.
struct Case {
    name: &'static str,
    act: Act,
    device: Device,
    verdict: Verdict,
    faults: &'static [Fault],
    either: &'static [Fault],
    may: &'static [Fault],
    /// What Xen may complain of.
    provokes: &'static [&'static str],
    /// Whether it belongs to those that `test` has time for.
    quick: bool,
}

impl Case {
    const fn new(name: &'static str, act: &'static str) -> Self {
        Self {
            name,
            act: Act::Dom0(act),
            device: Device::Nic,
            verdict: Verdict::Success,
            faults: &[],
            either: &[],
            may: &[],
            provokes: &[],
            quick: false,
        }
    }

    /// A card reports an error, by QEMU's name of it.
    const fn reports(
        name: &'static str,
        device: Device,
        card: &'static str,
        error: &'static str,
    ) -> Self {
        Self { act: Act::Report(card, error), device, ..Self::new(name, "") }
    }

    const fn ends(self, verdict: Verdict, faults: &'static [Fault]) -> Self {
        Self { verdict, faults, ..self }
    }

    const fn with_either(self, either: &'static [Fault]) -> Self {
        Self { either, ..self }
    }

    const fn may(self, may: &'static [Fault], provokes: &'static [&'static str]) -> Self {
        Self { may, provokes, ..self }
    }

    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    fn job(&self, peers: &Peers) -> Job {
        let job = Job::new(self.name, "smoke-late.cfg", Some(self.device));
        let mut job = job.expect(self.verdict, self.faults);
        job.either = self.either;
        job.may = self.may;
        job.provokes = self.provokes.to_vec();
        job.words.push("suite=dma,net".to_owned());
        job.words.extend(peers.slow_words());
        job.abuse = Some(Abuse { at: DOWNLOADING, act: self.act });
        job.limit = Duration::from_secs(120);
        job
    }
}

/// A card that is taken away while it writes: whatever of it the driver sees first.
const CARD_GONE: &[Fault] = &[
    ("net.download_is_intact", "device-gone"),
    ("net.download_is_intact", "nic-rx-status"),
    ("net.download_is_intact", "nic-rx-truncated"),
    ("net.download_is_intact", "nic-rx-length"),
    ("net.download_is_intact", "nic-rx-position"),
    ("net.download_is_intact", "nic-bus-error"),
    ("net.download_is_intact", "nic-tx-timeout"),
    ("net.ring_never_broke", "nic-reset"),
    ("net.ring_never_broke", "device-gone"),
    ("close.device_lets_go", "device-gone"),
    // QEMU answers with zeros where a card was, and pciback makes a command register out of all ones.
    ("close.device_lets_go", "pci-bus-master-left"),
];

/// What comes of an error that dom0 hears of.
pub(super) const REPORTED: &[Fault] = &[("close.device_lets_go", "pci-error-report")];

/// All of them. The last two leave a machine on which little or nothing can follow.
const CASES: [Case; 17] = [
    Case::new("paused", "pause"),
    Case::new("told-to-shut-down", "shutdown"),
    Case::new("told-to-reboot", "reboot"),
    Case::new("told-to-save", "save"),
    Case::new("memory-taken", "take_memory"),
    Case::new("xl-killed", "kill_xl").quick(),
    Case { act: Act::Cable, ..Case::new("cable-pulled", "") }
        .ends(Verdict::Inconclusive, &[("net.download_is_intact", "link-down")]),
    Case::new("destroyed", "destroy")
        .ends(Verdict::Crash, &[("rig", "destroyed")])
        .may(CARD_GONE, &["[VT-D]DMAR:"])
        .quick(),
    Case::new("xenconsoled-killed", "kill_xenconsoled")
        .ends(Verdict::Failure, &[("rig", "console-lost")])
        .quick(),
    Case::new("dom0-stopped", "stop_dom0").ends(
        Verdict::Failure,
        &[("close.device_lets_go", "store-no-answer"), ("close.nothing_is_kept", "leak")],
    ),
    Case::new("device-detached", "pci_detach")
        .ends(Verdict::Failure, &[])
        .may(CARD_GONE, &["[VT-D]DMAR:"]),
    // Either the device is still there and nobody takes it back (`xenbus-stuck`), or it is gone (`pci-gone`).
    Case::new("pciback-unbound", "unbind_pciback")
        .ends(Verdict::Failure, &[])
        .with_either(&[
            ("close.device_lets_go", "xenbus-stuck"),
            ("close.device_lets_go", "pci-gone"),
        ])
        .may(CARD_GONE, &["[VT-D]DMAR:"]),
    Case::reports("error-non-fatal", Device::Reporting, REPORTING, "COMP_ABORT")
        .ends(Verdict::Failure, REPORTED),
    Case::reports("error-fatal", Device::Reporting, REPORTING, "DLP")
        .ends(Verdict::Failure, REPORTED)
        .may(CARD_GONE, &["[VT-D]DMAR:"]),
    // Without a port to hear of it.
    Case::reports("error-in-status", Device::Card(&E1000E), E1000E.name, "COMP_ABORT")
        .ends(Verdict::Failure, &[("close.device_lets_go", "pci-status-errors")]),
    Case { device: Device::Pullable, ..Case::new("device-pulled", "pull_device") }
        .ends(Verdict::Failure, &[])
        .may(CARD_GONE, &["[VT-D]DMAR:"]),
    Case::new("xenstored-killed", "kill_xenstored").ends(
        Verdict::Failure,
        &[
            ("close.device_lets_go", "store-no-answer"),
            ("close.nothing_is_kept", "leak"),
            ("rig", "toolstack-stuck"),
            ("rig", "evidence-absent"),
        ],
    ),
];

pub(super) fn run(options: &Options, wanted: &[String]) -> Result<ExitCode> {
    let named =
        |case: &&Case| wanted.is_empty() || wanted.iter().any(|word| case.name.contains(word));
    let cases: Vec<&Case> = CASES.iter().filter(named).collect();
    if cases.is_empty() {
        let known: Vec<_> = CASES.iter().map(|case| case.name).collect();
        return Err(Error::unfit(
            format!("no case is called {}", wanted.join(" or ")),
            format!("use one of {}", known.join(", ")),
        ));
    }
    let bench = Bench::prepare("abuse", options)?;
    let peers = Peers::start()?;
    let mut jobs: Vec<Job> = cases.iter().map(|case| case.job(&peers)).collect();
    jobs.iter_mut().for_each(|job| job.raw_words.clone_from(&options.cmdline));
    let records = bench.run(options, DEFAULT_NIC, &jobs, Spread::Many)?;
    conclude(bench.record(records), &bench)
}

/// Those that leave the machine whole and take little time.
pub(super) fn quick(peers: &Peers) -> Vec<Job> {
    CASES.iter().filter(|case| case.quick).map(|case| case.job(peers)).collect()
}

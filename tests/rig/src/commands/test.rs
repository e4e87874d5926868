//! `test`: the source, the host tests, then each way a nested run can end; as few boots as possible.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use super::at_once::{self, Task};
use super::home::{self, Home};
use super::smoke::DEFAULT_NIC;
use super::workbench::Spread;
use super::{
    Bench, abuse, boards, bundle, check, hog, hotplug, isolated, matrix, pair, place, reasons,
    stick, sweep,
};
use crate::checks::{self, Tally};
use crate::cli::Options;
use crate::error::Result;
use crate::job::{Fault, Job};
use crate::judge::Verdict;
use crate::machine::{CARDS, COM2_LOG, Card, Device, Model, NO_MIRROR, Wire};
use crate::peers::Peers;
use crate::readers;
use crate::report::{self, JobRecord};

/// The promise that the guest stays small: 768 KiB, stripped.
const IMAGE_MAX: u64 = 768 << 10;
/// The job of a board that is looked at twice.
const ALONE: &str = "dom0-home";

pub(super) fn run(options: &Options, deep: bool) -> Result<ExitCode> {
    let mut tally = checks::all()?;
    tally.add(checks::host_tests()?);
    if deep {
        tally.add(super::deep::run(options)?);
    }

    tally.add(matrix::quick(options)?);
    let bench = Bench::prepare("test", options)?;
    let mut records = bench.run(options, DEFAULT_NIC, &domains(&Peers::start()?), Spread::Many)?;
    records.extend(at_once::run(bench.machines, boards(&bench, options))?);
    let image = fs::metadata(bench.image()).map_or(u64::MAX, |image| image.len());
    tally.one(&format!("image of {image} bytes within {IMAGE_MAX}"), image <= IMAGE_MAX);
    // The same report through the other sink that home has: a UART of the guest's own.
    let com2 = bench.folder.join(ALONE).join(COM2_LOG);
    let com2 = fs::read_to_string(com2).unwrap_or_default();
    tally.one("dom0-home on COM2", com2.trim_end().ends_with("Test result: SUCCESS"));
    tally.add(count(&records));
    let unshown = reasons::unshown(&records);
    tally.one(&format!("each job's reason codes {}", unshown.join(", ")), unshown.is_empty());
    let run = bench.record(records);
    let run = report::write(run, &bench.stream)?;
    report::print(&run, &bench.folder);
    if deep {
        tally.add(readers::deep(bench.release, &bench.folder, &run)?);
    }
    check::close(&tally)
}

/// The guest on a board with no Linux on it, each board a machine of its own.
fn boards<'b>(bench: &'b Bench, options: &'b Options) -> Vec<Task<'b, JobRecord>> {
    let homes = [narrow(), alone()].map(|job| (job, Home::USUAL)).into_iter();
    let homes = homes.chain(boards::jobs()).map(|(job, home)| -> Task<'b, JobRecord> {
        Box::new(move || home::boot(bench, &job, home, bench.own_folder(&job.name)?))
    });
    let sticks = stick::QUICK.into_iter().map(|firmware| -> Task<'b, JobRecord> {
        Box::new(move || stick::quick(bench, options, firmware))
    });
    homes.chain(sticks).collect()
}

/// The jobs, one domain each. Those of a machine share one boot of it, so each also shows that the one before left it clean.
fn domains(peers: &Peers) -> Vec<Job> {
    let late = |name: &str, device| {
        let mut job = Job::new(name, "smoke-late.cfg", Some(device));
        job.words.extend(peers.words());
        job.limit = Duration::from_secs(90);
        job
    };
    let bare = |name: &str| Job::new(name, "no-device.cfg", None);

    let mut early = Job::new("smoke-early", "smoke-early.cfg", Some(Device::Nic));
    early.words.extend(peers.words());
    let mut small = late("memory-16", Device::Nic);
    small.memory = Some(16);
    let mut tiny = bare("memory-8");
    tiny.memory = Some(8);
    let mut hang =
        bare("selftest-hang").word("selftest=hang").expect(Verdict::Timeout, &[("rig", "timeout")]);
    hang.limit = Duration::from_secs(10);

    let mut silent = bare("silent-backend")
        .expect(Verdict::Failure, &[("pci.frontend_connects", "xenbus-stuck")]);
    silent.silent_backend = true;

    vec![
        late("smoke-late", Device::Nic),
        early,
        small,
        bare("no-device").shows("swiotlb", "nothing_is_spent_without_need", "0 bytes spent"),
        tiny,
        // The rig's own eyes: what is wrong on purpose has to be seen.
        late("selftest-corrupt", Device::Nic).word("selftest=corrupt").expect(
            Verdict::Failure,
            &[("swiotlb.every_length_and_offset_survives", "swiotlb-byte-mismatch")],
        ),
        bare("selftest-panic").word("selftest=panic").expect(Verdict::Crash, &[("rig", "crash")]),
        hang,
        bare("unknown-option")
            .word("swiotbl=late")
            .expect(Verdict::Error, &[("options.command_line", "option-unknown")]),
        // Machines that lack something: a clear word, and no hang.
        Job::new("not-a-nic", "smoke-late.cfg", model("sdhci"))
            .expect(Verdict::Skip, &[("pci.driver_starts", "no-driver")]),
        late("no-driver", Device::Undriven)
            .expect(Verdict::Skip, &[("pci.driver_starts", "no-driver")]),
        silent,
        late("link-down", Device::Unplugged)
            .expect(Verdict::Inconclusive, &[("net.link_is_up", "link-down")]),
        late("no-dhcp", Device::LonelyNic)
            .expect(Verdict::Inconclusive, &[("net.dhcp_gives_a_lease", "dhcp-timeout")]),
        hog::job(peers),
    ]
    .into_iter()
    .chain(faults())
    .chain(cards(peers))
    .chain(movers())
    .chain(come_and_go().into_iter().chain(isolated::jobs()))
    .chain(pairs())
    .chain(pool_options().into_iter().chain(reasons::jobs()))
    .chain(large(peers))
    .chain(sweep::quick(peers))
    .chain(abuse::quick(peers))
    .chain(bundle::quick())
    .chain([
        // And after all that, the machine still works.
        late("smoke-again", Device::Nic),
    ])
    .collect()
}

/// Those of one guest to which nothing is done but by the words it is told.
pub(super) fn of_one_guest(peers: &Peers) -> Vec<Job> {
    let mut jobs = domains(peers);
    let alone = |job: &Job| job.takes_any_dom0() && job.hog.is_none() && !job.hotplug;
    jobs.retain(|job| alone(job) && job.abuse.is_none() && job.fails.is_none());
    // Of two that go together neither is one.
    let together: Vec<usize> = (0..jobs.len()).filter(|n| jobs[*n].together).collect();
    together.into_iter().rev().for_each(|n| drop(jobs.drain(n.saturating_sub(1)..=n)));
    jobs
}

/// A card, whose receive buffers are mapped whenever it is stopped, and a disk, twice each; and what a round may not keep.
fn come_and_go() -> [Job; 2] {
    let card = CARDS.iter().find(|card| card.name == "e1000e").map(Device::Card);
    let shown = "rounds: 2, devices at once: 2";
    let both = hotplug::job(card, 2).shows("hotplug", "devices_come_work_and_go", shown);
    let mut kept = hotplug::job(model("nvme"), 2).word("selftest=keep-port").expect(
        Verdict::Failure,
        &[("hotplug.devices_come_work_and_go", "hotplug-leak"), ("close.nothing_is_kept", "leak")],
    );
    kept.name = "hotplug-leak".to_owned();
    [both, kept]
}

/// Two guests at once: cards of two kinds on a hub, one of which bounces all and the other nothing; and on a wire that loses,
/// repeats and reorders frames.
fn pairs() -> impl Iterator<Item = Job> {
    let card = |name| Card::find(name);
    let clean = pair::jobs([None, card("e1000e")], Wire::Hub, 4);
    let rough = pair::jobs([card("pcnet"), card("e1000")], Wire::Rough(1), 2);
    clean.into_iter().chain(rough)
}

/// What is said of a byte that came back wrong.
const LOOPED: &str = "dma-byte-mismatch";
/// The checks of suite `dma` that see it.
const EACH_WALK: [Fault; 6] = [
    ("dma.every_length_comes_back", LOOPED),
    ("dma.awkward_offsets_come_back", LOOPED),
    ("dma.straddling_buffers_come_back", LOOPED),
    ("dma.low_buffers_go_direct", LOOPED),
    ("dma.source_is_high_and_dma_address_in_reach", LOOPED),
    ("dma.pool_serves_everywhere", LOOPED),
];

/// A fault on purpose for each comparison, the suite that has to see it, and each check of it that does.
fn faults() -> impl Iterator<Item = Job> {
    const SEEN: [(&str, &str, &[Fault]); 9] = [
        (
            "copyback",
            "swiotlb",
            &[("swiotlb.every_length_and_offset_survives", "swiotlb-copy-back")],
        ),
        (
            "dirty",
            "memory",
            &[
                ("memory.pages_come_zeroed", "memory-not-zeroed"),
                ("memory.exchanged_frames_come_zeroed", "memory-not-zeroed"),
            ],
        ),
        ("keep-port", "boot", &[("close.nothing_is_kept", "leak")]),
        ("leak", "boot", &[("close.nothing_is_kept", "leak")]),
        // What comes after it goes on without.
        (
            "mask-irq",
            "irq,dma",
            &[("irq.intx_interrupts", "irq-lost"), ("irq.best_one_stays", "irq-lost")],
        ),
        ("loopback", "dma", &EACH_WALK),
        ("hide-range", "dma", &[("rig", "dma-outside")]),
        (
            "message",
            "irq",
            &[("irq.msi_interrupts", "irq-message"), ("irq.msix_interrupts", "irq-message")],
        ),
        // Only a run that has a device turns its bus mastering off.
        ("bus-master", "irq", &[("close.device_lets_go", "pci-bus-master-left")]),
    ];
    SEEN.into_iter().map(|(fault, suite, seen)| {
        let device = match (fault, suite) {
            // The first card has none.
            ("message", _) => Card::find("e1000e").map(Device::Card),
            (_, "irq" | "irq,dma" | "dma") => Some(Device::Nic),
            _ => None,
        };
        let config = if device.is_some() { "smoke-late.cfg" } else { "no-device.cfg" };
        let job = Job::new(format!("selftest-{fault}"), config, device)
            .word(format!("suite={suite}"))
            .word(format!("selftest={fault}"))
            .expect(Verdict::Failure, seen);
        match fault {
            // Each frame of the pool's, and each that was traded.
            "dirty" => job.shows("memory", "frames_come_without_others_bytes", "1056 of 1056"),
            _ => job,
        }
    })
}

/// Network cards of other kinds. One that reaches all memory is held to 32 bits, so that each frame has to bounce.
fn cards(peers: &Peers) -> impl Iterator<Item = Job> {
    let kinds = CARDS.iter().map(|card| {
        let job = Job::new(card.name, "smoke-late.cfg", Some(Device::Card(card)));
        if card.name == NO_MIRROR {
            return job.word("suite=irq,dma").expect(
                Verdict::Skip,
                &[
                    ("irq.intx_interrupts", "nic-no-mirror"),
                    ("dma.every_length_comes_back", "nic-no-mirror"),
                ],
            );
        }
        let mut job = job.word("suite=pci,irq,dma,net").word("dma_bits=32");
        job.words.extend(card.word.map(str::to_owned));
        job.words.extend(peers.words());
        job.limit = Duration::from_secs(90);
        job.shows("dma", "every_length_comes_back", "1455 bounced")
    });
    kinds.chain(place::jobs(peers)).chain(wire_first(peers))
}

/// Cards that go to their wire at once, with no reset for a loop before: a link may take its time after a start, and what
/// suite `pci` does must leave the driver as it was.
fn wire_first(peers: &Peers) -> impl Iterator<Item = Job> {
    ["igb", "virtio-net"].into_iter().filter_map(Card::find).map(|card| {
        let name = format!("{}-on-wire", card.name);
        let mut job = Job::new(&name, "smoke-late.cfg", Some(Device::Card(card)));
        job.words.push("suite=pci,net".to_owned());
        job.words.extend(peers.words_for(1 << 20));
        job.limit = Duration::from_secs(90);
        job
    })
}

/// Devices that are no network cards: each moves bytes and interrupts.
fn movers() -> impl Iterator<Item = Job> {
    let job = |name: &str, device| {
        Job::new(name, "smoke-late.cfg", model(device)).word("suite=irq,dma").word("transfers=20")
    };
    // 100 ms for each transfer are QEMU's.
    let mut edu = job("edu", "edu").shows("dma", "every_length_comes_back", "lengths 1 to 4096");
    edu.limit = Duration::from_secs(120);
    let nvme = job("nvme", "nvme")
        .shows("irq", "msix_interrupts", "none masked, 1 unmasked")
        .shows("dma", "every_length_comes_back", "lengths 512 to 65536");
    // Addresses of all 64 bits, where what bounces does so for its place alone; and of 32, where all has to.
    let narrow = job("nvme-32-bits", "nvme").word("dma_bits=32").shows(
        "dma",
        "source_is_high_and_dma_address_in_reach",
        "is beyond a 32-bit mask",
    );
    let corrupt =
        job("nvme-corrupt", "nvme").word("selftest=loopback").expect(Verdict::Failure, &EACH_WALK);
    // It says to have 64 bits, and takes commands from the pool as well.
    let ahci = job("ahci", "ahci")
        .word("dma_bits=32")
        .shows("irq", "msi_interrupts", "none masked, 1 unmasked")
        .shows("dma", "device_reads_memory", "an ATA disk read data from memory")
        .shows("dma", "every_length_comes_back", "lengths 512 to 65536");
    let xhci = job("xhci", "xhci")
        .word("dma_bits=32")
        .shows("irq", "msi_interrupts", "32 for 32 transfers, none masked, 1 unmasked")
        .shows("irq", "msix_interrupts", "32 for 32 transfers, none masked, 1 unmasked")
        .shows("dma", "every_length_comes_back", "lengths 256 to 4096")
        .shows("dma", "source_is_high_and_dma_address_in_reach", "is beyond a 32-bit mask");
    [edu, nvme, narrow, corrupt, ahci, xhci].into_iter()
}

/// A device of the machine's that is no network card.
fn model(name: &str) -> Option<Device> {
    Model::find(name).map(Device::Other)
}

/// What the guest's words about the pool do to a whole run: in as few domains as can tell them apart.
fn pool_options() -> [Job; 4] {
    let job = |name: &str, words: &str| {
        let job = Job::new(name, "smoke-late.cfg", Some(Device::Nic)).word("suite=swiotlb,dma");
        words.split(' ').fold(job, |job, word| job.word(word))
    };
    let way = "source_is_high_and_dma_address_in_reach";
    [
        // Each of the three would go unnoticed in a run that passes without it.
        job("pool-told", "swiotlb=late,1,force,grow dma_bits=28")
            .shows("dma", way, "within a 28-bit mask")
            .shows("dma", way, "bouncing is forced")
            .shows("swiotlb", "own_pool_grows_as_told", "KiB added and back"),
        // No pool, or no leave to use it: the card's buffers lie too high, and the driver says so.
        job("pool-off", "swiotlb=off")
            .expect(Verdict::Error, &[("pci.driver_starts", "dma-no-pool")])
            .shows("swiotlb", "pool_is_started", "swiotlb=off")
            .shows("close", "pool_goes_back", "0 KiB exchanged back"),
        job("pool-noforce", "swiotlb=late,noforce")
            .expect(Verdict::Error, &[("pci.driver_starts", "dma-out-of-mask")])
            .shows("swiotlb", "nothing_is_spent_without_need", "0 bytes spent"),
        // Nobody needs a pool, and yet there is one.
        Job::new("pool-soft", "no-device.cfg", None)
            .word("suite=swiotlb")
            .word("iommu=soft")
            .expect(
                Verdict::Success,
                &[("swiotlb.nothing_is_spent_without_need", "swiotlb-needed")],
            ),
    ]
}

/// Beyond 3 GiB, with the host's memory map and with none: frames move out of the holes, and a late pool is as
/// large as an early one.
fn large(peers: &Peers) -> [Job; 2] {
    let job = |name, moved| {
        let mut job = Job::new(name, "smoke-late.cfg", Some(Device::Nic));
        job.words.extend(peers.words());
        job.memory = Some(5000);
        // Xen takes a page at a time back from a domain: as long as all suites, on a busy host.
        job.limit = Duration::from_secs(180);
        job.shows("memory", "hole_below_4_gib", moved).shows(
            "swiotlb",
            "pool_is_started",
            "late, 65536 KiB",
        )
    };
    let mut flat = job("memory-5000-flat", "hole 0xc0000000-0xffffffff made, 262144 pages moved");
    flat.flat = true;
    [job("memory-5000", "pages moved to"), flat]
}

/// A pool for a device of 24 bits. In this machine only dom0 finds memory below 16 MiB.
fn narrow() -> Job {
    let job = Job::new("dom0-24-bits", "no-device.cfg", None);
    let job =
        job.word("suite=swiotlb").word("iommu=soft").word("dma_bits=24").word(home::NO_DEVICE);
    job.shows("swiotlb", "pool_is_low_and_contiguous", "within a 24-bit mask")
}

/// All that a board is asked without a device, without a memory map and beyond 3 GiB: it has to make a hole of its own.
fn alone() -> Job {
    let mut job = Job::new(ALONE, "no-device.cfg", None);
    job.words.extend([home::WORDS.to_owned(), home::NO_DEVICE.to_owned()]);
    job.memory = Some(5000);
    job
}

fn count(records: &[JobRecord]) -> Tally {
    let mut tally = Tally::default();
    records.iter().for_each(|record| tally.one(&record.name, record.is_as_expected()));
    tally
}

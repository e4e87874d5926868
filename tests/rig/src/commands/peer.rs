//! `bench --peer linux`: the distribution's kernel on the same card in the same session, side by side with our guest.
//!
//! Both are domains of the same config, with the same memory, on the same processor. Both clocks start at the moment
//! before `xl create` and end with a line on the guest's console, as it reaches the rig: so what the toolstack, the
//! console daemon and the serial port take is in both.

use std::fmt;
use std::iter;

use super::smoke;
use crate::artifacts::Stack;
use crate::cli::Options;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::judge::{Problem, Verdict};
use crate::machine::Device;
use crate::peers::Peers;
use crate::report::{ComparisonRecord, FiguresRecord, JobRecord};

/// What the jobs' names start with; how they bounce and a number follow.
const OURS: &str = "pvbounce";
const LINUX: &str = "linux";
/// Everything bounces.
const FORCED: &str = "forced";
/// What the card can't reach, or read from where it lies, bounces.
const NEEDED: &str = "needed";

/// The cards that a Linux guest can be given, and the drivers it has for each: what these need in load order, where a
/// kernel has it apart, then the driver.
const CARDS: [(&str, &[&str]); 7] = [
    ("rtl8139", &["mii", "8139cp"]),
    ("rtl8139-cplus", &["mii", "8139cp"]),
    ("pcnet", &["mii", "pcnet32"]),
    ("e1000", &["e1000"]),
    ("e1000e", &["pps_core", "ptp", "e1000e"]),
    ("igb", &["pps_core", "ptp", "dca", "i2c-algo-bit", "igb"]),
    ("virtio-net", VIRTIO),
];

const VIRTIO: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];

const LEGEND: [&str; 7] = [
    "the median of each guest's runs, which took turns, with the least and the most",
    "from the moment before `xl create` to the line on the guest's console; the download by each guest's own clock, its \
     connection included",
    "the same config, memory, processor and card; both with swiotlb=force, or both without: then what bounces is what each \
     driver's mask leaves out, which for a card of 32 bits is all there is above 4 GiB",
    "ours looks at each byte of the download, Linux at none",
    "pvbounce runs suite `net` and what that needs: DHCP, ARP and all ten pings before the line, 64 UDP echoes before the \
     download",
    "Linux has its address given and pings once; its console is quiet, and no service runs",
    "the end of the domain is not compared: Linux leaves its PCI frontend open, for which libxl waits 10 s",
];

/// Both guests in turns, ours first: one run alone says little on a machine that does other things, too.
pub(super) fn jobs(
    options: &Options,
    stack: &Stack,
    peers: &Peers,
    rounds: u32,
) -> Result<Vec<Job>> {
    // The names that stand for something else than a card with a peer behind it are no card's.
    let drivers = drivers(options.device(), &stack.peer_drivers()?)?;
    let device = Some(Device::Nic);
    let [_, download] = peers.words();

    let mut ours = smoke::job(options, device, peers);
    ours.words.retain(|word| !word.starts_with("suite=") && !word.starts_with("swiotlb="));
    ours.words.push("suite=net".to_owned());
    let mut linux = Job::new(LINUX, "smoke-late.cfg", device);
    linux.memory = options.memory;
    linux.limit = options.limit(90);
    let round = |number| {
        [FORCED, NEEDED]
            .into_iter()
            .flat_map(move |way| [(OURS, way, number), (LINUX, way, number)])
    };
    let asked = options.swiotlb.as_deref().unwrap_or("late").replace(",force", "");
    let job = |(guest, way, number)| {
        let mut job = if guest == OURS { ours.clone() } else { linux.clone() };
        job.name = format!("{guest}-{way}-{number}");
        let force = way == FORCED;
        if guest == OURS {
            job.words.push(format!("swiotlb={asked}{}", if force { ",force" } else { "" }));
        } else {
            let swiotlb = if force { "swiotlb=force " } else { "" };
            // A kernel that panics ends its domain at once, rather than at the limit.
            let words = "console=hvc0 quiet panic=-1";
            job.linux =
                Some(format!("{words} {swiotlb}bounces={way} drivers={drivers} {download}"));
        }
        job
    };
    Ok((1..=rounds).flat_map(round).map(job).collect())
}

/// Whether a record is one of this guest's runs, or of those that bounce in this way.
fn is_of(record: &JobRecord, guest: &str) -> bool {
    record.name.strip_prefix(guest).is_some_and(|rest| rest.starts_with('-'))
}

/// The drivers for a card, as the guest is told them.
fn drivers(nic: &str, there: &[String]) -> Result<String> {
    let Some((_, drivers)) = CARDS.iter().find(|(card, _)| *card == nic) else {
        let cards = CARDS.map(|(card, _)| card).join(" or ");
        return Err(Error::unfit(
            format!("no driver is known that Linux has for --nic {nic}"),
            format!("compare with --nic {cards}"),
        ));
    };
    let is_there = |name: &str| there.iter().any(|known| known == name);
    let frontend = "xen-pcifront";
    let driver = drivers.last().copied().unwrap_or_default();
    // What lacks of the others may be part of these, or of the kernel.
    match [frontend, driver].into_iter().find(|name| !is_there(name)) {
        None => {
            let wanted = iter::once(frontend).chain(drivers.iter().copied());
            Ok(wanted.filter(|name| is_there(name)).collect::<Vec<_>>().join(","))
        }
        Some(lacking) => Err(Error::unfit(
            format!(
                "the kernel packages of this release have no module {lacking}, which {nic} needs"
            ),
            "compare with another --nic, or another --release",
        )),
    }
}

/// What to look at when Linux did not get as far as a report of its own.
pub(super) fn advise(record: &mut JobRecord) {
    if !is_of(record, LINUX) {
        return;
    }
    if let Some(Problem { at, remedy, .. }) = &mut record.problem
        && at == "rig"
    {
        *remedy = format!(
            "guest-{}.log shows how far it came, dom0.log and xen.log what xl and Xen say to it; if it only was slow, raise \
             --timeout",
            record.name
        );
    }
}

/// A run of ours that pinged nobody is no success here, whatever it says of what it did.
pub(super) fn must_ping(record: &mut JobRecord) {
    if !is_of(record, OURS) || record.verdict != Verdict::Success || first_ping(record).is_some() {
        return;
    }
    let net = record.suites.iter().find(|suite| suite.name == "net");
    let reason = net.map_or("it did not run", |suite| &suite.reason);
    let remedy = "compare with a card that both have a driver for: --nic rtl8139";
    record.problem = Some(Problem::rig("not-compared", format!("suite net: {reason}"), remedy));
    record.verdict = Verdict::Skip;
}

/// The two guests side by side; `None` if not both were run.
pub(super) fn compare(records: &[JobRecord]) -> Option<ComparisonRecord> {
    let runs = |guest| records.iter().filter(move |record| is_of(record, guest));
    if runs(OURS).next().is_none() || runs(LINUX).next().is_none() {
        return None;
    }
    let row = |what: &str, way: &str, measured: fn(&JobRecord) -> Option<f64>| {
        let [ours, linux] = [OURS, LINUX].map(|guest| {
            let guest = format!("{guest}-{way}");
            let runs = records.iter().filter(|record| is_of(record, &guest));
            Spread::of(runs.filter_map(measured))
        });
        let ratio = ours.as_ref().zip(linux.as_ref()).filter(|(ours, _)| ours.median > 0.0);
        let ratio = ratio.map(|(ours, linux)| format!("{:.1}", linux.median / ours.median));
        let spreads = [ours, linux].map(|spread| spread.map(|spread| spread.to_string()));
        let cells = spreads.into_iter().chain([ratio]);
        let dash = || "-".to_owned();
        [format!("{what}, {way}")]
            .into_iter()
            .chain(cells.map(|cell| cell.unwrap_or_else(dash)))
            .collect()
    };
    let columns = ["seconds", OURS, "Linux", "Linux/pvbounce"];
    Some(ComparisonRecord {
        figures: FiguresRecord {
            table: "beside Linux".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: vec![
                row("xl create to first ping answer", FORCED, first_ping),
                row("xl create to end of download", FORCED, download_end),
                row("download of 20 MiB", FORCED, download),
                row("download of 20 MiB", NEEDED, download),
            ],
        },
        legend: LEGEND.map(str::to_owned).to_vec(),
    })
}

/// What several runs measured.
#[derive(Clone, Debug)]
struct Spread {
    least: f64,
    /// Of an even number of runs the lower one.
    median: f64,
    most: f64,
}

impl Spread {
    fn of(measured: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = measured.collect();
        all.sort_by(f64::total_cmp);
        let median = *all.get(all.len().checked_sub(1)? / 2)?;
        Some(Self { least: *all.first()?, median, most: *all.last()? })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

/// When a check that passed was reported, whichever of these names the guest has for it.
fn passed(record: &JobRecord, names: [&str; 2]) -> Option<f64> {
    let found = names.iter().find_map(|name| record.check("net", name));
    found.filter(|check| check.verdict == Verdict::Success).map(|check| check.at)
}

const PINGS: [&str; 2] = ["router_answers_10_pings", "router_answers_a_ping"];
const DOWNLOADS: [&str; 2] = ["download_is_intact", "download_is_there"];

fn first_ping(record: &JobRecord) -> Option<f64> {
    passed(record, PINGS)
}

fn download_end(record: &JobRecord) -> Option<f64> {
    passed(record, DOWNLOADS)
}

/// The seconds in `20971520 bytes in 0.153 s`.
fn download(record: &JobRecord) -> Option<f64> {
    download_end(record)?;
    let note = DOWNLOADS.iter().find_map(|name| record.note("net", name))?;
    let (_, took) = note.split_once(" bytes in ")?;
    took.split_once(" s")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::boot::Seen;
    use crate::console::JobEnd;
    use crate::guest::Guest;
    use crate::report::record;

    /// A job's record, from what stood in its report and when.
    fn seen(name: &str, checks: &[(f64, &str)], result: &str) -> JobRecord {
        let told = checks.iter().filter(|(_, line)| line.contains("ok ")).count();
        let plan = &format!("  1..{told}");
        let mut lines = vec![
            (0.5, "KTAP version 1"),
            (0.5, "1..1"),
            (0.5, "  KTAP version 1"),
            (0.5, "  # Subtest: net"),
            (0.5, plan),
        ];
        lines.extend(checks);
        let suite = if result == "SUCCESS" { "ok 1 net" } else { "not ok 1 net # FAILURE" };
        let result = format!("Test result: {result}");
        lines.extend([(99.0, suite), (99.0, &result)]);
        let console = lines.iter().map(|(at, line)| (*at, (*line).to_owned())).collect();
        let end = Some(JobEnd { reason: Some(0), code: Some(0), ..JobEnd::default() });
        let guest = Guest { elf: PathBuf::new() };
        let job = Job::new(name, "smoke-late.cfg", None);
        record(&job, Seen { console, end, ..Seen::default() }, &guest, Path::new("")).unwrap()
    }

    fn ours() -> JobRecord {
        let checks = [
            (2.0, "  ok 1 router_answers_arp # 10.0.2.2 is at 52:55:0a:00:02:02"),
            (2.5, "  ok 2 router_answers_10_pings # 201 to 410 us, 260 on average"),
            (2.75, "  ok 3 download_is_intact # 20971520 bytes in 0.250 s, 83886 kB/s, CRC-32 0"),
        ];
        seen("pvbounce-forced-1", &checks, "SUCCESS")
    }

    fn rows(records: &[JobRecord]) -> Vec<[String; 3]> {
        let rows = compare(records).unwrap().figures.rows;
        rows.iter().map(|row| [1, 2, 3].map(|column| row[column].clone())).collect()
    }

    #[test]
    fn both_guests_words_are_read_and_divided() {
        let checks = [
            (9.0, "  ok 1 card_is_there"),
            (10.0, "  ok 2 router_answers_a_ping # 3.10 s after the kernel's start"),
            (11.0, "  ok 3 download_is_there # 20971520 bytes in 0.90 s"),
        ];
        let linux = seen("linux-forced-1", &checks, "SUCCESS");
        assert_eq!(linux.verdict, Verdict::Success);
        let wanted = [
            ["2.50 (2.50 to 2.50)", "10.00 (10.00 to 10.00)", "4.0"],
            ["2.75 (2.75 to 2.75)", "11.00 (11.00 to 11.00)", "4.0"],
            ["0.25 (0.25 to 0.25)", "0.90 (0.90 to 0.90)", "3.6"],
            ["-", "-", "-"],
        ];
        assert_eq!(rows(&[ours(), linux]), wanted);
    }

    #[test]
    fn what_did_not_pass_is_no_figure() {
        let checks = [
            (9.0, "  ok 1 card_is_there"),
            (39.0, "  # reason: peer-no-answer: 10.0.2.2 did not"),
            (39.0, "  not ok 2 router_answers_a_ping # FAILURE peer-no-answer: 10.0.2.2 did not"),
        ];
        let linux = seen("linux-forced-1", &checks, "FAILURE");
        assert_eq!(linux.verdict, Verdict::Failure);
        assert!(
            rows(&[ours(), linux])[..3]
                .iter()
                .all(|[ours, rest @ ..]| ours != "-" && rest == &["-", "-"])
        );
    }

    #[test]
    fn of_several_runs_the_median_counts_and_the_range_is_told() {
        let spread = |measured: &[f64]| Spread::of(measured.iter().copied()).map(|s| s.to_string());
        assert_eq!(spread(&[3.0, 1.0, 2.0]).unwrap(), "2.00 (1.00 to 3.00)");
        assert_eq!(spread(&[4.0, 1.0]).unwrap(), "1.00 (1.00 to 4.00)");
        assert!(spread(&[]).is_none());
    }

    #[test]
    fn one_guest_alone_is_no_comparison() {
        assert!(compare(&[ours()]).is_none());
    }

    #[test]
    fn a_linux_that_says_nothing_is_looked_for_in_its_log() {
        let mut record = seen("linux-forced-1", &[], "SUCCESS");
        record.problem = Some(Problem::rig("timeout", "no end after 90 s", "the guest's"));
        advise(&mut record);
        assert!(record.problem.unwrap().remedy.contains("guest-linux-forced-1.log"));
        let mut record = ours();
        record.problem = Some(Problem::rig("timeout", "no end after 90 s", "the guest's"));
        advise(&mut record);
        assert_eq!(record.problem.unwrap().remedy, "the guest's");
    }

    #[test]
    fn a_guest_of_ours_that_pinged_nobody_says_why() {
        let mut record = ours();
        must_ping(&mut record);
        assert_eq!(record.verdict, Verdict::Success);
        record.suites[0].checks.clear();
        "no-driver: 8086:100e".clone_into(&mut record.suites[0].reason);
        must_ping(&mut record);
        assert_eq!(record.verdict, Verdict::Skip);
        assert!(record.problem.unwrap().detail.contains("no-driver"));
    }

    #[test]
    fn a_card_without_its_driver_is_refused_by_name() {
        let there = ["xen-pcifront", "e1000"].map(str::to_owned);
        assert_eq!(drivers("e1000", &there).unwrap(), "xen-pcifront,e1000");
        let refused = |nic| drivers(nic, &there).unwrap_err().to_string();
        assert!(refused("rtl8139").contains("no module 8139cp"));
        assert!(refused("virtio-net-alone").contains("--nic virtio-net-alone"));
        assert!(refused("none").contains("--nic none"));
    }

    #[test]
    fn a_linux_guest_gets_its_own_words_and_none_of_ours() {
        let mut job = Job::new(LINUX, "smoke-late.cfg", Some(Device::Nic));
        // Tests do not run in the repository's top folder.
        job.config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&job.config);
        job.linux = Some("console=hvc0".to_owned());
        let lines = job.overrides(&crate::machine::Without::default()).unwrap();
        // In xl's syntax the last line of a key counts.
        let last = |key: &str| lines.iter().rfind(|line| line.starts_with(key)).unwrap();
        assert_eq!(last("extra="), "extra=\"console=hvc0\"");
        assert_eq!(last("kernel="), "kernel=\"/jobs/vmlinuz\"");
    }
}

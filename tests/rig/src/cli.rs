//! The command line: what `./run.sh --help` shows.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::artifacts::{Own, RELEASES, Release};
use crate::dom0::Xenstored;
use crate::error::{Error, Result};
use crate::machine::{DEFAULT_NIC, Iommu, Setting};

/// Does DMA through a passed-through PCI device work on Xen? Boots the guest that finds out.
///
/// Without a command: smoke. Exit codes: 0 SUCCESS, 2 words that can't be read, 3 SKIP, 4 ERROR, 5 FAILURE, 6 CRASH, 7 TIMEOUT, 8 INCONCLUSIVE, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "run.sh", bin_name = "./run.sh", version, max_term_width = 110, after_help = ENVIRONMENT)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How.
    #[command(flatten)]
    pub(crate) options: Options,
}

const ENVIRONMENT: &str = "\
Environment:
  QEMU              another QEMU than the one that is fetched
  PVBOUNCE_MIRROR   another package mirror than the one this host's apt uses
  XDG_CACHE_HOME    where fetched pieces are kept, in pvbounce/ (default ~/.cache)
  NO_COLOR          keeps the table without colours
Each run leaves its logs and reports in runs/, the newest as runs/latest.";

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Boot nested Xen in QEMU, pass a network card through, run the suites in one domain (the default)
    Smoke,
    /// Boot the guest as Xen's only module, without Linux: the suites that need no device, or with --device or --nic all
    Dom0 {
        /// The machine's IOMMU: Intel's with all devices behind it, or with some, AMD's with all, or none. With some there is
        /// another device beside it
        #[arg(long, value_enum, default_value_t)]
        iommu: Iommu,
        /// Xen keeps dom0's devices to dom0's own memory (dom0-iommu=strict), where by default they reach all RAM
        #[arg(long)]
        strict: bool,
    },
    /// Nested Xen with two guests: one takes the memory below 4 GiB, so that the other's bounce pool must halve
    Hog,
    /// Devices come and go while a guest runs, by `xl pci-attach` and `xl pci-detach` in mid-traffic: a card and a disk
    Hotplug {
        /// How often
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rounds: u32,
    },
    /// Two domains with a card each, on one wire: both send to the other at once, and look at each byte that comes. `--nic
    /// A,B` gives them two kinds of cards
    Pair {
        /// How much each sends
        #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
        mib: u32,
        /// The wire drops, repeats and reorders frames, as drawn from this number
        #[arg(long, value_name = "NUMBER")]
        rough: Option<u64>,
    },
    /// Everything: check, host tests, and each way a nested run can end
    Test {
        /// Also Miri, libFuzzer and a sample of the mutants: an hour more, and a nightly compiler
        #[arg(long)]
        deep: bool,
    },
    /// Format, lints for both targets, docs, and the rules that no tool knows
    Check,
    /// Measure mappings, copies, slots and the pool in one domain: tables here and in bench.json
    Bench {
        /// Another guest on the same card in the same session, side by side with ours
        #[arg(long, value_enum)]
        peer: Option<Peer>,
        /// How often each of the two runs in each way
        #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99), requires = "peer")]
        rounds: u32,
    },
    /// The kill list: what is done to a guest and its machine in mid-traffic, and the verdict that has to come of it
    Abuse {
        /// Only the cases whose names have these words
        #[arg(value_name = "CASE")]
        cases: Vec<String>,
    },
    /// Domain after domain in one boot, for as long as told: counts, leaks and drifts
    Soak {
        /// How long
        #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10080))]
        minutes: u32,
        /// What the domains are drawn from; the same number gives the same domains [default: of the time]
        #[arg(long, value_name = "NUMBER")]
        seed: Option<u64>,
    },
    /// Domain after domain, in each of which an operation fails at one more of the guest's call sites (docs/testing.md)
    Sweep {
        /// The first call site
        #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
        from: u32,
        /// The last one; none: all there are
        #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
        to: Option<u32>,
        /// These only, in this order
        #[arg(value_name = "K", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["from", "to"])]
        sites: Vec<u32>,
    },
    /// Releases, devices, IOMMUs, memory and the pool's start in as many runs as it takes for each two of them to meet
    Matrix {
        /// One domain on each Xen, and on the newest Linux and QEMU
        #[arg(long)]
        quick: bool,
        /// Leave out what was a SUCCESS with the same guest in earlier ones, as after a Ctrl-C
        #[arg(long)]
        resume: bool,
    },
    /// Judge runs on other machines by their serial logs: verdict, junit.xml and page as for a run here
    Judge {
        /// A serial log, raw as it came, with one run or several; or one records.jsonl, to make its reports anew
        #[arg(required = true, value_name = "LOG")]
        logs: Vec<PathBuf>,
    },
    /// What a reason code means and what to do, or each one in a log of a guest's console
    Explain {
        /// A code of a report, or a log
        #[arg(required = true, value_name = "CODE|LOG")]
        words: Vec<String>,
    },
    /// Drawn inputs for all that comes from outside, under libFuzzer (docs/testing.md)
    Fuzz {
        /// How long for each target, in place of a number of inputs
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: Option<u64>,
        /// How many inputs for each target
        #[arg(long, default_value_t = 10_000_000, value_name = "N")]
        inputs: u64,
        /// The targets; none: all of tests/fuzz
        targets: Vec<String>,
    },
    /// Changes to the source that some test has to notice (docs/testing.md)
    Mutants {
        /// The files to change, as globs; none: all
        #[arg(long, value_name = "GLOB")]
        file: Vec<String>,
        /// What only the guest has: one image of all of them, and a domain for each
        #[arg(long)]
        nested: bool,
        /// Only so many, drawn from all
        #[arg(long, value_name = "N")]
        sample: Option<usize>,
        /// What the sample is drawn with
        #[arg(long, default_value_t = 1, value_name = "NUMBER")]
        seed: u64,
    },
    /// The same on a real Xen host by ssh: the script there, its words as they come, and table, junit.xml and page here
    Host {
        /// The host's dom0, as ssh knows it; as root, or as somebody who may sudo without a password
        #[arg(value_name = "USER@HOST")]
        host: String,
        /// The devices, as lspci -D writes them; several go into one guest
        #[arg(required = true, value_name = "DEVICE")]
        devices: Vec<String>,
        /// Take a device although something on that host stands on it
        #[arg(long)]
        force: bool,
    },
    /// Build the guest's image
    Build,
    /// Pack what a real Xen host needs into one archive: the guest, a script for dom0, configurations, a guide
    Bundle {
        /// Put its script through its stories in a nested dom0 instead (docs/testing.md)
        #[arg(long)]
        nested: bool,
        /// What the moments are drawn with at which runs are killed [default: of the time]
        #[arg(long, value_name = "NUMBER", requires = "nested")]
        seed: Option<u64>,
        /// Only these stories
        #[arg(value_name = "STORY", requires = "nested")]
        stories: Vec<String>,
    },
    /// Make a boot stick of Xen and the guest, for BIOS and UEFI: no Linux, the verdict on the screen and on the serial line
    Stick {
        /// Boot it in QEMU instead, look at the screen and judge
        #[arg(long, value_enum)]
        boot: Option<Firmware>,
        /// Where a picture of the screen goes, as PNG [default: the run's folder]
        #[arg(long, value_name = "FILE", requires = "boot")]
        picture: Option<PathBuf>,
    },
    /// Print what a shell needs to complete this program's words: source it from the shell's own start file
    Completion {
        /// Whose
        shell: Shell,
    },
    /// Print the manual page: `./run.sh man | man -l -`
    Man,
    /// Run this program with these words, and draw what it prints, line by line as it comes, as a picture (SVG)
    Session {
        /// Where that goes
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The words; none: as without any
        #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Remove build output and runs/
    Clean {
        /// Also remove the fetched pieces
        #[arg(long)]
        cache: bool,
    },
}

/// What a stick is started by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Firmware {
    /// BIOS, from a CD
    Bios,
    /// UEFI, from a USB port
    Uefi,
    /// The same files over the network: BIOS and iPXE
    Ipxe,
}

/// A guest to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// The distribution's kernel, once with everything bounced and once with what has to
    Linux,
}

/// The options of a run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The network card that QEMU plays (rtl8139, which it is unless told otherwise, rtl8139-cplus, e1000, …), or: none; unplugged (no link); lonely (nobody answers);
    /// undriven (a card without a driver); second (a device's second function); two-functions (that and its first); other-bus (behind a port);
    /// reporting (behind a port that hears of its errors); behind-bridge (on a conventional bus)
    #[arg(long, global = true, value_name = "CARD")]
    pub(crate) nic: Option<String>,
    /// The device that QEMU plays, whatever its kind: a card as above, edu (a DMA engine), nvme or ahci (a disk),
    /// xhci (a USB controller), or sdhci (a device without a driver)
    #[arg(long, global = true, value_name = "MODEL", conflicts_with = "nic")]
    pub(crate) device: Option<String>,
    /// When the bounce pool starts: early, late, reserve, off
    #[arg(long, global = true, value_name = "WHEN")]
    pub(crate) swiotlb: Option<String>,
    /// The guest's memory
    #[arg(long, global = true, value_name = "MiB", value_parser = clap::value_parser!(u32).range(4..=8192))]
    pub(crate) memory: Option<u32>,
    /// Attach the device to the paused domain, so that the guest gets no memory map of the host's (no e820_host)
    #[arg(long, global = true)]
    pub(crate) flat: bool,
    /// Show the guest its devices where the host has them, by pciback's `passthrough=1`
    #[arg(long, global = true)]
    pub(crate) host_numbers: bool,
    /// Let the guest write all of its devices' config space, by `permissive=1`
    #[arg(long, global = true)]
    pub(crate) permissive: bool,
    /// The suites to run, as the guest names them
    #[arg(long, global = true, value_name = "LIST")]
    pub(crate) suite: Option<String>,
    /// How long a domain may live
    #[arg(long, global = true, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: Option<u64>,
    /// Further words for the guest's command line, as they are
    #[arg(
        long,
        global = true,
        value_name = "WORDS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) cmdline: String,
    /// The distribution release that Xen, dom0 and QEMU come from
    #[arg(long, global = true, value_name = "NAME", value_parser = releases())]
    pub(crate) release: Option<&'static Release>,
    /// A Xen of one's own in place of the release's: xen.gz, xen or xen-syms
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) xen: Option<PathBuf>,
    /// A kernel of one's own as dom0's: a bzImage
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) dom0_kernel: Option<PathBuf>,
    /// Where its modules are: where they were installed to, or its build tree [default: the tree it is in, else /lib/modules]
    #[arg(long, global = true, value_name = "DIR", requires = "dom0_kernel")]
    pub(crate) dom0_modules: Option<PathBuf>,
    /// Leave out a setting that no real host has: the rig needs none of them (docs/testing.md)
    #[arg(long, global = true, value_enum, value_name = "SETTING", value_delimiter = ',')]
    pub(crate) without: Vec<Setting>,
    /// Which xenstored dom0 has
    #[arg(long, global = true, value_enum, default_value_t, hide_default_value = true)]
    pub(crate) xenstored: Xenstored,
    /// Don't have QEMU note each address the device uses
    #[arg(long, global = true)]
    pub(crate) no_trace: bool,
    /// Use the emulated processor even where KVM works
    #[arg(long, global = true)]
    pub(crate) no_kvm: bool,
    /// How many machines run at the same time, where there are jobs enough [default: one to a core, as far as memory goes, 4 at most]
    #[arg(long, global = true, value_name = "N", value_parser = machines())]
    pub(crate) machines: Option<usize>,
    /// Boot Xen and dom0, although a machine of the same make is kept that is ready
    #[arg(long, global = true)]
    pub(crate) cold: bool,
    /// Boot this image instead of building one
    #[arg(long, global = true, value_name = "ELF")]
    pub(crate) guest: Option<PathBuf>,
}

/// At least one, and not so many that a slip takes the host down.
fn machines() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u8).range(1..=64).map(usize::from)
}

/// The releases by their names.
fn releases() -> impl TypedValueParser<Value = &'static Release> {
    PossibleValuesParser::new(RELEASES.iter().map(|release| release.name))
        .try_map(|name| Release::find(&name).ok_or("no release of this name"))
}

impl Options {
    /// The release asked for, or the host's.
    pub(crate) fn release(&self) -> Result<&'static Release> {
        self.release.map_or_else(Release::of_host, Ok)
    }

    /// What of Xen and dom0 is the user's own.
    pub(crate) fn own(&self) -> Own<'_> {
        Own {
            xen: self.xen.as_deref(),
            kernel: self.dom0_kernel.as_deref(),
            modules: self.dom0_modules.as_deref(),
        }
    }

    /// The device asked for, by whichever option.
    pub(crate) fn device(&self) -> &str {
        self.asked_for().unwrap_or(DEFAULT_NIC)
    }

    /// The same, if one was asked for.
    pub(crate) fn asked_for(&self) -> Option<&str> {
        self.device.as_deref().or(self.nic.as_deref())
    }

    /// The time a domain may live.
    pub(crate) fn limit(&self, default: u64) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(default))
    }

    /// The guest's words for `--suite` and `--swiotlb`.
    pub(crate) fn words(&self) -> Vec<String> {
        let suite = self.suite.iter().map(|list| format!("suite={list}"));
        let swiotlb = self.swiotlb.iter().map(|when| format!("swiotlb={when}"));
        suite.chain(swiotlb).collect()
    }

    /// Fails if the guest would not understand its words: to hear that from the guest itself takes a boot. An image that is not
    /// built here may know others.
    pub(crate) fn check_words(&self) -> Result {
        let words = [self.words().join(" "), self.cmdline.clone()].join(" ");
        match protocol::options::Options::parse(&words) {
            Err(error) if self.guest.is_none() => Err(Error::unfit(
                format!("{}: {error}", error.code()),
                "see docs/suites.md, or README on --suite and --cmdline",
            )),
            _ => Ok(()),
        }
    }
}

//! A Xen host made of files: what host/pvbounce.sh reads of sysfs and procfs, and a toolstack that it can call.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::child;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/pvbounce.sh");
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xl-configs/smoke-late.cfg");
const XL: &str = include_str!("xl.sh");

/// Two suites that passed.
pub(crate) const GOOD: &str = "\
KTAP version 1
1..2
  # Subtest: boot
  1..2
  ok 1 start_info # 65536 pages
  ok 2 com1 # SKIP no-com-port: none
ok 1 boot
  # Subtest: dma
  1..1
  ok 1 every_length_comes_back # 1455 transfers
ok 2 dma
Test result: SUCCESS
";

/// The shells that are here, of those that a host may have as its sh.
pub(crate) fn shells() -> Vec<Vec<&'static str>> {
    let known = [vec!["sh"], vec!["dash"], vec!["busybox", "sh"], vec!["bash", "--posix"]];
    let there = |shell: &Vec<&str>| {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", "true"]).output().is_ok_and(|o| o.status.success())
    };
    known.into_iter().filter(there).collect()
}

/// What a run of the script came to.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// All that it said.
    pub(crate) text: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = [&output.stdout[..], &output.stderr].concat();
        Self { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }
}

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    folder: TempDir,
    shell: Vec<&'static str>,
}

impl Host {
    /// One with Xen, an IOMMU and pciback, and without devices.
    pub(crate) fn new() -> Self {
        Self::with(vec!["sh"])
    }

    /// The same, with this as its shell.
    pub(crate) fn with(shell: Vec<&'static str>) -> Self {
        let host = Self { folder: TempDir::new().unwrap(), shell };
        for folder in ["bundle here/xl-configs", "bin", "state", "sys/bus/pci/devices"] {
            fs::create_dir_all(host.at(folder)).unwrap();
        }
        fs::copy(SCRIPT, host.at("bundle here/pvbounce")).unwrap();
        fs::copy(CONFIG, host.at("bundle here/xl-configs/smoke-late.cfg")).unwrap();
        host.program("xl", XL);
        host.program("id", "#!/bin/sh\necho 0\n");
        host.program("modprobe", "#!/bin/sh\n");
        host.file("sys/hypervisor/type", "xen\n");
        host.file("proc/xen/capabilities", "control_d\n");
        host.file(
            "proc/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n",
        );
        host.file("proc/net/ipv6_route", "");
        host.file("proc/self/mountinfo", "22 1 0:21 / /sys rw - sysfs sysfs rw\n");
        host.file("proc/swaps", "Filename Type Size Used Priority\n");
        host.file(
            "state/info",
            "xen_version            : 4.20.3\nvirt_caps              : pv pv_directio\n",
        );
        host.file("state/console", GOOD);
        host.file("state/state", "---s--\n");
        host.file("state/dmesg", "(XEN) Xen version\n");
        fs::create_dir_all(host.at("sys/bus/pci/drivers/pciback")).unwrap();
        host
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    pub(crate) fn program(&self, name: &str, text: &str) {
        self.file(&format!("bin/{name}"), text);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.at(&format!("bin/{name}")), mode).unwrap();
    }

    /// A link in the tree that plays sysfs, from one of its paths to another.
    pub(crate) fn link(&self, from: &str, to: &str) {
        let from = self.at(&format!("sys/{from}"));
        fs::create_dir_all(from.parent().unwrap()).unwrap();
        symlink(self.at(&format!("sys/{to}")), from).unwrap();
    }

    /// A device with a driver: its place in the tree.
    pub(crate) fn device(&self, bdf: &str, class: &str, driver: &str) -> String {
        let place = format!("devices/pci0000:00/0000:00:1c.0/{bdf}");
        let mut config = [0; 64];
        config[61] = 1;
        for (name, text) in
            [("vendor", "0x10ec"), ("device", "0x8168"), ("class", class), ("irq", "17")]
        {
            self.file(&format!("sys/{place}/{name}"), format!("{text}\n"));
        }
        self.file(&format!("sys/{place}/config"), config);
        self.link(&format!("bus/pci/devices/{bdf}"), &place);
        self.bind(bdf, driver);
        place
    }

    fn bind(&self, bdf: &str, driver: &str) {
        if !driver.is_empty() {
            fs::create_dir_all(self.at(&format!("sys/bus/pci/drivers/{driver}"))).unwrap();
            self.link(
                &format!("bus/pci/devices/{bdf}/driver"),
                &format!("bus/pci/drivers/{driver}"),
            );
        }
    }

    /// A network card with this interface.
    pub(crate) fn card(&self, bdf: &str, interface: &str) -> String {
        let place = self.device(bdf, "0x020000", "r8169");
        self.file(&format!("sys/{place}/net/{interface}/mtu"), "1500\n");
        self.link(&format!("class/net/{interface}"), &format!("{place}/net/{interface}"));
        place
    }

    /// A disk with one partition, which is block device 259:1.
    pub(crate) fn disk(&self, bdf: &str) -> String {
        let place = self.device(bdf, "0x010802", "nvme");
        let disk = format!("{place}/nvme/nvme0/nvme0n1");
        self.file(&format!("sys/{disk}/nvme0n1p1/partition"), "1\n");
        self.link("class/block/nvme0n1", &disk);
        self.link("class/block/nvme0n1p1", &format!("{disk}/nvme0n1p1"));
        self.link("dev/block/259:1", &format!("{disk}/nvme0n1p1"));
        disk
    }

    pub(crate) fn driver(&self, bdf: &str) -> String {
        let link = fs::read_link(self.at(&format!("sys/bus/pci/devices/{bdf}/driver")));
        link.map_or(String::new(), |to| to.file_name().unwrap().to_string_lossy().into_owned())
    }

    /// What was asked of xl, but for what changes nothing.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("state/calls")).unwrap_or_default();
        let looks = ["info", "list", "domid", "dmesg", "pci-assignable-list"];
        let acts = text.lines().filter(|call| !looks.contains(&call.split(' ').next().unwrap()));
        acts.map(|call| call.split(['/', ' ']).next().unwrap().to_owned()).collect()
    }

    /// An ssh that gets to this host, whatever it is called.
    pub(crate) fn ssh(&self) -> PathBuf {
        let [bin, state, sys, proc] = ["bin", "state", "sys", "proc"].map(|name| self.at(name));
        let [bin, state, sys, proc] =
            [bin, state, sys, proc].map(|path| path.display().to_string());
        self.program(
            "ssh",
            &format!(
                "#!/bin/sh\nalive='-o ServerAliveInterval=15 -o ServerAliveCountMax=4'\n\
                 [ \"$1 $2 $3 $4 $5 $6\" = \"$alive -T root@host\" ] || exit 255\nshift 4\n\
                 export PATH='{bin}:'$PATH STATE='{state}' SYS='{sys}' PVBOUNCE_TEST_SYS='{sys}' \
                 PVBOUNCE_TEST_PROC='{proc}' TMPDIR='{state}'\nexec sh -c \"$3\"\n"
            ),
        );
        self.at("bin/ssh")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.shell[0]);
        command.args(&self.shell[1..]).arg(self.at("bundle here/pvbounce")).args(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.at("bin").display()));
        command.env("STATE", self.at("state")).env("SYS", self.at("sys"));
        command.env("PVBOUNCE_TEST_SYS", self.at("sys")).env("PVBOUNCE_TEST_PROC", self.at("proc"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the script to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        Said::of(&self.command(words).output().unwrap())
    }

    /// The same with another program for its xl.
    pub(crate) fn run_by(&self, xl: &str, words: &[&str]) -> Said {
        Said::of(&self.command(words).env("PVBOUNCE_TEST_XL", xl).output().unwrap())
    }

    /// Starts the script.
    pub(crate) fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdin(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until xl was asked for this.
    pub(crate) fn await_call(&self, call: &str) {
        let start = Instant::now();
        while !self.calls().iter().any(|known| known == call) {
            assert!(start.elapsed() < Duration::from_secs(20), "no xl {call}: {:?}", self.calls());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The one folder of logs that the run left.
    pub(crate) fn logs(&self) -> PathBuf {
        let runs = fs::read_dir(self.at("bundle here/runs")).unwrap();
        let mut runs: Vec<_> = runs.map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs.pop().unwrap()
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.logs().join(name)).unwrap_or_default()
    }
}

/// Tells a process a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    child::signal(name, &child.id().to_string()).unwrap();
}

/// Waits for a process's end.
pub(crate) fn ended(child: Child) -> Said {
    Said::of(&child.wait_with_output().unwrap())
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

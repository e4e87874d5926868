//! One job: one domain, created from one xl config with a few lines overridden, and what should come of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::dom0;
use crate::error::{Context, Error, Result};
use crate::judge::Verdict;
use crate::machine::{Device, Without};

/// One domain to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its name in the table and in the names of its files.
    pub(crate) name: String,
    /// The xl config, one of `xl-configs/`.
    pub(crate) config: PathBuf,
    /// Which of the machine's devices it gets; none: whatever the config says is taken out.
    pub(crate) device: Option<Device>,
    /// A second one that it gets, too.
    pub(crate) beside: Option<Device>,
    /// The domain's memory in MiB; none: what the config says.
    pub(crate) memory: Option<u32>,
    /// Words for the guest that replace those of the config with the same key.
    pub(crate) words: Vec<String>,
    /// Words appended as they are, even if they make no sense.
    pub(crate) raw_words: String,
    /// Whether it gets the store nodes of a PCI device whose backend does not exist, so never answers.
    pub(crate) silent_backend: bool,
    /// Whether it gets its device only once it is made, so that its memory map is flat, as without `e820_host`:
    /// xl gives each PV domain with `pci=` the host's.
    pub(crate) flat: bool,
    /// Whether it sees its devices where the host has them, not on a bus 0 of its own: pciback's `passthrough=1`.
    pub(crate) host_numbers: bool,
    /// pciback lets every write through.
    pub(crate) permissive: bool,
    /// Whether it has no device when it starts, and is given its devices and rid of them as it asks for that.
    pub(crate) hotplug: bool,
    /// The distribution's kernel runs instead of our guest, with these words and none of ours.
    pub(crate) linux: Option<String>,
    /// A second guest beside it, which takes the low memory first.
    pub(crate) hog: Option<Hog>,
    /// Its domain lives at the same time as that of the job before it, and what it says is told afterwards.
    pub(crate) together: bool,
    /// What is done to the guest while it runs.
    pub(crate) abuse: Option<Abuse>,
    /// The script for a real host starts the guest, in place of xl.
    pub(crate) bundle: Option<Story>,
    /// The call site at which the guest is to have an operation fail.
    pub(crate) fails: Option<u32>,
    /// How long the domain may live.
    pub(crate) limit: Duration,
    /// What has to come of it: a test of the rig's own eyes. `None`: SUCCESS is good, all else is not.
    pub(crate) expect: Option<Verdict>,
    /// What has to go wrong, and nothing else may, so that the verdict is not right by accident.
    pub(crate) faults: &'static [Fault],
    /// Of these at least one has to come.
    pub(crate) either: &'static [Fault],
    /// What else may come of it, and need not.
    pub(crate) may: &'static [Fault],
    /// What Xen says of it that is no complaint in this job: parts of lines.
    pub(crate) provokes: Vec<&'static str>,
    /// What checks have to say for the run to have shown anything: an option without effect spoils no check.
    pub(crate) shows: Vec<Shown>,
}

/// What Xen says of a device that is at something when it is taken from its owner: refused, as it should be, and for no other
/// reason than that the device is nobody's.
pub(crate) const OF_NOBODY: [&str; 3] = [
    "DMAR:[DMA Read] Request device [",
    "DMAR:[DMA Write] Request device [",
    "reason 02 - Present bit in context entry is clear",
];

/// A check that does not pass, as `suite.check`, or `rig` or `guest` for what no check says; and its reason code.
pub(crate) type Fault = (&'static str, &'static str);

/// Words in what a check of the guest notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// The suite.
    pub(crate) suite: &'static str,
    /// The check.
    pub(crate) check: &'static str,
    /// The words.
    pub(crate) words: &'static str,
}

/// What is done to a running guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abuse {
    /// When: as soon as a line on its console has these words.
    pub(crate) at: &'static str,
    /// What.
    pub(crate) act: Act,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// dom0, by this function of its `abuse.sh`.
    Dom0(&'static str),
    /// The machine: it pulls the network cable.
    Cable,
    /// The machine: a device of PCI Express reports an error, both by QEMU's names.
    Report(&'static str, &'static str),
}

/// What the script for a real host is put through, by a function of dom0's `bundle.sh`; then it runs the guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// The function.
    pub(crate) name: &'static str,
    /// The script's arguments in front of the devices.
    pub(crate) arguments: &'static str,
    /// Signals, and the seconds after its start at which they come.
    pub(crate) moments: Vec<(&'static str, f64)>,
    /// How it gets in who comes by ssh.
    pub(crate) door: Option<Door>,
}

/// How ssh gets to dom0: by a card that dom0 keeps.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// The port of the loopback interface that leads to its sshd.
    pub(crate) port: u16,
    /// The public key of who may come.
    pub(crate) key: String,
}

impl Story {
    /// What dom0 reads of it, with the exit code that the run has to have.
    pub(crate) fn lines(&self, code: u8) -> String {
        format!("{}\n{code}\n{}\n", self.name, self.arguments)
    }

    /// The moments, a line each.
    pub(crate) fn moments(&self) -> String {
        self.moments.iter().map(|(signal, at)| format!("{signal} {at:.1}\n")).collect()
    }
}

/// A guest that takes all memory below 4 GiB but some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hog {
    /// Its memory in MiB: more than the machine has below 4 GiB.
    pub(crate) memory: u32,
    /// The MiB it leaves.
    pub(crate) leave: u32,
}

impl Hog {
    /// Its xl config, one of `xl-configs/`.
    pub(crate) const CONFIG: &str = "xl-configs/no-device.cfg";

    /// The lines that follow the config's own. It is told to end, in time or never.
    pub(crate) fn overrides(self) -> String {
        let Self { memory, leave } = self;
        let kernel = dom0::GUEST;
        format!(
            "name=\"hog\"\nkernel=\"{kernel}\"\nextra=\"suite=hog hog=600,{leave}\"\ncpus=\"1\"\nmemory={memory}\n"
        )
    }
}

impl Job {
    /// A job that runs a config as it is.
    pub(crate) fn new(name: impl Into<String>, config: &str, device: Option<Device>) -> Self {
        Self {
            name: name.into(),
            config: PathBuf::from("xl-configs").join(config),
            device,
            beside: None,
            memory: None,
            // Dom0's init takes the device back when the guest says it is done with it.
            words: device.map(|_| "detach=10".to_owned()).into_iter().collect(),
            raw_words: String::new(),
            silent_backend: false,
            flat: false,
            host_numbers: false,
            permissive: false,
            hotplug: false,
            linux: None,
            hog: None,
            together: false,
            abuse: None,
            bundle: None,
            fails: None,
            limit: Duration::from_secs(60),
            expect: None,
            faults: &[],
            either: &[],
            may: &[],
            provokes: Vec::new(),
            shows: Vec::new(),
        }
    }

    /// The same job with a word for the guest.
    pub(crate) fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// The same job, but the operation at this call site of the guest's fails, and what comes of it is judged by that.
    pub(crate) fn fails(mut self, site: u32) -> Self {
        self.fails = Some(site);
        self.word(format!("selftest=fail:{site}"))
    }

    /// Whether dom0 does this to its guest.
    pub(crate) fn does(&self, abuse: &'static str) -> bool {
        self.abuse.is_some_and(|known| known.act == Act::Dom0(abuse))
    }

    /// The same job, but something else than SUCCESS is right: each of these has to come, and nothing worse than a
    /// SKIP beside them.
    pub(crate) fn expect(mut self, verdict: Verdict, faults: &'static [Fault]) -> Self {
        self.expect = Some(verdict);
        self.faults = faults;
        self
    }

    /// The same job, but it shows nothing unless this check notes these words.
    pub(crate) fn shows(
        mut self,
        suite: &'static str,
        check: &'static str,
        words: &'static str,
    ) -> Self {
        self.shows.push(Shown { suite, check, words });
        self
    }

    /// The bytes of memory that the domain is given; `None` if its config does not say.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let configured = || number_value(&fs::read_to_string(&self.config).ok()?, "memory");
        self.memory.or_else(configured).map(|mib| u64::from(mib) << 20)
    }

    /// The lines that follow the config's own; in xl's syntax the last one of a key counts.
    pub(crate) fn overrides(&self, without: &Without) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.config).on("read", &self.config)?;
        let Some(extra) = quoted_value(&text, "extra") else {
            return Err(Error::unfit(
                format!("{} has no line extra = \"...\"", self.config.display()),
                "add one: the guest's words go there",
            ));
        };
        let name = if self.together { "partner" } else { "guest" };
        let mut lines = vec![
            format!("name=\"{name}\""),
            format!("kernel=\"{}\"", dom0::GUEST),
            format!("extra=\"{}\"", self.command_line(extra)),
        ];
        lines.extend(without.xl());
        match self.device {
            Some(_) if self.flat || self.hotplug => {
                lines.extend(["pci=[]", "passthrough=\"enabled\""].map(str::to_owned));
            }
            Some(_) => {
                let more = if self.permissive { ",permissive=1" } else { "" };
                let quoted: Vec<_> =
                    self.devices().map(|d| format!("\"{}{more}\"", d.bdf())).collect();
                lines.push(format!("pci=[{}]", quoted.join(", ")));
            }
            None => lines.push("pci=[]".to_owned()),
        }
        lines.extend(self.memory.map(|mib| format!("memory={mib}")));
        if let Some(words) = &self.linux {
            let [kernel, files] = dom0::LINUX;
            lines.extend([format!("kernel=\"{kernel}\""), format!("ramdisk=\"{files}\"")]);
            lines.push(format!("extra=\"{words}\""));
        }
        Ok(lines)
    }

    /// Whether it wants nothing of its dom0 that others do not.
    pub(crate) fn takes_any_dom0(&self) -> bool {
        self.bundle.is_none() && self.linux.is_none() && !self.does("save")
    }

    /// Whether ssh gets to its dom0.
    pub(crate) fn has_door(&self) -> bool {
        self.bundle.as_ref().is_some_and(|story| story.door.is_some())
    }

    /// The machine's devices that it gets.
    pub(crate) fn devices(&self) -> impl Iterator<Item = Device> {
        self.device.into_iter().chain(self.beside)
    }

    fn command_line(&self, extra: &str) -> String {
        let key = |word: &str| word.split_once('=').map_or(word, |(key, _)| key).to_owned();
        let ours: Vec<String> = self.words.iter().map(|word| key(word)).collect();
        let kept = extra.split_whitespace().filter(|word| !ours.contains(&key(word)));
        let words: Vec<&str> = kept.chain(self.words.iter().map(String::as_str)).collect();
        [words.join(" "), self.raw_words.clone()].join(" ").trim().to_owned()
    }
}

/// The value of a line `key = 123` of an xl config.
fn number_value(text: &str, key: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?;
        value.split('#').next()?.trim().parse().ok()
    })
}

/// The value of a line `key = "value"` of an xl config.
fn quoted_value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim_start();
        value.strip_prefix('"')?.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_replace_those_with_the_same_key() {
        let job = Job::new("x", "smoke-late.cfg", None).word("swiotlb=early").word("echo=1");
        assert_eq!(
            job.command_line("suite=smoke swiotlb=late"),
            "suite=smoke swiotlb=early echo=1"
        );
    }

    #[test]
    fn a_flat_job_has_its_device_not_from_its_config() {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xl-configs/smoke-late.cfg");
        let mut job = Job { config: config.into(), ..Job::new("x", "", Some(Device::Nic)) };
        assert!(
            job.overrides(&Without::default())
                .unwrap()
                .iter()
                .any(|line| line.starts_with("pci=[\"0000:"))
        );
        job.flat = true;
        let lines = job.overrides(&Without::default()).unwrap();
        assert!(lines.iter().any(|line| line == "pci=[]"));
        assert!(lines.iter().any(|line| line == "passthrough=\"enabled\""));
    }

    #[test]
    fn a_permissive_job_says_so_of_each_device() {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xl-configs/smoke-late.cfg");
        let job = Job { config: config.into(), ..Job::new("x", "", Some(Device::Nic)) };
        let lines = |job: &Job| job.overrides(&Without::default()).unwrap().join("\n");
        let said = |job: &Job| lines(job).contains(".0,permissive=1\"]");
        assert!(said(&Job { permissive: true, ..job.clone() }) && !said(&job));
    }

    #[test]
    fn raw_words_come_last_and_replace_nothing() {
        let mut job = Job::new("x", "smoke-late.cfg", None);
        job.raw_words = "swiotlb=twice".to_owned();
        assert_eq!(job.command_line("swiotlb=late"), "swiotlb=late swiotlb=twice");
    }

    #[test]
    fn values_are_found_among_comments() {
        let text = "# extra = \"no\"\nextra = \"suite=smoke\" # yes\n";
        assert_eq!(quoted_value(text, "extra"), Some("suite=smoke"));
        assert_eq!(quoted_value(text, "memory"), None);
        let text = "# memory = 1\nmemory = 256 # MiB\n";
        assert_eq!(number_value(text, "memory"), Some(256));
        assert_eq!(number_value(text, "maxmem"), None);
    }
}

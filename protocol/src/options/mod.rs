//! The guest's command line, parsed once into a struct.
//!
//! Words are `name=value`, separated by blanks. A word this guest does not know is an error that lists
//! the ones it does: a test that ran with half its options would prove something else.

mod choice;
mod size;

pub use choice::{DRIVERS, FunctionSet, SUITES, SuiteSet};
pub use size::{DmaBits, PoolSize, SLOT_SIZE};

use core::{fmt, net::SocketAddrV4, time::Duration};

/// When the bounce pool is started, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolStart {
    /// From the first free frames, before there is a heap.
    Early,
    /// From the page allocator, when a device has turned up.
    Late,
    /// From pages set aside early and exchanged when a device has turned up; given back if none does.
    Reserve,
    /// Never: what can't go direct can't go at all.
    Off,
}

/// Which buffers are bounced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bouncing {
    /// Those that won't do themselves.
    Needed,
    /// All of them.
    Forced,
    /// None: what can't go direct fails and says why.
    Never,
}

/// One end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that listens.
    A,
    /// The one that connects.
    B,
}

impl End {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// A deliberate fault, to see that it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfTest {
    /// A device that the CPU plays reads a byte that was not sent.
    Corrupt,
    /// A byte that such a device wrote does not come back.
    CopyBack,
    /// A frame that the card loops back has a wrong byte.
    Loopback,
    /// Pages are soiled instead of wiped.
    Dirty,
    /// Memory that the device uses is not reported: only the rig can see that.
    HideRange,
    /// What a device reaches is told as blocked, and what it does not as reached.
    Isolation,
    /// The device's interrupt is masked after a few frames.
    MaskIrq,
    /// The device's messages go to memory, as its capability or table reads.
    Message,
    /// Turning bus mastering off has no effect.
    BusMaster,
    /// An event channel is kept.
    KeepPort,
    /// A frame is kept.
    Leak,
    /// The guest panics: CRASH.
    Panic,
    /// The guest stops answering: TIMEOUT.
    Hang,
    /// An operation on Xen or the store fails, at the call site of this number.
    Fail(u32),
}

impl SelfTest {
    /// Each with its word, except [`SelfTest::Fail`], whose word has a number.
    const WORDS: [(&str, Self); 13] = [
        ("corrupt", Self::Corrupt),
        ("copyback", Self::CopyBack),
        ("loopback", Self::Loopback),
        ("dirty", Self::Dirty),
        ("hide-range", Self::HideRange),
        ("isolation", Self::Isolation),
        ("mask-irq", Self::MaskIrq),
        ("message", Self::Message),
        ("bus-master", Self::BusMaster),
        ("keep-port", Self::KeepPort),
        ("leak", Self::Leak),
        ("panic", Self::Panic),
        ("hang", Self::Hang),
    ];

    fn parse(word: &str) -> Option<Self> {
        if let Some(site) = word.strip_prefix("fail:") {
            return site.parse().ok().filter(|site| *site > 0).map(Self::Fail);
        }
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, fault)| *fault)
    }
}

/// What suite `hog` takes from the other guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hog {
    /// How long it holds what it took, unless it is told to shut down before.
    pub hold: Duration,
    /// Bytes of low memory that it leaves.
    pub leave: usize,
}

/// Where the download comes from, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Download {
    /// The HTTP server.
    pub server: SocketAddrV4,
    /// Bytes to ask for.
    pub bytes: u32,
}

/// Which of two guests on one wire this is, and how much each sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The one or the other.
    pub end: End,
    /// Bytes each way.
    pub bytes: u64,
}

/// Everything that can be said on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which suites run.
    pub suites: SuiteSet,
    /// Which functions they test.
    pub functions: FunctionSet,
    /// The driver to prefer, of those that drive a device.
    pub driver: Option<&'static str>,
    /// When the pool starts.
    pub swiotlb: PoolStart,
    /// The pool's size; `None` for a sixteenth of the domain, between 1 and 64 MiB.
    pub pool_size: Option<PoolSize>,
    /// Which buffers bounce.
    pub bouncing: Bouncing,
    /// Whether a full pool may grow.
    pub grow: bool,
    /// Whether there is a pool even where nothing needs one.
    pub soft_iommu: bool,
    /// The address lines that the device is held to, if they are fewer than its own.
    pub dma_bits: Option<DmaBits>,
    /// What suite `hog` does.
    pub hog: Hog,
    /// How many transfers each walk of suite `dma` makes at most, about; `None` for as many as there are.
    pub transfers: Option<usize>,
    /// How often devices come and go in suite `hotplug`.
    pub rounds: u32,
    /// A deliberate fault.
    pub selftest: Option<SelfTest>,
    /// How long the toolstack has to take the device back at the end; `None` for not asking it to.
    pub detach: Option<Duration>,
    /// A UDP echo server.
    pub echo: Option<SocketAddrV4>,
    /// An HTTP server with `GET /<bytes>`.
    pub download: Option<Download>,
    /// What suite `pair` does.
    pub pair: Option<Pair>,
    /// Whether dom0 waits with its page on the screen until a key is pressed.
    pub stay: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            suites: SuiteSet::SMOKE,
            functions: FunctionSet::default(),
            driver: None,
            swiotlb: PoolStart::Late,
            pool_size: None,
            bouncing: Bouncing::Needed,
            grow: false,
            soft_iommu: false,
            dma_bits: None,
            hog: Hog { hold: Duration::from_secs(30), leave: 0 },
            transfers: None,
            rounds: 1,
            selftest: None,
            detach: None,
            echo: None,
            download: None,
            pair: None,
            stay: false,
        }
    }
}

/// The word that says what dom0 does once there is a verdict.
const END: &str = "end";
/// What it then does not do at once.
const STAY: &str = "stay";

/// Whether a command line says to stay, if it can be followed or not: whoever stands before the screen is to see why not.
pub fn stays(command_line: &str) -> bool {
    let words = command_line.split_ascii_whitespace().rev();
    let mut words = words.filter_map(|word| word.split_once('='));
    words.find(|(name, _)| *name == END).is_some_and(|(_, value)| value == STAY)
}

/// Name and accepted values of every option, for messages; README has the same in a table.
pub const KNOWN: [(&str, &str); 16] = [
    (
        "suite",
        "smoke, or any of boot,memory,swiotlb,board,pci,irq,dma,net,pair,isolation,hog,hotplug,bench",
    ),
    (
        "dev",
        "<BDF as the guest sees it>, up to 8 with commas between: only these are tested; or none",
    ),
    ("driver", "the name of a driver, such as rtl8139-cplus: preferred for devices that it drives"),
    (
        "swiotlb",
        "early|late|reserve|off, then optionally ,<MiB, 1 to 1024> or ,slots=<512 to 524288>, \
         ,force or ,noforce, and ,grow",
    ),
    ("iommu", "soft: a pool even where nothing needs one"),
    ("dma_bits", "24 to 64: the device is given no address of more bits"),
    ("transfers", "1 to 65536: about how many of them each walk of suite dma makes at most"),
    ("rounds", "1 to 10000: how often devices come and go in suite hotplug"),
    ("hog", "<seconds>, 1 to 600, then optionally ,<MiB of low memory to leave>, 0 to 4096"),
    ("echo", "<IPv4>:<port> of a UDP echo server"),
    ("download", "<IPv4>:<port>/<bytes>, 0 to 4294967295, of an HTTP server"),
    ("pair", "a or b, then optionally ,<MiB each way>, 1 to 65536"),
    ("detach", "<seconds>, 1 to 60, to wait for `xl pci-detach` at the end"),
    (
        "selftest",
        "corrupt|copyback|loopback|dirty|hide-range|isolation|mask-irq|message|bus-master|keep-port|leak|panic|\
         hang, or fail:<call site, from 1>",
    ),
    (END, "stay: as dom0, keep the page on the screen until a key is pressed; or restart, at once"),
    ("console", "ignored: Xen and xl add it"),
];

/// A word that can't be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionError<'a> {
    /// No such option.
    Unknown(&'a str),
    /// The option is known, its value is not.
    Malformed {
        /// The whole word.
        word: &'a str,
        /// What the value may be.
        expected: &'static str,
    },
}

impl OptionError<'_> {
    /// Stable code for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "option-unknown",
            Self::Malformed { .. } => "option-malformed",
        }
    }
}

impl fmt::Display for OptionError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => {
                write!(f, "`{word}` is no option; known are")?;
                for (name, _) in KNOWN {
                    write!(f, " {name}=")?;
                }
                Ok(())
            }
            Self::Malformed { word, expected } => write!(f, "`{word}`: expected {expected}"),
        }
    }
}

impl core::error::Error for OptionError<'_> {}

impl Options {
    /// Reads the command line; later words win over earlier ones.
    pub fn parse(command_line: &str) -> Result<Self, OptionError<'_>> {
        let mut options = Self::default();
        for word in command_line.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let Some((_, expected)) = KNOWN.iter().find(|(known, _)| *known == name) else {
                return Err(OptionError::Unknown(word));
            };
            options.set(name, value).ok_or(OptionError::Malformed { word, expected })?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "suite" => self.suites = SuiteSet::parse(value)?,
            "dev" => self.functions = FunctionSet::parse(value)?,
            "driver" => self.driver = Some(DRIVERS.into_iter().find(|name| *name == value)?),
            "swiotlb" => self.set_swiotlb(value)?,
            "echo" => self.echo = Some(value.parse().ok()?),
            "download" => self.download = Some(parse_download(value)?),
            "detach" => {
                let seconds = value.parse().ok().filter(|s| (1..=60).contains(s))?;
                self.detach = Some(Duration::from_secs(seconds));
            }
            "selftest" => self.selftest = Some(SelfTest::parse(value)?),
            "iommu" => self.soft_iommu = (value == "soft").then_some(true)?,
            "dma_bits" => self.dma_bits = Some(DmaBits::parse(value)?),
            "transfers" => {
                let most = value.parse().ok().filter(|most| (1..=65536).contains(most))?;
                self.transfers = Some(most);
            }
            "rounds" => {
                self.rounds = value.parse().ok().filter(|rounds| (1..=10_000).contains(rounds))?;
            }
            "hog" => self.hog = parse_hog(value)?,
            "pair" => self.pair = Some(parse_pair(value)?),
            END => {
                self.stay = match value {
                    STAY => true,
                    "restart" => false,
                    _ => return None,
                }
            }
            _ => {}
        }
        Some(())
    }

    fn set_swiotlb(&mut self, value: &str) -> Option<()> {
        for part in value.split(',') {
            match part {
                "early" => self.swiotlb = PoolStart::Early,
                "late" => self.swiotlb = PoolStart::Late,
                "reserve" => self.swiotlb = PoolStart::Reserve,
                "off" => self.swiotlb = PoolStart::Off,
                "force" => self.bouncing = Bouncing::Forced,
                "noforce" => self.bouncing = Bouncing::Never,
                "grow" => self.grow = true,
                size => self.pool_size = Some(PoolSize::parse(size)?),
            }
        }
        Some(())
    }
}

fn parse_hog(value: &str) -> Option<Hog> {
    let (seconds, mib) = value.split_once(',').unwrap_or((value, "0"));
    let seconds = seconds.parse().ok().filter(|s| (1..=600).contains(s))?;
    let mib = mib.parse().ok().filter(|mib: &usize| *mib <= 4096)?;
    Some(Hog { hold: Duration::from_secs(seconds), leave: mib << 20 })
}

fn parse_pair(value: &str) -> Option<Pair> {
    let (end, mib) = value.split_once(',').unwrap_or((value, "1024"));
    let end = match end {
        "a" => End::A,
        "b" => End::B,
        _ => return None,
    };
    let mib = mib.parse().ok().filter(|mib: &u64| (1..=65536).contains(mib))?;
    Some(Pair { end, bytes: mib << 20 })
}

fn parse_download(value: &str) -> Option<Download> {
    let (server, bytes) = value.split_once('/')?;
    Some(Download { server: server.parse().ok()?, bytes: bytes.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn suites_that_drive_the_card_bring_the_one_that_says_why_there_is_none() {
        for (list, brings) in [("dma", true), ("net", true), ("boot,irq", false)] {
            assert_eq!(SuiteSet::parse(list).unwrap().contains("pci"), brings, "{list}");
        }
    }

    #[test]
    fn an_empty_line_is_the_default() {
        assert_eq!(Options::parse(" "), Ok(Options::default()));
    }

    #[test]
    fn every_option_is_understood() {
        let line = "suite=boot,dma swiotlb=early,16,force,grow echo=10.0.2.2:7 iommu=soft \
                    download=10.0.2.2:80/1000 detach=9 selftest=leak console=hvc0 \
                    dma_bits=28 hog=20,6 transfers=50 rounds=20 dev=00:01.0,0000:00:02.1 \
                    driver=rtl8139-cplus pair=b,64 end=stay";
        let options = Options::parse(line).unwrap();
        assert_eq!(options.swiotlb, PoolStart::Early);
        assert_eq!(options.pool_size, Some(PoolSize::Mib(16)));
        assert_eq!(options.bouncing, Bouncing::Forced);
        assert!(options.grow && options.soft_iommu);
        assert_eq!(options.dma_bits.unwrap().get(), 28);
        assert_eq!(options.hog, Hog { hold: Duration::from_secs(20), leave: 6 << 20 });
        assert_eq!((options.transfers, options.rounds), (Some(50), 20));
        assert_eq!(options.driver, Some("rtl8139-cplus"));
        let bdf = |text: &str| text.parse::<crate::Bdf>().unwrap();
        assert!(options.functions.named().eq(["00:01.0", "00:02.1"].map(bdf)));
        assert_eq!(options.echo.unwrap().port(), 7);
        assert_eq!(options.download.unwrap().bytes, 1000);
        assert!(options.stay);
        assert_eq!(options.pair, Some(Pair { end: End::B, bytes: 64 << 20 }));
        let first = Options::parse("pair=a").unwrap();
        assert_eq!(first.pair, Some(Pair { end: End::A, bytes: 1 << 30 }));
        assert_eq!(options.detach, Some(Duration::from_secs(9)));
        assert_eq!(options.selftest, Some(SelfTest::Leak));
        assert!(options.suites.contains("dma") && !options.suites.contains("net"));
        let twice = SuiteSet::parse("net,pci,net,dma,dma").unwrap();
        assert!(["net", "pci", "dma"].iter().all(|suite| twice.contains(suite)));
    }

    #[test]
    fn a_line_that_can_not_be_followed_still_says_whether_to_stay() {
        for (line, stay) in [
            ("end=stay", true),
            ("colour=red end=stay suite=", true),
            ("end=stay end=restart", false),
            ("end=restart end=stay", true),
            ("end=stays end", false),
            ("", false),
        ] {
            assert_eq!(stays(line), stay, "{line}");
            if let Ok(options) = Options::parse(line) {
                assert_eq!(options.stay, stay, "{line}");
            }
        }
    }

    #[test]
    fn who_says_how_it_ends_says_so_last() {
        let stays = |line| Options::parse(line).map(|options| options.stay);
        assert_eq!(
            (stays("end=stay end=restart"), stays("end=restart end=stay")),
            (Ok(false), Ok(true))
        );
    }

    #[test]
    fn each_refusal_has_its_code() {
        assert_eq!(Options::parse("colour=red").unwrap_err().code(), "option-unknown");
        assert_eq!(Options::parse("detach=soon").unwrap_err().code(), "option-malformed");
    }

    #[test]
    fn a_pool_is_sized_in_mib_or_in_slots() {
        let options = Options::parse("swiotlb=reserve,slots=1024,noforce").unwrap();
        assert_eq!(options.swiotlb, PoolStart::Reserve);
        assert_eq!(
            (options.pool_size, options.bouncing),
            (Some(PoolSize::Slots(1024)), Bouncing::Never)
        );
    }

    #[test]
    fn what_only_bothers_others_is_not_in_smoke() {
        assert!(SuiteSet::SMOKE.contains("net"));
        for suite in ["pair", "isolation", "hog", "hotplug", "bench"] {
            assert!(!SuiteSet::SMOKE.contains(suite));
            assert!(SuiteSet::parse(suite).unwrap().contains(suite));
        }
    }

    #[test]
    fn every_fault_has_its_word_and_an_unknown_one_lists_them() {
        let error = Options::parse("selftest=corupt").unwrap_err().to_string();
        for (word, fault) in SelfTest::WORDS {
            let line = alloc::format!("selftest={word}");
            assert_eq!(Options::parse(&line).unwrap().selftest, Some(fault));
            assert!(error.split(['|', ' ', ',']).any(|known| known == word), "{word}: {error}");
        }
        let failing = Options::parse("selftest=fail:12").unwrap().selftest;
        assert_eq!(failing, Some(SelfTest::Fail(12)));
        assert!(error.contains("fail:<"), "{error}");
    }

    #[test]
    fn an_unknown_word_lists_the_known_ones() {
        let error = Options::parse("swiotlb=late colour=red").unwrap_err();
        assert_eq!(error, OptionError::Unknown("colour=red"));
        let text = error.to_string();
        for (name, _) in KNOWN {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_number_out_of_bounds_is_told_them() {
        for (line, bounds) in [
            ("swiotlb=4096", "1 to 1024"),
            ("swiotlb=slots=511", "512 to 524288"),
            ("dma_bits=65", "24 to 64"),
            ("transfers=65537", "1 to 65536"),
            ("rounds=10001", "1 to 10000"),
            ("hog=601", "1 to 600"),
            ("hog=30,4097", "0 to 4096"),
            ("download=10.0.2.2:80/4294967296", "0 to 4294967295"),
            ("pair=a,65537", "1 to 65536"),
            ("detach=61", "1 to 60"),
            ("selftest=fail:0", "from 1"),
        ] {
            let error = Options::parse(line).unwrap_err().to_string();
            assert!(error.contains(bounds), "{error}");
        }
    }

    #[test]
    fn a_bad_value_says_what_would_be_good() {
        for line in [
            "suite=",
            "suite=smoke,nosuch",
            "dev=",
            "dev=here",
            "dev=00:01.0,,00:02.0",
            "dev=1:0.0,1:1.0,1:2.0,1:3.0,1:4.0,1:5.0,1:6.0,1:7.0,1:8.0",
            "driver=",
            "driver=rtl",
            "swiotlb=sometimes",
            "swiotlb=0",
            "swiotlb=4096",
            "swiotlb=late,slots=511",
            "swiotlb=late,slots=99999999999999999999",
            "iommu=hard",
            "dma_bits=23",
            "dma_bits=65",
            "transfers=0",
            "transfers=65537",
            "rounds=0",
            "rounds=10001",
            "pair=c",
            "pair=a,0",
            "pair=b,65537",
            "end=",
            "end=never",
            "hog=0",
            "hog=5,many",
            "echo=here",
            "detach=0",
            "download=10.0.2.2:80",
            "selftest=",
            "selftest=fail",
            "selftest=fail:",
            "selftest=fail:0",
            "selftest=fail:-1",
        ] {
            let error = Options::parse(line).unwrap_err();
            assert!(matches!(error, OptionError::Malformed { .. }), "{line}: {error}");
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}

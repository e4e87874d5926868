//! The guest's report on its console, as KTAP: written by the guest, parsed by the rig.
//!
//! ```text
//! pvbounce 0.1.0 on Xen 4.20, domU, 512 MiB               any text may stand before and between
//! [    0.003] console: PV ring                            stage lines
//! KTAP version 1
//! 1..2                                                    how many suites
//!   KTAP version 1
//!   # Subtest: boot
//!   1..3                                                  how many checks
//!   ok 1 start_info # 131072 pages                        a pass may carry a note
//!   ok 2 com1 # SKIP no-ports: the domain has no I/O ports
//!   # reason: map-overlaps: entry 3 starts at 0x9f000 inside entry 2
//!   # remedy: update Xen, or boot with e820_host=0
//!   not ok 3 e820 # FAILURE map-overlaps: entry 3 starts at 0x9f000 inside entry 2
//! not ok 1 boot # FAILURE
//!   KTAP version 1
//!   # Subtest: irq
//!   1..0
//! ok 2 irq # SKIP no-device
//! # transfers out=1589 in=1589 compared=1587 bytes=1250000  frames, and the bytes compared in them
//! # pool-walk slots=4096/8192 segments=1/1                  how much of the pool the device was made to use
//! # dma-limits mask=0xffffffff memory=268435456             the device's reach, and the bytes of the domain's memory
//! # dma-range 0x0000000012400000 0x00000000125fffff pool  first and last byte that a device may touch, and what they are
//! # map e820 0x0000000000000000 0x000000000fffffff Ram     what the guest knows of the machine's addresses
//! # isolation device=0000:00:00.0 what=table page=0x1234000 answer=blocked  what a device was had to read
//! # taken frames=0 grants=0 ports=0 pirqs=0 slots=0       what is still held at the end
//! # not-shown no-transfer: the link is down                 only where it makes a SUCCESS a SKIP
//! # failed site=12 operation=send in=pci way=0x1,0x2         only with selftest=fail, between any two suites: what failed
//! # sites reached=240                                       and in how many places something could have
//! Test result: FAILURE
//! ```
//!
//! Suite `bench` has tables between its checks, lines of `# bench NAME: …`; see [`FigureLine`].
//!
//! Two levels only: suites that contain checks. Words after `# ` on a result line are SKIP, INCONCLUSIVE, FAILURE or ERROR
//! with `code: value`, or the note of a pass. What belongs to a result stands before it, as KTAP has it: a remedy, and
//! the reason of what is not ok once more, as kunit.py shows these lines and not the words on the result's. The last line is what other harnesses for Xen look for. A panic prints
//! `PANIC: …`, the registers and one line `#N 0xADDRESS` for each frame of its backtrace; the rig adds the names.
//!
//! In notes, values and remedies `#` and the backslash stand behind a backslash, and so does a first word that is a
//! verdict's: nothing that a device or a backend says can pass for another line, or for another verdict.
//!
//! The two halves: [`Writer`] formats into any [`core::fmt::Write`]; [`Parser`] takes lines, and never fails: what can't
//! be, or what lacks, is a [`Defect`] of the [`Report`].

mod defect;
mod figures;
mod map;
mod parse;
mod report;
mod sites;
mod text;
mod totals;
mod tried;
mod whole;
mod write;

pub use defect::{Defect, Flaw};
pub use figures::{FigureLine, Figures};
pub use map::{MAP_LINES, MapKind, MapLine};
pub use parse::Parser;
pub use report::{Check, NotShown, Report, Suite};
pub use sites::{FailedSite, MAY_KEEP, Sites};
pub use totals::{BadTotals, DmaLimits, PoolWalk, Taken, Transfers};
pub use tried::{Answer, Tested, Tried};
pub use write::{SuiteWriter, Writer};

/// What stands between a suite's name and its device's, where a run has several.
pub const OF_DEVICE: char = '@';

use core::fmt;
use core::str::FromStr;

/// Starts the last line of every report.
pub const RESULT: &str = "Test result: ";
/// Starts the line that a panic prints first.
pub const PANIC: &str = "PANIC: ";
/// The suite that runs last and only tidies up: its success proves nothing.
pub const CLOSE: &str = "close";
/// The suite in which devices are tried on pages.
pub const ISOLATION_SUITE: &str = "isolation";
const INDENT: &str = "  ";
const VERSION: &str = "KTAP version 1";
const SUBTEST: &str = "# Subtest: ";
const REASON: &str = "# reason: ";
const REMEDY: &str = "# remedy: ";
const DMA_RANGE: &str = "# dma-range ";
const ISOLATION: &str = "# isolation ";
const TAKEN: &str = "# taken ";
const TRANSFERS: &str = "# transfers ";
const POOL_WALK: &str = "# pool-walk ";
const DMA_LIMITS: &str = "# dma-limits ";
const NOT_SHOWN: &str = "# not-shown ";
const FAILED: &str = "# failed ";
const SITES: &str = "# sites ";
const MAP: &str = "# map ";

/// What a range that a device may touch is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeKind {
    /// A segment of the bounce pool.
    Pool,
    /// Memory shared with the device for as long as it runs.
    Coherent,
    /// A buffer of the guest's own that needed no bounce.
    Direct,
    /// A descriptor or receive ring.
    Ring,
}

impl RangeKind {
    const ALL: [Self; 4] = [Self::Pool, Self::Coherent, Self::Direct, Self::Ring];

    /// The word on the console.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Coherent => "coherent",
            Self::Direct => "direct",
            Self::Ring => "ring",
        }
    }
}

/// Machine addresses that the guest lets its device touch: first and last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DmaRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, not one past it: a range may end at the top of the address space.
    pub last: u64,
    /// What it is used for.
    pub kind: RangeKind,
}

impl DmaRange {
    /// How many bytes it has: one more than fits, for all that there are.
    pub fn bytes(&self) -> u128 {
        u128::from(self.last) - u128::from(self.first) + 1
    }

    /// Whether the address lies in the range.
    pub const fn contains(&self, address: u64) -> bool {
        self.first <= address && address <= self.last
    }
}

impl fmt::Display for DmaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x} {:#018x} {}", self.first, self.last, self.kind.word())
    }
}

/// A `dma-range` line that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a DMA range: expected `0xFIRST 0xLAST pool|coherent|direct|ring` with first <= last")]
pub struct BadRange;

impl FromStr for DmaRange {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let mut words = text.split_whitespace();
        let first = words.next().and_then(hex).ok_or(BadRange)?;
        let last = words.next().and_then(hex).filter(|last| first <= *last).ok_or(BadRange)?;
        let word = words.next().ok_or(BadRange)?;
        let kind = RangeKind::ALL.into_iter().find(|k| k.word() == word).ok_or(BadRange)?;
        if words.next().is_some() {
            return Err(BadRange);
        }
        Ok(Self { first, last, kind })
    }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests;

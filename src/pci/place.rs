//! Whether the ranges that firmware gave to devices can be used: none lies under RAM, and no two share an address.
//!
//! Only what has a driver is sized, since a register is sized by moving it. Of the rest it is known where a range starts.

use super::{Bar, Bdf, ConfigError, Function, Resources, function::reg};
use crate::{
    mm::e820::{Entry, Map},
    xen::errno::XenError,
};
use alloc::vec::Vec;
use core::fmt;

/// Memory that a device answers at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The function.
    pub bdf: Bdf,
    /// The number of its BAR.
    pub index: u8,
    /// First byte.
    pub start: u64,
    /// Bytes; 1 where the size is not known.
    pub size: u64,
}

impl Range {
    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.start.saturating_add(other.size)
            && other.start < self.start.saturating_add(self.size)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bdf, index, start, size } = self;
        write!(f, "BAR {index} of {bdf}, {start:#x}+{size:#x},")
    }
}

/// Why a function that has a driver is left alone all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Xen does not want to know it.
    #[error("Xen refused to be told of {0}: {1}")]
    NotAdded(Bdf, XenError),
    /// Its registers would be somebody's memory.
    #[error("{0} lies under RAM: {1}")]
    UnderRam(Range, Entry),
    /// Its registers would be another device's.
    #[error("{0} shares addresses with {1}")]
    Shared(Range, Range),
}

impl Objection {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAdded(..) => "pci-not-added",
            Self::UnderRam(..) => "pci-bar-under-ram",
            Self::Shared(..) => "pci-bar-shared",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NotAdded(..) => "see Xen's log for why",
            Self::UnderRam(..) | Self::Shared(..) => {
                "the board's firmware placed it there: update that, or take another card out; the device was not touched"
            }
        }
    }
}

protocol::coded!(Objection);

/// The memory ranges of a function that was sized.
pub fn sized(resources: &Resources) -> impl Iterator<Item = Range> {
    resources.bars.iter().filter_map(|bar| {
        let Bar { index, size, .. } = *bar;
        Some(Range { bdf: resources.bdf, index, start: bar.placed()?.0, size })
    })
}

/// Where the memory ranges of a function start; nothing is changed.
pub fn starts(function: &Function<'_>) -> Result<Vec<Range>, ConfigError> {
    let count = match function.header_type()? {
        0 => 6,
        1 => 2,
        _ => 0,
    };
    let (mut ranges, mut index) = (Vec::new(), 0);
    while index < count {
        let register = |index| function.read_u32(reg::BAR0 + 4 * u16::from(index));
        let (low, at) = (register(index)?, index);
        index += 1;
        let mut start = u64::from(low & !0xf);
        if low & 0b111 == 0b100 && index < count {
            start |= u64::from(register(index)?) << 32;
            index += 1;
        }
        if low & 1 == 0 && start != 0 {
            ranges.push(Range { bdf: function.bdf(), index: at, start, size: 1 });
        }
    }
    Ok(ranges)
}

/// The first objection to each function of `ours`, of those that there are.
pub fn objections(ours: &[Range], others: &[Range], ram: &Map) -> Vec<(Bdf, Objection)> {
    let mut found: Vec<(Bdf, Objection)> = Vec::new();
    for (place, range) in ours.iter().enumerate() {
        if found.iter().any(|(bdf, _)| *bdf == range.bdf) {
            continue;
        }
        let under = ram.ram_under(range.start, range.size);
        let before = ours[..place].iter();
        let mut rest = before.chain(&ours[place + 1..]).chain(others);
        let shared = rest.find(|other| range.overlaps(other));
        let objection = match under {
            Some(entry) => Some(Objection::UnderRam(*range, entry)),
            None => shared.map(|other| Objection::Shared(*range, *other)),
        };
        found.extend(objection.map(|objection| (range.bdf, objection)));
    }
    found
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{ConfigAccess, Width};
    use alloc::string::ToString as _;

    /// Config space that nobody may write to: header type, and the registers where BARs may be.
    #[derive(Debug)]
    struct Space(u8, [u32; 7]);

    impl ConfigAccess for Space {
        fn read(&self, _: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
            let bar = (reg::BAR0..).step_by(4).zip(self.1);
            let header = (0x0c, u32::from(self.0) << 16);
            let all = [(0, 0x1111_1234), header].into_iter().chain(bar);
            let found = all.into_iter().find(|(at, _)| *at == offset & !3);
            let word = found.map_or(0, |(_, word)| word) >> (offset % 4 * 8);
            Ok(word & width.mask())
        }

        fn write(&self, _: Bdf, offset: u16, _: Width, _: u32) -> Result<(), ConfigError> {
            panic!("a write to {offset:#x}")
        }

        fn bars_are_virtual(&self) -> bool {
            false
        }

        fn lines_are_pirqs(&self) -> bool {
            false
        }
    }

    /// Index and start of each range of such a function.
    fn found(header: u8, registers: [u32; 7]) -> Vec<(u8, u64)> {
        let space = Space(header, registers);
        let function = Function::probe(&space, "00:1f.0".parse().unwrap()).unwrap().unwrap();
        let ranges = starts(&function).unwrap();
        ranges.into_iter().map(|range| (range.index, range.start)).collect()
    }

    #[test]
    fn a_function_s_ranges_start_where_its_header_has_bars_and_nowhere_else() {
        let narrow = [0x8000_0000, 0x8100_0008, 0, 0xc001, 0x8400_0000, 0x8500_0000, 0x8600_0000];
        let all = [(0, 0x8000_0000), (1, 0x8100_0000), (4, 0x8400_0000), (5, 0x8500_0000)];
        assert_eq!(found(0, narrow), all, "six, of which one is of ports and one is none");
        assert_eq!(found(1, narrow), all[..2], "a bridge has two");
        assert_eq!(found(2, narrow), [], "one to CardBus has none");
    }

    #[test]
    fn a_wide_bar_takes_two_registers_where_there_are_two() {
        let wide = [0x8000_0004, 0x8100_0000, 0x8200_000c, 0x1, 0, 0x8500_0004, 0x7];
        let ends = [(0, 0x8100_0000_8000_0000), (2, 0x1_8200_0000), (5, 0x8500_0000)];
        assert_eq!(found(0, wide), ends, "none behind the last");
    }

    #[test]
    fn an_objection_names_both_ranges_and_what_helps() {
        let range =
            |bdf: &str, start| Range { bdf: bdf.parse().unwrap(), index: 1, start, size: 1 };
        let (ours, other) = (range("00:02.0", 0x8000_0000), range("00:1f.0", 0x8000_0000));
        let objection = Objection::Shared(ours, other);
        assert_eq!(
            objection.to_string(),
            "BAR 1 of 0000:00:02.0, 0x80000000+0x1, shares addresses with BAR 1 of 0000:00:1f.0, 0x80000000+0x1,"
        );
        assert!(objection.remedy().contains("firmware"));
        assert!(Objection::NotAdded(ours.bdf, XenError::Busy).remedy().contains("Xen's log"));
    }
}

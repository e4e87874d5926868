//! Where a command's data lies, in pages (NVM Express Base Specification 2.0, section 4.1.1): the first entry may point
//! into its page, the others are whole pages; more than two are in a list.

use super::regs::PAGE;
use crate::addr::BusAddr;

/// The most bytes of one command, whatever their place in the first page.
pub(super) const MOST: usize = 64 << 10;

/// The two entries of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prps {
    /// PRP1.
    pub(super) first: u64,
    /// PRP2: nothing, the second page, or the list.
    pub(super) second: u64,
}

impl Prps {
    /// The entries for `len` bytes from `bus`; what belongs into the list at `list` is given to `put` by its number.
    pub(super) fn new(
        bus: BusAddr,
        len: usize,
        list: BusAddr,
        mut put: impl FnMut(usize, u64),
    ) -> Self {
        let page = PAGE as u64;
        let behind = (bus.0 & !(page - 1)) + page;
        let left = (bus.0 + len as u64).saturating_sub(behind).div_ceil(page);
        let second = match left {
            0 => 0,
            1 => behind,
            _ => {
                (0..left).zip(0..).for_each(|(n, at)| put(at, behind + n * page));
                list.0
            }
        };
        Self { first: bus.0, second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    const LIST: BusAddr = BusAddr(0xf000);

    fn entries(bus: u64, len: usize) -> (Prps, Vec<u64>) {
        let mut list = Vec::new();
        let prps = Prps::new(BusAddr(bus), len, LIST, |at, entry| {
            assert_eq!(at, list.len());
            list.push(entry);
        });
        (prps, list)
    }

    #[test]
    fn one_page_two_or_a_list_of_those_behind_the_first() {
        let of = |first, second, list| (Prps { first, second }, list);
        assert_eq!(entries(0x1000, 4096), of(0x1000, 0, vec![]));
        assert_eq!(entries(0x1e00, 512), of(0x1e00, 0, vec![]));
        assert_eq!(entries(0x1e04, 512), of(0x1e04, 0x2000, vec![]));
        assert_eq!(entries(0x1000, 8192), of(0x1000, 0x2000, vec![]));
        assert_eq!(entries(0x1004, 8192), of(0x1004, LIST.0, vec![0x2000, 0x3000]));
        let (prps, list) = entries(0x1ffc, MOST);
        assert_eq!((prps.second, list.len(), list[15]), (LIST.0, 16, 0x1_1000));
    }
}

//! Sizes of memory as Xen hands it out: powers of two of pages.

use crate::addr::PAGE_SIZE;
use core::fmt;

/// log2 of a number of pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(u8);

impl Order {
    /// One page.
    pub const ZERO: Self = Self(0);
    /// 16 MiB: the most Xen lets a domain with a device ask for (`CONFIG_PTDOM_MAX_ORDER`).
    pub const MAX: Self = Self(12);

    /// Every order up to one more than any guest with a device is permitted, for asking Xen about them; that
    /// one is no size for a segment.
    pub fn every() -> impl Iterator<Item = Self> {
        (0..=Self::MAX.0 + 1).map(Self)
    }

    /// `2^order` pages; `None` above [`Order::MAX`].
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::MAX.0 { Some(Self(order)) } else { None }
    }

    /// The smallest order that holds `bytes`; `None` above [`Order::MAX`].
    pub const fn holding(bytes: usize) -> Option<Self> {
        let pages = crate::addr::pages(bytes).next_power_of_two();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "trailing zeros of a usize are below 64"
        )]
        Self::new(pages.trailing_zeros() as u8)
    }

    /// The largest order not above `bytes`; `None` for less than a page. Capped at [`Order::MAX`].
    pub const fn within(bytes: usize) -> Option<Self> {
        match (bytes / PAGE_SIZE).checked_ilog2() {
            Some(log) if log > Self::MAX.0 as u32 => Some(Self::MAX),
            #[expect(clippy::cast_possible_truncation, reason = "not above MAX, by the arm before")]
            Some(log) => Some(Self(log as u8)),
            None => None,
        }
    }

    /// The order below, `None` below a page.
    pub const fn smaller(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(order) => Some(Self(order)),
            None => None,
        }
    }

    /// The exponent.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Number of pages.
    pub const fn pages(self) -> usize {
        1 << self.0
    }

    /// Number of bytes.
    pub const fn bytes(self) -> usize {
        PAGE_SIZE << self.0
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {}", self.0)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_round_the_way_their_names_say() {
        assert_eq!(Order::holding(1), Some(Order::ZERO));
        assert_eq!(Order::holding(4097).unwrap().get(), 1);
        assert_eq!(Order::holding(16 << 20), Some(Order::MAX));
        assert_eq!(Order::holding((16 << 20) + 1), None);
        assert_eq!(Order::within(4095), None);
        assert_eq!(Order::within(12288).unwrap().get(), 1);
        assert_eq!(Order::within(1 << 40), Some(Order::MAX));
    }
}

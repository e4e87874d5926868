//! Machine-contiguous memory within a device's reach: the service that hands out [`Region`]s.
//!
//! The real one trades frames with Xen ([`crate::mm::exchange`]); tests have a fake Xen that owns frames.

pub use crate::mm::region::Region;

use crate::{
    addr::{DmaMask, Mfn, PAGE_SIZE, Pfn},
    xen::errno::XenError,
};
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

/// Why no region could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The guest itself has not that many neighbouring free pages.
    #[error("no {pages} neighbouring free pages in the guest")]
    NoFreePages {
        /// How many were asked for.
        pages: usize,
    },
    /// Xen refused the exchange.
    #[error("XENMEM_exchange {order} below {bits} bits: {error}")]
    Refused {
        /// The order asked for.
        order: Order,
        /// The address width asked for.
        bits: u32,
        /// What Xen answered.
        error: XenError,
    },
    /// Xen answered with success, but the frames are not what was asked for.
    #[error("XENMEM_exchange {order} below {bits} bits gave {mfn}, which does not fit")]
    Misplaced {
        /// The order asked for.
        order: Order,
        /// The address width asked for.
        bits: u32,
        /// What came.
        mfn: Mfn,
    },
    /// By Xen's own table the pages have neither the frames they had nor those that were traded for them.
    #[error(
        "XENMEM_exchange {order}: whose frames are behind {pfn} is not known, and the pages are lost"
    )]
    Lost {
        /// The order asked for.
        order: Order,
        /// The first of the pages.
        pfn: Pfn,
    },
    /// The frames could not be mapped after the exchange.
    #[error("page tables: {0}")]
    Mapping(XenError),
    /// Nor could those be unmapped again that were; the pages are lost.
    #[error("page tables, and taking the mapping back: {0}")]
    StillMapped(XenError),
}

impl AcquireError {
    /// Whether the pages that were to become the region may be used for something else.
    pub const fn leaves_pages_free(&self) -> bool {
        !matches!(self, Self::StillMapped(_) | Self::Lost { .. })
    }
}

/// Why a region could not be given back. Its frames still belong to the guest, and still lie low.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("giving back {order} at {mfn}: {error}")]
pub struct ReleaseError {
    /// First frame of the region.
    pub mfn: Mfn,
    /// Its size.
    pub order: Order,
    /// What Xen answered.
    pub error: XenError,
}

/// A source of machine-contiguous memory.
pub trait ContiguousMemory: Sync {
    /// `2^order` zeroed pages, all within `mask`.
    fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError>;

    /// Zeroes the region and trades it for pages anywhere.
    fn release(&self, region: Region) -> Result<(), ReleaseError>;
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

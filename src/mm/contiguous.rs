//! Machine-contiguous memory within a device's reach: the service that hands out [`Region`]s.
//!
//! The real one trades frames with Xen ([`crate::mm::exchange`]); tests have a fake Xen that owns frames.

pub use crate::mm::{order::Order, region::Region};

use crate::{
    addr::{DmaMask, Mfn, Pfn},
    xen::errno::XenError,
};

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

//! Why memory could not be had, mapped or given back.

use crate::{
    addr::{Mfn, Pfn},
    mm::{frames::FreeError, p2m::PfnRange},
    xen::errno::XenError,
};

/// Why memory could not be had, mapped or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The guest has not that many neighbouring free pages.
    #[error("no {wanted} neighbouring free pages; {free} are free, the longest run has {longest}")]
    NoFreePages {
        /// Pages asked for.
        wanted: u64,
        /// Pages free.
        free: u64,
        /// Longest run of free pages.
        longest: u64,
    },
    /// Xen refused a page-table change.
    #[error("mapping {virt:#x}: {error}")]
    Mapping {
        /// First address of the change.
        virt: u64,
        /// What Xen answered.
        error: XenError,
    },
    /// The page lies beyond the guest's window.
    #[error("{0:?} lies beyond the 256 GiB of the direct map")]
    BeyondWindow(PfnRange),
    /// There are not so many addresses for memory that isn't ours.
    #[error("no room for {pages} pages beside the direct map, in a window of 256 GiB")]
    NoAddresses {
        /// Pages asked for.
        pages: u64,
    },
    /// What was to be mapped as device memory is the guest's own.
    #[error("{0} is RAM of this guest, not a device's")]
    OwnRam(Mfn),
    /// Pages could not be unmapped; they stay taken, since a free frame is mapped nowhere.
    #[error("{run:?} stays taken, for it could not be unmapped: {error}")]
    StillMapped {
        /// The pages.
        run: PfnRange,
        /// What Xen answered.
        error: XenError,
    },
    /// Xen would not learn the frame's name.
    #[error("telling Xen that a frame is {pfn} now: {error}")]
    Naming {
        /// The first name that Xen's table has not.
        pfn: Pfn,
        /// What Xen answered.
        error: XenError,
    },
    /// Xen would not set the grant table up.
    #[error("setting it up: {error}")]
    NoGrants {
        /// What Xen answered.
        error: XenError,
    },
    /// Frames could not be freed.
    #[error(transparent)]
    Free(#[from] FreeError),
}

impl MemoryError {
    /// What Xen answered; ENOMEM where Xen was not asked.
    pub(super) const fn xen(&self) -> XenError {
        match self {
            Self::Mapping { error, .. }
            | Self::StillMapped { error, .. }
            | Self::NoGrants { error }
            | Self::Naming { error, .. } => *error,
            Self::NoFreePages { .. }
            | Self::BeyondWindow(_)
            | Self::NoAddresses { .. }
            | Self::OwnRam(_)
            | Self::Free(_) => XenError::NoMemory,
        }
    }
}

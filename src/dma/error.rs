//! Why a mapping was bounced, could not be made, or ended badly, and why a pool did not get larger.
//!
//! Each failure has a stable `code` for reports and a `remedy`: what to change. The two halves of "the
//! buffer won't do" are kept apart: [`Why`] says what is wrong with the buffer, [`MapError`] what is
//! wrong with the mapping.

use super::limits::PowerOfTwo;
use crate::{
    addr::{BusAddr, DmaMask, PhysAddr},
    mm::contiguous::{AcquireError, Region},
};

/// Why a device can't use a buffer where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The device's policy is to bounce everything.
    #[error("bouncing is forced")]
    Forced,
    /// The device could use the buffer where it lies, but it is lent for changing: if the mapping were forgotten,
    /// the borrow would end and the device would go on writing.
    #[error("the buffer is borrowed, and the device might outlast that")]
    Borrowed,
    /// A page of the buffer is not this guest's RAM, or P2M and M2P disagree about it.
    #[error("byte {offset:#x} of the buffer is no RAM of this guest")]
    NotRam {
        /// The first such byte.
        offset: usize,
    },
    /// A page lies beyond the device's reach.
    #[error("{bus} is beyond a {mask}")]
    OutOfMask {
        /// Its bus address.
        bus: BusAddr,
        /// How far the device reaches.
        mask: DmaMask,
    },
    /// A page's pseudo-physical address is beyond the device's reach.
    #[error("physical {phys} is beyond a {mask}")]
    OutOfPhysMask {
        /// Its address in the guest's numbering.
        phys: PhysAddr,
        /// How far the device reaches in that numbering.
        mask: DmaMask,
    },
    /// The machine frames behind the buffer are no neighbours.
    #[error("byte {offset:#x} lies at {found} on the bus, not at {expected}")]
    NotContiguous {
        /// The first byte out of line.
        offset: usize,
        /// Where it would have to lie.
        expected: BusAddr,
        /// Where it lies.
        found: BusAddr,
    },
    /// The buffer does not start where the device wants it to.
    #[error("{bus} is not aligned to {alignment:?}")]
    Misaligned {
        /// The bus address.
        bus: BusAddr,
        /// The device's demand.
        alignment: PowerOfTwo,
    },
    /// The buffer crosses an address the device can't cross.
    #[error("{len:#x} bytes from {bus} cross a multiple of {boundary:?}")]
    CrossesBoundary {
        /// The bus address.
        bus: BusAddr,
        /// Bytes.
        len: usize,
        /// The device's demand.
        boundary: PowerOfTwo,
    },
}

impl Why {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Forced => "dma-forced",
            Self::Borrowed => "dma-borrowed",
            Self::NotRam { .. } => "dma-not-ram",
            Self::OutOfMask { .. } => "dma-out-of-mask",
            Self::OutOfPhysMask { .. } => "dma-out-of-phys-mask",
            Self::NotContiguous { .. } => "dma-not-contiguous",
            Self::Misaligned { .. } => "dma-misaligned",
            Self::CrossesBoundary { .. } => "dma-crosses-boundary",
        }
    }
}

/// Why a buffer could not be mapped. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The buffer has no bytes.
    #[error("an empty buffer can't be mapped")]
    Empty,
    /// The device's policy allows no DMA.
    #[error("DMA is refused for this device")]
    Refused,
    /// The buffer would have to be bounced, and the device's policy forbids it.
    #[error("can't go direct: {0}")]
    DirectOnly(Why),
    /// The buffer has to be bounced, and there is no pool.
    #[error("no bounce pool, and {0}")]
    NoPool(Why),
    /// No segment of the pool lies within the device's reach.
    #[error("no segment below a {mask}; the lowest starts at {lowest}")]
    OutOfMask {
        /// How far the device reaches.
        mask: DmaMask,
        /// The lowest segment.
        lowest: BusAddr,
    },
    /// More bytes than one mapping can have.
    #[error("{len} bytes in one mapping; the limit is {limit}")]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// The most that can be mapped at once: [`super::Device::max_mapping`].
        limit: usize,
    },
    /// All slots within reach are taken, or the free ones are too scattered.
    #[error("{wanted} slots in a run wanted; {free} free, the largest block has {largest}")]
    Exhausted {
        /// Slots in a run, as asked for.
        wanted: usize,
        /// Slots free below the device's mask.
        free: usize,
        /// Slots of the largest free block among them, an aligned power of two; a run that lies between blocks
        /// was looked for, too.
        largest: usize,
    },
}

impl MapError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "dma-empty",
            Self::Refused => "dma-refused",
            Self::DirectOnly(why) => why.code(),
            Self::NoPool(_) => "dma-no-pool",
            Self::OutOfMask { .. } => "dma-no-low-segment",
            Self::TooLarge { .. } => "dma-too-large",
            Self::Exhausted { .. } => "dma-exhausted",
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Empty => "map at least one byte",
            Self::Refused => "this device was refused DMA on purpose; choose another policy for it",
            Self::DirectOnly(_) => {
                "drop `noforce`, or map a buffer of its own that lies where the device can use it"
            }
            Self::NoPool(_) => "start a pool: `swiotlb=early` or `swiotlb=late`",
            Self::OutOfMask { .. } => {
                "start the pool with the device's width (`dma_bits=`), or let it grow \
                 (`swiotlb=late,grow`)"
            }
            Self::TooLarge { .. } => {
                "split the transfer, or let Xen give larger segments: a device at creation and \
                 `memop-max-order=` on Xen's command line"
            }
            Self::Exhausted { .. } => {
                "finish mappings earlier, give the pool more MiB (`swiotlb=late,64`), or let it \
                 grow (`swiotlb=late,grow`)"
            }
        }
    }
}

protocol::coded!(MapError);

/// What a device did wrong, seen when the mapping ended. Its slots are back in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// A guard byte next to the mapping was overwritten. Nothing was copied back.
    #[error("the device wrote {found:#04x} at byte {offset} of a mapping of {len} at {bus}")]
    Overrun {
        /// The first overwritten byte, counted from the mapping's first one: negative before it, `len`
        /// or more behind it.
        offset: isize,
        /// What it holds now.
        found: u8,
        /// Bytes in the mapping.
        len: usize,
        /// Where the mapping was.
        bus: BusAddr,
    },
    /// The device reported bytes that it had not written. Nothing was copied back.
    #[error(
        "the device reported {written} bytes, but wrote none from byte {first} on, in a mapping of {len} at {bus}"
    )]
    Overreported {
        /// Bytes reported.
        written: usize,
        /// The first byte not written, counted from the mapping's first one.
        first: usize,
        /// Bytes in the mapping.
        len: usize,
        /// Where the mapping was.
        bus: BusAddr,
    },
    /// The device reported more bytes than the mapping has. Nothing was copied back.
    #[error("the device reported {written} bytes written to a mapping of {len} at {bus}")]
    Overlong {
        /// What was reported.
        written: usize,
        /// Bytes in the mapping.
        len: usize,
        /// Where the mapping was.
        bus: BusAddr,
    },
}

impl FinishError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overrun { .. } => "dma-overrun",
            Self::Overreported { .. } => "dma-overreported",
            Self::Overlong { .. } => "dma-overlong",
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Overrun { .. } => {
                "the device or its driver writes outside what it was given: compare the length in \
                 the descriptor with the mapping's"
            }
            Self::Overreported { .. } => {
                "the device says that it wrote what never reached memory: look for a bus master or IOMMU fault in \
                 Xen's log, and for a driver that reads the length too early or from the wrong place"
            }
            Self::Overlong { .. } => {
                "the length the device reports is wrong, or the driver reads it from the wrong place"
            }
        }
    }
}

protocol::coded!(FinishError);

/// Why a region handed in was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Every place in the table is taken.
    #[error("the pool has no place for another segment")]
    TableFull(Region),
    /// The region's first frame is not a multiple of its size, or that is more than a segment has.
    #[error("{} is not aligned to {}, or that is too large", .0.mfn(), .0.order())]
    Misaligned(Region),
}

impl AdoptError {
    /// The region, back.
    pub fn into_region(self) -> Region {
        match self {
            Self::TableFull(region) | Self::Misaligned(region) => region,
        }
    }
}

/// Why a pool did not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowError {
    /// There was no memory.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// Every place in the table is taken.
    #[error("the pool has no place for another segment")]
    TableFull,
}

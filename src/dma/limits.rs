//! What a device can do and what it is allowed to: decided once per device, from what was measured.

use crate::{addr::DmaMask, options::Bouncing};
use core::{fmt, num::NonZeroUsize};

/// A power of two, in bytes: an alignment or a boundary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PowerOfTwo(NonZeroUsize);

impl PowerOfTwo {
    /// No demand at all, as an alignment.
    pub const ONE: Self = Self(NonZeroUsize::MIN);

    /// `None` if `bytes` is no power of two.
    pub const fn new(bytes: usize) -> Option<Self> {
        match NonZeroUsize::new(bytes) {
            Some(power) if power.is_power_of_two() => Some(Self(power)),
            _ => None,
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0.get()
    }

    /// The bits below: `bytes - 1`.
    pub const fn low_bits(self) -> usize {
        self.bytes() - 1
    }
}

impl fmt::Debug for PowerOfTwo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.bytes())
    }
}

/// What a device demands of the addresses it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far it reaches on the bus.
    pub mask: DmaMask,
    /// How far it reaches in the guest's own numbering, which [`crate::dma::dma_capable`] asks for beside `mask`. All of
    /// it unless somebody sets another, as the tests do: in PV no device sees those numbers, so no driver has a limit there.
    pub phys_mask: DmaMask,
    /// Every mapping starts at a multiple of this. Wins over `keep_offset` where both can't be had.
    pub alignment: PowerOfTwo,
    /// No mapping crosses a multiple of this.
    pub boundary: Option<PowerOfTwo>,
    /// The address keeps the buffer's offset within this many bytes, also when bounced (4096 for NVMe).
    pub keep_offset: PowerOfTwo,
    /// The longest single mapping, in bytes.
    pub max_len: usize,
}

impl Limits {
    /// A device whose only limit is its address width.
    pub const fn new(mask: DmaMask) -> Self {
        Self {
            mask,
            phys_mask: DmaMask::BITS_64,
            alignment: PowerOfTwo::ONE,
            boundary: None,
            keep_offset: PowerOfTwo::ONE,
            max_len: usize::MAX,
        }
    }

    /// With another demand on the start of a mapping.
    pub const fn aligned_to(self, alignment: PowerOfTwo) -> Self {
        Self { alignment, ..self }
    }

    /// With a multiple that no mapping crosses.
    pub const fn within(self, boundary: PowerOfTwo) -> Self {
        Self { boundary: Some(boundary), ..self }
    }

    /// With the offset within `unit` bytes kept.
    pub const fn keeping_offset(self, unit: PowerOfTwo) -> Self {
        Self { keep_offset: unit, ..self }
    }
}

/// Whether a device's mappings are bounced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Where the buffer itself won't do.
    #[default]
    Auto,
    /// Always (`swiotlb=force`).
    Force,
    /// Never (`swiotlb=noforce`): what can't go direct fails and says why.
    Direct,
    /// No DMA at all: every mapping fails.
    Refuse,
}

impl From<Bouncing> for Policy {
    fn from(asked: Bouncing) -> Self {
        match asked {
            Bouncing::Needed => Self::Auto,
            Bouncing::Forced => Self::Force,
            Bouncing::Never => Self::Direct,
        }
    }
}

//! Frame numbers and addresses, each its own type, so that a PFN never passes for an MFN.
//!
//! A PV guest lives with two numberings of the same memory (Xen `public/xen.h`, "start of day"):
//!
//! ```text
//! Pfn, PhysAddr   the guest's own, dense from 0: what the frame allocator and e820 speak
//! Mfn, BusAddr    the machine's: what page tables hold and what a device puts on the bus
//! ```
//!
//! Only [`crate::mm::p2m`] turns one into the other.

use crate::options::DmaBits;
use core::fmt;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// [`PAGE_SIZE`] as an address difference.
pub const PAGE_SIZE_U64: u64 = PAGE_SIZE as u64;
/// The first address a 32-bit device can't reach.
pub const GIB_4: u64 = 1 << 32;

macro_rules! frame_number {
    ($(#[$doc:meta])* $name:ident, $addr:ident, $tag:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The last one that has an address.
            pub const LAST: Self = Self(u64::MAX >> PAGE_SHIFT);

            /// A number that somebody else wrote; `None` if no such frame has an address.
            pub const fn checked(number: u64) -> Option<Self> {
                if number <= Self::LAST.0 { Some(Self(number)) } else { None }
            }

            /// The address of the frame's first byte. A number beyond [`Self::LAST`] has that one's address, which
            /// is beyond every mask, rather than a lower frame's.
            pub const fn addr(self) -> $addr {
                let number = if self.0 <= Self::LAST.0 { self.0 } else { Self::LAST.0 };
                $addr(number << PAGE_SHIFT)
            }

            /// The frame `n` further on, `None` past the end of the number space.
            pub const fn checked_add(self, n: u64) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(sum) => Self::checked(sum),
                    None => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($tag, " {:#x}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $frame:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The frame the address lies in.
            pub const fn frame(self) -> $frame {
                $frame(self.0 >> PAGE_SHIFT)
            }

            /// Bytes from the start of the page.
            pub const fn page_offset(self) -> usize {
                (self.0 & (PAGE_SIZE_U64 - 1)) as usize
            }

            /// The address `n` bytes further on, `None` past 2^64.
            pub const fn checked_add(self, n: u64) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

frame_number!(
    /// A page of the guest's own numbering ("pseudo-physical").
    Pfn, PhysAddr, "pfn"
);
frame_number!(
    /// A page of the machine.
    Mfn, BusAddr, "mfn"
);
address!(
    /// A pseudo-physical address: what the guest would call physical on bare metal.
    PhysAddr, Pfn
);
address!(
    /// A machine address as a device puts it on the bus; for PV the same with and without an IOMMU.
    BusAddr, Mfn
);

/// A device's reach: the highest bus address it can put on the bus, always 2^n - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DmaMask(u64);

impl DmaMask {
    /// 32-bit devices: the ones this project is about.
    pub const BITS_32: Self = Self(GIB_4 - 1);
    /// No limit.
    pub const BITS_64: Self = Self(u64::MAX);

    /// The mask of a device with `bits` address lines; `None` outside 12..=64.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            PAGE_SHIFT..64 => Some(Self((1 << bits) - 1)),
            64 => Some(Self::BITS_64),
            _ => None,
        }
    }

    /// Number of address lines.
    pub const fn bits(self) -> u32 {
        self.0.count_ones()
    }

    /// The highest address within reach.
    pub const fn highest(self) -> BusAddr {
        BusAddr(self.0)
    }

    /// Whether all `len` bytes from `start` are within reach.
    pub const fn covers(self, start: BusAddr, len: usize) -> bool {
        let last = len.saturating_sub(1) as u64;
        match start.checked_add(last) {
            Some(end) => end.0 <= self.0,
            None => false,
        }
    }
}

impl From<DmaBits> for DmaMask {
    fn from(bits: DmaBits) -> Self {
        Self(u64::MAX >> (u64::BITS - bits.get()))
    }
}

impl fmt::Debug for DmaMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-bit mask", self.bits())
    }
}

impl fmt::Display for DmaMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A number as an index or length; exact, because `usize` has 64 bits wherever this builds.
pub const fn to_usize(n: u64) -> usize {
    const { assert!(usize::BITS == 64) };
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    let n = n as usize;
    n
}

/// Bytes as whole pages, rounded up.
pub const fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn mask_covers_up_to_its_last_byte_and_no_further() {
        let mask = DmaMask::BITS_32;
        assert!(mask.covers(BusAddr(GIB_4 - 1), 1));
        assert!(!mask.covers(BusAddr(GIB_4 - 1), 2));
        assert!(mask.covers(BusAddr(0), 0));
        assert!(!mask.covers(BusAddr(u64::MAX), 2));
        assert!(DmaMask::BITS_64.covers(BusAddr(u64::MAX), 1));
    }

    #[test]
    fn a_frame_without_an_address_is_within_no_mask() {
        for number in [1 << 52, 1 << 52 | 5, 1 << 63, u64::MAX] {
            assert!(!DmaMask::from_bits(63).unwrap().covers(Mfn(number).addr(), 1), "{number:#x}");
        }
    }

    #[test]
    fn mask_bits_round_trip() {
        for bits in PAGE_SHIFT..=64 {
            assert_eq!(DmaMask::from_bits(bits).unwrap().bits(), bits);
        }
        assert_eq!(DmaMask::BITS_32.to_string(), "32-bit mask");
        assert_eq!(alloc::format!("{:?}", DmaMask::BITS_32), "32-bit mask");
        assert_eq!(DmaMask::from_bits(11), None);
        assert_eq!(DmaMask::from_bits(65), None);
    }

    #[test]
    fn frame_arithmetic_stops_at_the_end() {
        assert_eq!(Mfn(1).checked_add(2), Some(Mfn(3)));
        assert_eq!(Mfn(u64::MAX >> PAGE_SHIFT).checked_add(1), None);
        assert_eq!((Mfn::checked(1 << 52), Mfn::checked((1 << 52) - 1)), (None, Some(Mfn::LAST)));
        assert_eq!(BusAddr(0x1234).frame(), Mfn(1));
        assert_eq!(BusAddr(0x1234).page_offset(), 0x234);
    }
}

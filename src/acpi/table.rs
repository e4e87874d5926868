//! A table: its name, its head, whether it is whole, and why it is not.

use crate::{addr::BusAddr, mm::memory::MemoryError};
use alloc::{vec, vec::Vec};
use core::fmt::{self, Debug};

/// The machine's memory by its addresses, to be read.
pub trait Physical {
    /// Copies what lies at `at`.
    fn read(&self, at: BusAddr, into: &mut [u8]) -> Result<(), MemoryError>;
}

/// What a table is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 4]);

impl Signature {
    /// Where config space is in memory.
    pub const MCFG: Self = Self(*b"MCFG");
    /// The event timer.
    pub const HPET: Self = Self(*b"HPET");
    /// Interrupt controllers.
    pub const APIC: Self = Self(*b"APIC");
    /// Intel's IOMMUs.
    pub const DMAR: Self = Self(*b"DMAR");
    /// The same where Xen uses them: it has its dom0 not find them.
    pub const RMAD: Self = Self(*b"RMAD");
    /// AMD's IOMMUs.
    pub const IVRS: Self = Self(*b"IVRS");
    pub(super) const XSDT: Self = Self(*b"XSDT");
    pub(super) const RSDT: Self = Self(*b"RSDT");
    /// The root pointer, which has a longer one.
    pub(super) const RSDP: Self = Self(*b"RSDP");
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
        self.0.into_iter().try_for_each(|byte| fmt::Write::write_char(f, letter(byte)))
    }
}

impl Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a table says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A domU has no firmware.
    #[error("only dom0 is shown firmware's tables")]
    NotDom0,
    /// There is no way to any.
    #[error("UEFI names no root pointer of ACPI's, and there is none in the BIOS's memory")]
    NoPointer,
    /// There is none of this name.
    #[error("firmware has no table {0}")]
    Missing(Signature),
    /// The place that firmware names can't be read.
    #[error("{name} at {at} can't be read: {error}")]
    Unreadable {
        /// Which.
        name: Signature,
        /// Where.
        at: BusAddr,
        /// Why.
        error: MemoryError,
    },
    /// It contradicts itself.
    #[error("{name} at {at} {why}")]
    Damaged {
        /// Which.
        name: Signature,
        /// Where.
        at: BusAddr,
        /// What can't be.
        why: &'static str,
    },
}

impl TableError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotDom0 => "acpi-not-dom0",
            Self::NoPointer => "acpi-none",
            Self::Missing(_) => "acpi-no-mcfg",
            Self::Unreadable { .. } => "acpi-unreadable",
            Self::Damaged { .. } => "acpi-damaged",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NotDom0 => "the guest as dom0, to look at a whole board",
            Self::NoPointer | Self::Missing(_) => {
                "nothing: a board that old has its config space by ports alone, 256 bytes of each function"
            }
            Self::Unreadable { .. } => "see Xen's log for what it refused",
            Self::Damaged { .. } => "update the board's firmware, which wrote it",
        }
    }

    /// Whether a board may be like that.
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NotDom0 | Self::NoPointer | Self::Missing(_))
    }
}

protocol::coded!(TableError);

/// Bytes of the head of each table, and of the longest one that is read.
pub(super) const HEAD: usize = 36;
pub(super) const LONGEST: usize = 64 << 10;
/// A whole table whose head and checksum are right.
pub(super) fn table(
    physical: &dyn Physical,
    name: Signature,
    at: BusAddr,
) -> Result<Vec<u8>, TableError> {
    let damaged = |why| TableError::Damaged { name, at, why };
    let head: [u8; HEAD] = read(physical, name, at)?;
    let len = usize::try_from(number(&head, 4, 4)).unwrap_or(usize::MAX);
    if head[..4] != name.0 {
        return Err(damaged("is called something else"));
    }
    if !(HEAD..=LONGEST).contains(&len) {
        return Err(damaged("has a length that no such table has"));
    }
    let mut bytes = vec![0; len];
    let unreadable = |error| TableError::Unreadable { name, at, error };
    physical.read(at, &mut bytes).map_err(unreadable)?;
    if sum(&bytes) == 0 { Ok(bytes) } else { Err(damaged("has a wrong checksum")) }
}

pub(super) fn read<const N: usize>(
    physical: &dyn Physical,
    name: Signature,
    at: BusAddr,
) -> Result<[u8; N], TableError> {
    let mut bytes = [0; N];
    let unreadable = |error| TableError::Unreadable { name, at, error };
    physical.read(at, &mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// What all bytes of a table add up to; 0 if it is whole.
pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// The little-endian number of `len` bytes at `at`; zero behind the end.
pub(super) fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let bytes = bytes.get(at..at + len).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

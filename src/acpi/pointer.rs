//! The root pointer (RSDP): where UEFI's configuration table names it, else in the BIOS's memory (ACPI 6.5, 5.2.5).

use super::table::{Physical, Signature, TableError, number, read, sum};
use crate::addr::{BusAddr, PAGE_SIZE, PAGE_SIZE_U64, to_usize};
use alloc::vec;
use core::ops::{Range, RangeInclusive};

const MARK: [u8; 8] = *b"RSD PTR ";
/// Its first version, and what a later one is at least and at most.
const SHORT: usize = 20;
const LONG: usize = 36;
const LONGEST: usize = 256;
/// Pointers stand at multiples of this.
const STEP: usize = 16;

/// Where the BIOS's data area says in which paragraph the extended one starts, and how much of that is looked at.
const EXTENDED: BusAddr = BusAddr(0x40e);
const EXTENDED_LEN: u64 = 1024;
/// Where that may start.
const LOW: RangeInclusive<u64> = 0x8_0000..=0xa_0000 - EXTENDED_LEN;
/// The BIOS's read-only memory.
const BIOS: Range<u64> = 0xe_0000..0x10_0000;

/// `EFI_CONFIGURATION_TABLE` entries looked at (UEFI 2.10, 4.6); systems have some twenty.
const ENTRIES: usize = 256;
const ENTRY: usize = 24;
/// `EFI_ACPI_20_TABLE_GUID` and `ACPI_TABLE_GUID`, as they stand in memory.
const GUIDS: [[u8; 16]; 2] = [
    [
        0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88,
        0x81,
    ],
    [
        0x30, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11, 0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1,
        0x4d,
    ],
];

/// A root table: the places of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directory {
    /// XSDT or RSDT.
    pub name: Signature,
    /// Where it is.
    pub at: BusAddr,
    /// Bytes of one address in it.
    pub entry: usize,
}

/// Finds the root table. `uefi` is where the configuration table is, and how many entries it has.
pub fn find(
    physical: &dyn Physical,
    uefi: Option<(BusAddr, usize)>,
) -> Result<Directory, TableError> {
    if let Some((at, entries)) = uefi {
        return by_uefi(physical, at, entries.min(ENTRIES));
    }
    let mut why = TableError::NoPointer;
    let paragraph = read::<2>(physical, Signature::RSDP, EXTENDED).map(u16::from_le_bytes);
    let extended = u64::from(paragraph.unwrap_or(0)) << 4;
    let extended = LOW.contains(&extended).then_some(extended..extended + EXTENDED_LEN);
    let pages = extended.into_iter().chain([BIOS]).flat_map(|area| {
        let end = area.end;
        area.step_by(PAGE_SIZE).map(move |at| at..end.min(at + PAGE_SIZE_U64))
    });
    for page in pages {
        match in_page(physical, page) {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(root),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The first pointer of a page that is whole, or else what there is instead.
fn in_page(physical: &dyn Physical, page: Range<u64>) -> Result<Option<Directory>, TableError> {
    let (name, at) = (Signature::RSDP, BusAddr(page.start));
    let mut bytes = vec![0; to_usize(page.end - page.start)];
    let unreadable = |error| TableError::Unreadable { name, at, error };
    physical.read(at, &mut bytes).map_err(unreadable)?;
    let mut instead = Ok(None);
    for (paragraph, start) in bytes.chunks_exact(STEP).zip(page.step_by(STEP)) {
        if paragraph.starts_with(&MARK) {
            match directory(physical, BusAddr(start)) {
                Ok(root) => return Ok(Some(root)),
                Err(error) => instead = Err(error),
            }
        }
    }
    instead
}

fn by_uefi(physical: &dyn Physical, at: BusAddr, entries: usize) -> Result<Directory, TableError> {
    let mut bytes = vec![0; entries * ENTRY];
    let unreadable = |error| TableError::Unreadable { name: Signature::RSDP, at, error };
    physical.read(at, &mut bytes).map_err(unreadable)?;
    let named = |guid: &[u8; 16]| bytes.chunks_exact(ENTRY).find(|entry| entry.starts_with(guid));
    let entry = GUIDS.iter().find_map(named).ok_or(TableError::NoPointer)?;
    directory(physical, BusAddr(number(entry, 16, 8)))
}

/// What a root pointer leads to.
fn directory(physical: &dyn Physical, at: BusAddr) -> Result<Directory, TableError> {
    let damaged = |why| TableError::Damaged { name: Signature::RSDP, at, why };
    let short: [u8; SHORT] = read(physical, Signature::RSDP, at)?;
    if !short.starts_with(&MARK) || sum(&short) != 0 {
        return Err(damaged("has a wrong mark or checksum"));
    }
    let rsdt = number(&short, 16, 4);
    // Only a later version has more.
    let xsdt = if short[15] < 2 { 0 } else { xsdt(physical, at)? };
    match (xsdt, rsdt) {
        (0, 0) => Err(damaged("leads nowhere")),
        (0, at) => Ok(Directory { name: Signature::RSDT, at: BusAddr(at), entry: 4 }),
        (at, _) => Ok(Directory { name: Signature::XSDT, at: BusAddr(at), entry: 8 }),
    }
}

/// Where a pointer of a later version has its XSDT; 0 if it has none.
fn xsdt(physical: &dyn Physical, at: BusAddr) -> Result<u64, TableError> {
    let damaged = |why| TableError::Damaged { name: Signature::RSDP, at, why };
    let long: [u8; LONG] = read(physical, Signature::RSDP, at)?;
    let len = to_usize(number(&long, 20, 4));
    if !(LONG..=LONGEST).contains(&len) {
        return Err(damaged("has a length that no such pointer has"));
    }
    let mut bytes = vec![0; len];
    let unreadable = |error| TableError::Unreadable { name: Signature::RSDP, at, error };
    physical.read(at, &mut bytes).map_err(unreadable)?;
    if sum(&bytes) == 0 { Ok(number(&bytes, 24, 8)) } else { Err(damaged("has a wrong checksum")) }
}

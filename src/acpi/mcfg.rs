//! MCFG: config space in memory (PCI Firmware Specification 3.3, 4.1.2).

use super::table::{HEAD, Signature, TableError, number};
use crate::{addr::BusAddr, xen::physdev::ConfigRegion};
use alloc::vec::Vec;

/// Where its records start, after eight reserved bytes, and how long one is.
const RECORDS: usize = HEAD + 8;
const RECORD: usize = 16;
/// Regions taken. A board has one for each segment.
const MOST: usize = 64;
/// No x86 processor has more lines for addresses.
const ADDRESSES: u64 = 1 << 52;

/// The regions of a table that is whole.
pub(super) fn read(bytes: &[u8], at: BusAddr) -> Result<Vec<ConfigRegion>, TableError> {
    let damaged = |why| TableError::Damaged { name: Signature::MCFG, at, why };
    let records = bytes.get(RECORDS..).ok_or_else(|| damaged("ends before its first record"))?;
    let mut regions: Vec<ConfigRegion> = Vec::new();
    for record in records.chunks_exact(RECORD) {
        let &[_, _, _, _, _, _, _, _, low, high, first, last, ..] = record else { continue };
        let base = BusAddr(number(record, 0, 8));
        let segment = u16::from_le_bytes([low, high]);
        let region = ConfigRegion { base, segment, first, last };
        contradiction(&region, &regions).map_or(Ok(()), |why| Err(damaged(why)))?;
        regions.push(region);
    }
    if regions.is_empty() { Err(damaged("has no record")) } else { Ok(regions) }
}

/// What can't be of a region, beside those before it.
fn contradiction(region: &ConfigRegion, before: &[ConfigRegion]) -> Option<&'static str> {
    let memory = |region: &ConfigRegion| region.start().0..region.start().0 + region.len();
    if region.first > region.last {
        return Some("has a region whose first bus comes after its last");
    }
    if region.base.0 == 0 || !region.base.0.is_multiple_of(ConfigRegion::BUS) {
        return Some("has a region that no bus can start at");
    }
    if region.base.0 > ADDRESSES - 256 * ConfigRegion::BUS {
        return Some("has a region beyond all addresses");
    }
    if before.len() == MOST {
        return Some("has more regions than boards have segments");
    }
    let own = memory(region);
    let twice = before.iter().any(|other| {
        let buses = other.segment == region.segment
            && other.first <= region.last
            && region.first <= other.last;
        let memory = memory(other);
        buses || (memory.start < own.end && own.start < memory.end)
    });
    twice.then_some("has two regions for the same")
}

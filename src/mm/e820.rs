//! The memory map: what the toolstack says lies where in the guest's own numbering.
//!
//! A domain with `e820_host=1` (xl sets it whenever `pci=` is given) gets the host's holes; any other PV
//! domain gets no map at all, and is flat from 0 to its size.

use crate::{
    addr::{GIB_4, PAGE_SIZE_U64, Pfn, PhysAddr},
    mm::p2m::PfnRange,
    xen::errno::XenError,
};
use core::fmt;

/// Entries this guest takes; Xen cuts longer maps silently, so this is more than any host has.
pub const MAX_ENTRIES: usize = 128;

/// Where a guest that gets no map starts its own hole, which ends at 4 GiB.
const HOLE: u64 = 3 << 30;

/// Kinds of memory, as in ACPI's `AddressRangeType` (ACPI 6.5, table 15.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RAM.
    Ram,
    /// Not to be used: firmware, device registers.
    Reserved,
    /// ACPI tables, reclaimable.
    AcpiTables,
    /// ACPI memory to keep.
    AcpiNvs,
    /// Bad, or made unusable for this domain by the toolstack.
    Unusable,
    /// A number this guest has no name for; treated as reserved.
    Other(u32),
}

impl Kind {
    const fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Ram,
            2 => Self::Reserved,
            3 => Self::AcpiTables,
            4 => Self::AcpiNvs,
            5 => Self::Unusable,
            other => Self::Other(other),
        }
    }
}

/// One range of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First byte.
    pub start: PhysAddr,
    /// Length in bytes.
    pub len: u64,
    /// What is there.
    pub kind: Kind,
}

impl Entry {
    const EMPTY: Self = Self { start: PhysAddr(0), len: 0, kind: Kind::Reserved };

    /// The byte after the last; saturates.
    pub const fn end(&self) -> u64 {
        self.start.0.saturating_add(self.len)
    }

    /// Takes one of Xen's 20-byte entries apart: start, length, type, little-endian. What lies behind the last
    /// address is cut off.
    fn from_raw(raw: [u8; 20]) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let kind = Kind::from_raw(u32::from_le_bytes([raw[16], raw[17], raw[18], raw[19]]));
        let (start, len) = (word(0), word(8));
        Self { start: PhysAddr(start), len: len.min(u64::MAX - start), kind }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.end().saturating_sub(1);
        write!(f, "{:#018x}-{last:#018x} {:?}", self.start.0, self.kind)
    }
}

/// Why a map can't be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Two ranges claim the same bytes as different kinds.
    #[error("{0} and {1} overlap")]
    Overlap(Entry, Entry),
    /// No RAM anywhere.
    #[error("the map has no RAM")]
    NoRam,
    /// Xen has one, perhaps, and does not say.
    #[error("Xen gave no memory map: {0}")]
    Refused(XenError),
}

/// A sorted memory map without overlaps.
#[derive(Clone, Debug)]
pub struct Map {
    entries: [Entry; MAX_ENTRIES],
    len: usize,
    own_hole: bool,
}

impl Map {
    /// RAM from 0, `pages` of it: what a domain without a map has.
    pub fn flat(pages: u64) -> Self {
        let mut entries = [Entry::EMPTY; MAX_ENTRIES];
        entries[0] = Entry { start: PhysAddr(0), len: Pfn(pages).addr().0, kind: Kind::Ram };
        Self { entries, len: 1, own_hole: false }
    }

    /// Sorts Xen's entries, drops empty ones and joins neighbours of one kind.
    pub fn from_raw(raw: &[[u8; 20]]) -> Result<Self, MapError> {
        let mut map = Self { entries: [Entry::EMPTY; MAX_ENTRIES], len: 0, own_hole: false };
        for &bytes in raw.iter().take(MAX_ENTRIES) {
            let entry = Entry::from_raw(bytes);
            if entry.len != 0 {
                map.insert(entry);
            }
        }
        map.join()?;
        if map.entries().iter().all(|entry| entry.kind != Kind::Ram) {
            return Err(MapError::NoRam);
        }
        Ok(map)
    }

    /// The map with a hole from 3 to 4 GiB, whose RAM continues above, if it is nothing but RAM and reaches into
    /// that: there a PC has its devices. Any other map is the host's, and has the host's holes.
    pub fn with_hole(mut self) -> Self {
        let &[Entry { start: PhysAddr(0), len, kind: Kind::Ram }] = self.entries() else {
            return self;
        };
        if len > HOLE {
            let entry = |start, len, kind| Entry { start: PhysAddr(start), len, kind };
            self.entries[0] = entry(0, HOLE, Kind::Ram);
            self.entries[1] = entry(HOLE, GIB_4 - HOLE, Kind::Reserved);
            self.entries[2] = entry(GIB_4, len - HOLE, Kind::Ram);
            (self.len, self.own_hole) = (3, true);
        }
        self
    }

    /// Whether the hole is the guest's own, not the host's.
    pub const fn has_own_hole(&self) -> bool {
        self.own_hole
    }

    /// The ranges in address order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries[..self.len]
    }

    /// Bytes of RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.entries().iter().filter(|e| e.kind == Kind::Ram).map(|e| e.len).sum()
    }

    /// What the map says of a page: the kind of the first range that touches it, `None` in a hole.
    pub fn kind_of(&self, pfn: Pfn) -> Option<Kind> {
        let (start, end) = (pfn.addr().0, pfn.addr().0.saturating_add(PAGE_SIZE_U64));
        self.entries().iter().find(|e| e.start.0 < end && e.end() > start).map(|e| e.kind)
    }

    /// The first part of a run of pages that lies in RAM whole.
    pub fn first_ram(&self, run: PfnRange) -> Option<PfnRange> {
        let ram = self.entries().iter().filter(|entry| entry.kind == Kind::Ram);
        let mut parts = ram.map(|entry| {
            let first = Pfn(entry.start.0.div_ceil(PAGE_SIZE_U64)).max(run.start);
            PfnRange::between(first, PhysAddr(entry.end()).frame().min(run.end()))
        });
        parts.find(|part| part.count > 0)
    }

    /// All such parts.
    pub fn ram_in(&self, mut run: PfnRange) -> impl Iterator<Item = PfnRange> {
        core::iter::from_fn(move || {
            let ram = self.first_ram(run)?;
            run = PfnRange::between(ram.end(), run.end());
            Some(ram)
        })
    }

    /// The first part of a run that does not.
    pub fn first_gap(&self, mut run: PfnRange) -> Option<PfnRange> {
        while run.count > 0 {
            match self.first_ram(run) {
                Some(ram) if ram.start == run.start => {
                    run = PfnRange::between(ram.end(), run.end());
                }
                Some(ram) => return Some(PfnRange::between(run.start, ram.start)),
                None => return Some(run),
            }
        }
        None
    }

    /// All such parts.
    pub fn gaps_in(&self, mut run: PfnRange) -> impl Iterator<Item = PfnRange> {
        core::iter::from_fn(move || {
            let gap = self.first_gap(run)?;
            run = PfnRange::between(gap.end(), run.end());
            Some(gap)
        })
    }

    /// The first range of RAM that shares a byte with `len` bytes from `start`.
    pub fn ram_under(&self, start: u64, len: u64) -> Option<Entry> {
        let end = start.saturating_add(len);
        let shares = |e: &&Entry| e.kind == Kind::Ram && e.start.0 < end && start < e.end();
        self.entries().iter().find(shares).copied()
    }

    /// Puts an entry in its place by address. The list is short, and mostly sorted when it comes.
    fn insert(&mut self, entry: Entry) {
        let place = self.entries().partition_point(|other| other.start <= entry.start);
        self.entries.copy_within(place..self.len, place + 1);
        self.entries[place] = entry;
        self.len += 1;
    }

    fn join(&mut self) -> Result<(), MapError> {
        let mut kept = 0;
        for i in 1..self.len {
            let (last, next) = (self.entries[kept], self.entries[i]);
            if next.kind == last.kind && next.start.0 <= last.end() {
                self.entries[kept].len = last.end().max(next.end()) - last.start.0;
            } else if next.start.0 < last.end() {
                return Err(MapError::Overlap(last, next));
            } else {
                kept += 1;
                self.entries[kept] = next;
            }
        }
        self.len = self.len.min(kept + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};
    use proptest::prelude::*;

    fn raw(start: u64, len: u64, kind: u32) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..16].copy_from_slice(&len.to_le_bytes());
        bytes[16..].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn a_host_map_is_sorted_and_joined() {
        let map = Map::from_raw(&[
            raw(0x10_0000, 0x1000, 1),
            raw(0xe000_0000, 0x1000_0000, 2),
            raw(0, 0x10_0000, 1),
            raw(0x5000, 0, 2),
        ])
        .unwrap();
        assert_eq!(map.entries().len(), 2);
        assert_eq!(map.ram_bytes(), 0x10_1000);
        // Each range to its last page, and not beyond.
        let kinds = [0x100, 0x101, 0xd_ffff, 0xe_0000, 0xe_ffff, 0xf_0000, 0x200];
        let (ram, reserved) = (Some(Kind::Ram), Some(Kind::Reserved));
        let expected = [ram, None, None, reserved, reserved, None, None];
        assert_eq!(kinds.map(|pfn| map.kind_of(Pfn(pfn))), expected);
        let texts: Vec<_> = map.entries().iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "0x0000000000000000-0x0000000000100fff Ram");
        assert_eq!(texts[1], "0x00000000e0000000-0x00000000efffffff Reserved");
    }

    #[test]
    fn ram_under_a_reserved_range_is_an_error_with_both_ranges() {
        let error = Map::from_raw(&[raw(0, 0x2000, 1), raw(0x1000, 0x2000, 2)]).unwrap_err();
        assert!(
            matches!(error, MapError::Overlap(a, b) if a.kind == Kind::Ram && b.kind == Kind::Reserved)
        );
    }

    #[test]
    fn pages_the_map_reserves_are_left_out() {
        let map = Map::from_raw(&[
            raw(0, 0x10_800, 1),
            raw(0x10_800, 0x1000, 2),
            raw(0x1_0000_0800, 0x4000, 1),
        ])
        .unwrap();
        let run = |start, count| PfnRange { start: Pfn(start), count };
        let parts = |all| map.ram_in(all).collect::<Vec<_>>();
        assert_eq!(parts(run(0, 0x20_0000)), [run(0, 0x10), run(0x10_0001, 3)]);
        assert_eq!(parts(run(8, 0x100)), [run(8, 8)]);
        assert_eq!(parts(run(0x11, 0x100)), []);
    }

    #[test]
    fn a_bar_under_ram_is_found_with_the_range() {
        let map = Map::from_raw(&[raw(0, 0x8000_0000, 1), raw(0xf000_0000, 0x1000, 2)]).unwrap();
        assert_eq!(map.ram_under(0x7fff_ffff, 0x100).unwrap().len, 0x8000_0000);
        assert_eq!(map.ram_under(0x8000_0000, 0x100), None);
        assert_eq!(map.ram_under(0xf000_0000, 0x100), None);
    }

    #[test]
    fn a_flat_map_beyond_3_gib_gets_a_hole_and_keeps_its_ram() {
        let map = Map::flat(0xc_0001).with_hole();
        assert!(map.has_own_hole());
        assert_eq!((map.entries().len(), map.ram_bytes()), (3, 0xc000_1000));
        assert_eq!(map.ram_under(HOLE, GIB_4 - HOLE), None);
        assert_eq!(map.entries()[1].end(), GIB_4);
        assert_eq!(map.ram_under(GIB_4, 1).unwrap().end(), GIB_4 + 0x1000);
        assert_eq!(Map::flat(0xc_0000).with_hole().entries().len(), 1);
        let raw = [raw(0, 0xf000_0000, 1), raw(0xf000_0000, 0x1000, 2)];
        let host = Map::from_raw(&raw).unwrap().with_hole();
        assert!(!host.has_own_hole() && host.entries().len() == 2);
    }

    #[test]
    fn a_map_without_ram_is_refused() {
        assert_eq!(Map::from_raw(&[raw(0, 0x1000, 2)]).unwrap_err(), MapError::NoRam);
        assert_eq!(Map::from_raw(&[]).unwrap_err(), MapError::NoRam);
        assert_eq!(Map::flat(2).ram_bytes(), 8192);
    }

    #[test]
    fn ranges_beyond_the_last_address_are_cut_there() {
        let map = Map::from_raw(&[raw(0, 1 << 63, 1), raw(1 << 63, u64::MAX, 1)]).unwrap();
        assert_eq!(map.ram_bytes(), u64::MAX);
        let map = Map::from_raw(&[raw(0, 1 << 63, 2), raw(u64::MAX - 0xfff, u64::MAX, 1)]).unwrap();
        assert_eq!(map.ram_bytes(), 0xfff);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_sorted_map_or_an_error(
            raw in prop::collection::vec(prop::array::uniform20(any::<u8>()), 0..140)
        ) {
            if let Ok(map) = Map::from_raw(&raw) {
                for pair in map.entries().windows(2) {
                    prop_assert!(pair[0].end() <= pair[1].start.0);
                }
                prop_assert!(map.ram_bytes() > 0);
                for pfn in [Pfn(0), Pfn::LAST, Pfn(u64::MAX)] {
                    map.kind_of(pfn);
                }
                let all = PfnRange::between(Pfn(0), Pfn(u64::MAX));
                let ram: u64 = map.ram_in(all).map(|part| part.count).sum();
                let gaps: u64 = map.gaps_in(all).map(|part| part.count).sum();
                prop_assert_eq!(ram + gaps, u64::MAX);
                prop_assert!(map.with_hole().entries().len() <= MAX_ENTRIES);
            }
        }
    }
}

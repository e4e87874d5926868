//! Which page tables the guest's window has, and which entry a new one hangs under: the plan, no doing.
//!
//! The guest maps what it touches in one window of 512 GiB, that is one entry of the top table:
//!
//! ```text
//! DIRECT  0xffff880000000000  + pfn * 4096: RAM, in the order of the guest's own numbering
//! IO      0xffff884000000000  device registers and pages of other domains, in order of mapping
//! ```
//!
//! The builder's own mapping of the image (linker.ld) is another entry and stays as it is.
//! Entries of the lowest level are written by `HYPERVISOR_update_va_mapping`, which needs no table's
//! frame, so one bit per lowest table is all there is to remember.

use crate::{
    addr::{BusAddr, Mfn, PAGE_SHIFT, PAGE_SIZE_U64, Pfn, to_usize},
    xen::hypercall::Pte,
};
use x86_64::structures::paging::PageTableFlags;

/// Where the page of PFN 0 is mapped.
pub const DIRECT: u64 = 0xffff_8800_0000_0000;
/// Where memory that isn't ours is mapped.
pub const IO: u64 = DIRECT + (256 << 30);
/// The first PFN that has no place in the direct map.
pub const DIRECT_END: Pfn = Pfn((IO - DIRECT) >> PAGE_SHIFT);
/// End of the window.
pub const END: u64 = DIRECT + (512 << 30);

const ENTRIES: usize = 512;
/// Bytes that one of the lowest tables maps.
pub const L1_SPAN: u64 = 2 << 20;
const L2_SPAN: u64 = 1 << 30;

const PAGE: PageTableFlags = PageTableFlags::PRESENT
    // A 64-bit PV kernel runs in ring 3.
    .union(PageTableFlags::USER_ACCESSIBLE)
    // Set in advance, so that the CPU needn't.
    .union(PageTableFlags::ACCESSED)
    .union(PageTableFlags::DIRTY);
/// How instructions are mapped.
pub const CODE: PageTableFlags = PAGE;
/// How constants are mapped.
pub const CONSTANT: PageTableFlags = PAGE.union(PageTableFlags::NO_EXECUTE);
/// How variables are mapped.
pub const DATA: PageTableFlags = CONSTANT.union(PageTableFlags::WRITABLE);
/// How device registers are mapped: strictly uncached.
pub const REGISTERS: PageTableFlags =
    DATA.union(PageTableFlags::NO_CACHE).union(PageTableFlags::WRITE_THROUGH);
/// The bits of an address from 32 on, in an entry.
const ABSENT_ADDRESS: u64 = 0x000f_ffff_0000_0000;
/// An entry that points to a table.
pub const TABLE: PageTableFlags = PAGE.union(PageTableFlags::WRITABLE);

impl Pte {
    /// Nothing mapped. All bits zero: a non-present entry with address bits set would make Xen guard
    /// against L1TF.
    pub const NONE: Self = Self(0);

    /// An entry that maps nothing and has 43 bits of `drawn`: for a table that nothing but its bytes is wanted of.
    ///
    /// Its address has all bits from 32 on set, which is beyond any memory: what Xen takes for safe against L1TF
    /// (`is_l1tf_safe_maddr`).
    pub const fn absent(drawn: u64) -> Self {
        const FREE: u64 = !(ABSENT_ADDRESS | PageTableFlags::PRESENT.bits());
        Self(drawn & FREE | ABSENT_ADDRESS)
    }

    /// `frame`, used as `flags` say.
    pub const fn new(frame: Mfn, flags: PageTableFlags) -> Self {
        Self(frame.addr().0 | flags.bits())
    }
}

/// The virtual address of a PFN's page in the direct map; `None` past its end.
pub const fn direct(pfn: Pfn) -> Option<u64> {
    match pfn.0.checked_mul(PAGE_SIZE_U64) {
        Some(offset) if offset < IO - DIRECT => Some(DIRECT + offset),
        _ => None,
    }
}

/// The PFN whose page a direct-map address lies in.
pub const fn direct_pfn(virt: u64) -> Option<Pfn> {
    if virt >= DIRECT && virt < IO { Some(Pfn((virt - DIRECT) >> PAGE_SHIFT)) } else { None }
}

/// A table that must be made before an address can be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Machine address of the entry it hangs under.
    pub entry: BusAddr,
    level: Level,
}

impl Missing {
    /// Whether it is one of the lowest, whose entries are pages.
    pub const fn is_lowest(&self) -> bool {
        matches!(self.level, Level::L1 { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    L3,
    L2 { at: usize },
    L1 { at: usize },
}

/// The tables of the window.
#[derive(Debug)]
pub struct Tables {
    l4: Mfn,
    l3: Option<Mfn>,
    l2: [Option<Mfn>; ENTRIES],
    l1: [u64; ENTRIES * ENTRIES / 64],
    made: u64,
}

impl Tables {
    /// No table yet under the top table in frame `l4`.
    pub const fn new(l4: Mfn) -> Self {
        Self { l4, l3: None, l2: [None; ENTRIES], l1: [0; ENTRIES * ENTRIES / 64], made: 0 }
    }

    /// Tables made so far, a frame each.
    pub const fn made(&self) -> u64 {
        self.made
    }

    /// The topmost table that is missing on the way to `virt`; `None` if `virt` can be mapped.
    ///
    /// # Panics
    /// If `virt` is outside the window.
    pub fn missing(&self, virt: u64) -> Option<Missing> {
        let (l1, l2) = Self::indices(virt);
        let Some(l3) = self.l3 else {
            let index = (virt >> 39) & 511;
            return Some(Missing { entry: entry(self.l4, index), level: Level::L3 });
        };
        let Some(table) = self.l2[l2] else {
            return Some(Missing { entry: entry(l3, l2 as u64), level: Level::L2 { at: l2 } });
        };
        if self.l1[l1 / 64] >> (l1 % 64) & 1 == 0 {
            let index = l1 as u64 & 511;
            return Some(Missing { entry: entry(table, index), level: Level::L1 { at: l1 } });
        }
        None
    }

    /// Records that the missing table was made in frame `mfn`.
    pub fn made_in(&mut self, missing: Missing, mfn: Mfn) {
        match missing.level {
            Level::L3 => self.l3 = Some(mfn),
            Level::L2 { at } => self.l2[at] = Some(mfn),
            Level::L1 { at } => self.l1[at / 64] |= 1 << (at % 64),
        }
        self.made += 1;
    }

    /// Number of the lowest table, and of the one above it, that cover `virt`.
    fn indices(virt: u64) -> (usize, usize) {
        assert!((DIRECT..END).contains(&virt), "{virt:#x} is outside the guest's window");
        let offset = virt - DIRECT;
        (to_usize(offset / L1_SPAN), to_usize(offset / L2_SPAN))
    }
}

/// Machine address of entry `index` of the table in frame `table`.
const fn entry(table: Mfn, index: u64) -> BusAddr {
    BusAddr(table.addr().0 + index * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_all(tables: &mut Tables, virt: u64, mut frame: u64) -> u64 {
        while let Some(missing) = tables.missing(virt) {
            tables.made_in(missing, Mfn(frame));
            frame += 1;
        }
        frame
    }

    #[test]
    fn tables_are_made_from_the_top_down_and_once() {
        let mut tables = alloc::boxed::Box::new(Tables::new(Mfn(7)));
        assert_eq!(tables.missing(DIRECT).unwrap().entry, BusAddr(7 * 4096 + 272 * 8));
        let next = make_all(&mut tables, DIRECT, 100);
        assert_eq!(next, 103);
        // The same 2 MiB: nothing; the next: one more; the next GiB: two more.
        assert_eq!(make_all(&mut tables, DIRECT + L1_SPAN - 1, next), next);
        assert_eq!(tables.missing(DIRECT + L1_SPAN).unwrap().entry, BusAddr(101 * 4096 + 8));
        assert_eq!(make_all(&mut tables, DIRECT + L1_SPAN, next), next + 1);
        assert_eq!(make_all(&mut tables, DIRECT + L2_SPAN + 4096, next), next + 2);
        assert_eq!(tables.made(), 6);
    }

    #[test]
    fn the_direct_map_goes_both_ways_and_ends_at_io() {
        assert_eq!(direct_pfn(direct(Pfn(0x1234)).unwrap() + 5), Some(Pfn(0x1234)));
        assert_eq!(direct(Pfn((IO - DIRECT) / 4096)), None);
        assert_eq!(direct_pfn(IO), None);
        assert_eq!(direct_pfn(DIRECT - 1), None);
    }

    #[test]
    fn an_absent_entry_has_no_address_bits() {
        assert_eq!(Pte::NONE.0, 0);
        assert_eq!(Pte::new(Mfn(1), CONSTANT).0 & 2, 0);
    }

    #[test]
    fn what_is_drawn_for_an_entry_never_maps_anything() {
        assert_eq!(Pte::absent(u64::MAX).0, u64::MAX - 1);
        assert_eq!(Pte::absent(0).0, 0x000f_ffff_0000_0000);
        // Above three quarters of any width of addresses that a processor has.
        for bits in 36..=52 {
            let address = Pte::absent(0x1234_5678).0 & ((1 << bits) - 1) & !0xfff;
            assert!(address >= 3 << (bits - 2), "{bits}: {address:#x}");
        }
    }
}

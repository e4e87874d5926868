//! Boards whose tables are right, and ones whose firmware means ill.

use super::{
    fake::{FakeMemory, directory, mcfg, pointer, region, sealed, table},
    table::LONGEST,
    tables::{MOST, io_apics, timer},
    *,
};
use crate::{addr::BusAddr, xen::physdev::ConfigRegion};
use alloc::{string::ToString, vec::Vec};
use std::format;

const XSDT: u64 = 0x7fe0_1000;
const MCFG: u64 = 0x7fe0_2000;
const HPET: u64 = 0x7fe0_3000;
const MADT: u64 = 0x7fe0_4000;
const DMAR: u64 = 0x7fe0_5000;
const BASE: u64 = 0xb000_0000;

fn hpet() -> Vec<u8> {
    let mut body = [0; 20];
    body[8..16].copy_from_slice(&0xfed0_0000_u64.to_le_bytes());
    table(b"HPET", &body)
}

fn madt() -> Vec<u8> {
    let mut body = [0; 8].to_vec();
    body.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    body.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    body.extend([1, 12, 1, 0, 0, 0, 0xc8, 0xfe, 24, 0, 0, 0]);
    table(b"APIC", &body)
}

/// A board with all of it, by its XSDT.
fn board(mcfg: &[u8]) -> FakeMemory {
    FakeMemory::bios()
        .with(0xf_5a30, &pointer(0, Some(XSDT)))
        .with(XSDT, &directory(b"XSDT", 8, &[MADT, MCFG, 0, HPET, DMAR]))
        .with(DMAR, b"RMAD")
        .with(MCFG, mcfg)
        .with(HPET, &hpet())
        .with(MADT, &madt())
}

fn all(memory: &FakeMemory) -> Result<Tables, TableError> {
    Tables::read(memory, find(memory, None)?)
}

fn one() -> Vec<u8> {
    mcfg(&[region(BASE, 0, 0, 0xff)])
}

#[test]
fn a_board_says_where_config_space_timers_and_interrupt_controllers_are() {
    let tables = all(&board(&one())).unwrap();
    let names: Vec<_> = tables.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["APIC", "MCFG", "HPET", "RMAD"]);
    assert_eq!(tables.iommus(), Some(Signature::RMAD));
    let regions = tables.regions.unwrap();
    assert_eq!(regions, [ConfigRegion { base: BusAddr(BASE), segment: 0, first: 0, last: 0xff }]);
    assert_eq!(regions[0].to_string(), "segment 0000, buses 00 to ff, at 0xb0000000");
    assert_eq!(
        (tables.timers, tables.io_apics),
        ([0xfed0_0000].into(), [0xfec0_0000, 0xfec8_0000].into())
    );
    assert_eq!(tables.odd, []);
}

#[test]
fn an_old_board_has_an_rsdt_and_its_pointer_in_extended_memory() {
    let rsdt = directory(b"RSDT", 4, &[MCFG]);
    let memory = FakeMemory::bios()
        .with(0x40e, &[0xc0, 0x9f])
        .with(0x9_fc00, &[0; 1024])
        .with(0x9_fc10, &pointer(0x7fe0_1000, None))
        .with(XSDT, &rsdt)
        .with(MCFG, &one());
    let root = find(&memory, None).unwrap();
    assert_eq!((root.name.to_string().as_str(), root.at.0, root.entry), ("RSDT", XSDT, 4));
    let tables = all(&memory).unwrap();
    assert_eq!((tables.regions.unwrap().len(), tables.names.len()), (1, 1));
    // Version 2 without an XSDT is led by the RSDT, too.
    let memory = memory.with(0x9_fc10, &pointer(0x7fe0_1000, Some(0)));
    assert_eq!(find(&memory, None), Ok(root));
}

#[test]
fn uefi_names_the_pointer_and_the_newer_of_two_counts() {
    let guid = |text: &str| -> Vec<u8> {
        (0..16).map(|n| u8::from_str_radix(&text[2 * n..][..2], 16).unwrap()).collect()
    };
    let entry = |text: &str, at: u64| [guid(text), at.to_le_bytes().to_vec()].concat();
    let old = entry("302d9deb882dd3119a160090273fc14d", 0x7f00_0000);
    let new = entry("71e86888f1e4d311bc220080c73c8881", 0x7f00_0100);
    let other = entry("00112233445566778899aabbccddeeff", 3);
    let list = [other, old.clone(), new].concat();
    let memory = FakeMemory::default()
        .with(0x7f00_0000, &pointer(0x1000, None))
        .with(0x7f00_0100, &pointer(0, Some(0x1_2345_6000)))
        .with(0x7e00_0000, &list);
    let at = BusAddr(0x7e00_0000);
    assert_eq!(find(&memory, Some((at, 3))).unwrap().at.0, 0x1_2345_6000);
    assert_eq!(find(&memory, Some((at, 2))).unwrap().at.0, 0x1000);
    assert_eq!(find(&memory, Some((at, 1))), Err(TableError::NoPointer));
    // What firmware names has to have the mark, too, whatever its sum.
    let mut unmarked = pointer(0x1000, None);
    unmarked.swap(0, 1);
    let memory = FakeMemory::default().with(0x7f00_0000, &unmarked).with(0x7e00_0000, &list);
    assert_eq!(find(&memory, Some((at, 2))).unwrap_err().code(), "acpi-damaged");
    let error = find(&memory, Some((at, usize::MAX))).unwrap_err();
    assert_eq!(error.code(), "acpi-unreadable", "more than lies there");
}

#[test]
fn a_damaged_pointer_is_passed_over_for_a_whole_one_and_told_without() {
    let mut torn = pointer(0, Some(XSDT));
    torn[35] ^= 1;
    let memory = FakeMemory::bios().with(0xe_0010, &torn);
    assert_eq!(find(&memory, None).unwrap_err().code(), "acpi-damaged");
    let memory = memory.with(0xf_fff0 - 0x20, &pointer(0, Some(XSDT)));
    assert_eq!(find(&memory, None).unwrap().at.0, XSDT);
    // Not at a paragraph, not at all; and what says nothing.
    let memory = FakeMemory::bios().with(0xe_0008, &pointer(1, None));
    assert_eq!(find(&memory, None), Err(TableError::NoPointer));
    let memory = FakeMemory::bios().with(0xe_0000, &pointer(0, None));
    assert_eq!(find(&memory, None).unwrap_err().to_string(), "RSDP at 0xe0000 leads nowhere");
    let unreadable = find(&FakeMemory::default(), None).unwrap_err();
    assert_eq!(unreadable.code(), "acpi-unreadable");
}

#[test]
fn a_pointer_s_length_is_held_against_limits() {
    for (len, code) in [(35, "acpi-damaged"), (36, ""), (256, ""), (257, "acpi-damaged")] {
        let mut long = pointer(0, Some(XSDT));
        long.resize(300, 0);
        long[20..24].copy_from_slice(&u32::to_le_bytes(len));
        let len = usize::try_from(len).unwrap().min(300);
        let rest = long.split_off(len);
        let sealed = [sealed(long, 32), rest].concat();
        let found = find(&FakeMemory::bios().with(0xe_0000, &sealed), None);
        assert_eq!(found.err().map_or("", |error| error.code()), code, "{len}");
    }
}

/// What comes of config space if MCFG is this.
fn regions(mcfg: &[u8]) -> Result<Vec<ConfigRegion>, TableError> {
    let memory = board(mcfg);
    let tables = all(&memory).unwrap();
    assert!(memory.reads().1 <= LONGEST);
    assert_eq!(tables.timers.len(), 1, "the other tables are read all the same");
    tables.regions
}

#[test]
fn a_table_that_can_t_be_is_told_and_the_others_are_read() {
    let set = |at: usize, byte: u8| {
        let mut bytes = one();
        bytes[at] = byte;
        bytes
    };
    let why = |bytes: &[u8]| match regions(bytes).unwrap_err() {
        TableError::Damaged { why, name: Signature::MCFG, at: BusAddr(MCFG) } => why,
        other => panic!("{other}"),
    };
    assert_eq!(why(&set(40, 1)), "has a wrong checksum");
    assert_eq!(why(&set(4, 35)), "has a length that no such table has");
    assert_eq!(why(&set(7, 0xff)), "has a length that no such table has");
    assert_eq!(why(&set(6, 1)), "has a length that no such table has", "64 KiB and 60");
    assert_eq!(regions(&set(4, 61)).unwrap_err().code(), "acpi-unreadable", "behind its end");
    assert_eq!(why(&table(b"MCFG", &[])), "ends before its first record");
    assert_eq!(why(&table(b"MCFG", &[0; 7])), "ends before its first record");
    assert_eq!(why(&table(b"MCFG", &[0; 8])), "has no record");
    assert_eq!(why(&table(b"MCFG", &[0; 23])), "has no record");
}

#[test]
fn of_two_tables_of_regions_the_first_is_read() {
    const OTHER: u64 = 0x7fe0_6000;
    let memory = board(&one())
        .with(XSDT, &directory(b"XSDT", 8, &[MCFG, OTHER]))
        .with(OTHER, &mcfg(&[region(BASE << 4, 0, 0, 0xff)]));
    let tables = all(&memory).unwrap();
    assert_eq!(tables.regions.unwrap()[0].start().0, BASE);
    assert_eq!(tables.names, [Signature::MCFG; 2]);
}

#[test]
fn a_region_that_can_t_be_is_none() {
    let why = |records: &[[u8; 16]]| match regions(&mcfg(records)) {
        Err(TableError::Damaged { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(&[region(BASE, 0, 3, 2)]).contains("first bus"));
    assert!(why(&[region(0, 0, 0, 0xff)]).contains("start at"));
    assert!(why(&[region(BASE + 0x1000, 0, 0, 0xff)]).contains("start at"));
    assert!(why(&[region(u64::MAX << 20, 0, 0, 0xff)]).contains("addresses"));
    assert!(why(&[region((1 << 52) - (255 << 20), 0, 0, 0)]).contains("addresses"));
    let last = region((1 << 52) - (256 << 20), 0, 0, 0xff);
    assert_eq!(regions(&mcfg(&[last])).unwrap()[0].len(), 256 << 20);
    let twice = "has two regions for the same";
    assert_eq!(why(&[region(BASE, 0, 0, 9), region(BASE << 4, 0, 9, 0xff)]), twice, "a bus");
    assert_eq!(why(&[region(BASE, 0, 0, 9), region(BASE, 1, 9, 0xff)]), twice, "memory");
    let apart = [region(BASE, 0, 0, 9), region(BASE, 0, 10, 0xff), region(BASE << 4, 1, 0, 0xff)];
    let apart = regions(&mcfg(&apart)).unwrap();
    assert_eq!(apart.iter().map(|region| region.start().0).max(), Some(BASE << 4));
    assert_eq!(apart[1].start().0, BASE + (10 << 20), "the base is bus 0's");
    let below = [region(BASE + (256 << 20), 1, 0, 0xff), region(BASE, 0, 0, 0xff)];
    assert_eq!(regions(&mcfg(&below)).unwrap().len(), 2, "one ends where the other begins");
    let many = |count: u64| -> Vec<_> {
        (0..count).map(|n| region(BASE + (n << 28), u16::try_from(n).unwrap(), 0, 0)).collect()
    };
    assert_eq!(regions(&mcfg(&many(64))).unwrap().len(), 64);
    assert!(why(&many(65)).contains("segments"));
}

#[test]
fn a_function_s_page_is_in_its_region_alone() {
    let region = ConfigRegion { base: BusAddr(BASE), segment: 1, first: 0x10, last: 0x1f };
    let page =
        |segment, bus, devfn| region.page(crate::xen::physdev::Place { segment, bus, devfn });
    assert_eq!(page(1, 0x10, 0), Some(BusAddr(0xb100_0000)));
    assert_eq!(page(1, 0x1f, 0xff), Some(BusAddr(0xb1ff_f000)));
    for (segment, bus) in [(0, 0x10), (1, 0xf), (1, 0x20)] {
        assert_eq!(page(segment, bus, 0), None);
    }
}

#[test]
fn a_root_table_is_read_so_far_and_no_further() {
    // As many addresses as there may be, all of one table.
    let many = directory(b"XSDT", 8, &[HPET; 300]);
    let memory = FakeMemory::bios().with(0xf_0000, &pointer(0, Some(XSDT))).with(XSDT, &many);
    let tables = all(&memory).unwrap();
    assert_eq!(tables.odd.len(), MOST, "nothing lies there");
    let tables = all(&memory.with(HPET, &hpet())).unwrap();
    assert_eq!((tables.timers.len(), tables.odd.len()), (MOST, 0));
    // One that is called something else, and one that is cut.
    let memory = board(&one()).with(XSDT, b"XSDX");
    assert!(all(&memory).unwrap_err().to_string().contains("something else"));
    let memory = board(&one()).with(XSDT + 4, &u32::to_le_bytes(0));
    assert!(all(&memory).unwrap_err().to_string().contains("length"));
}

#[test]
fn records_of_interrupt_controllers_end_where_they_contradict_themselves() {
    let found = |records: &[u8]| io_apics(&[&[0; 44][..], records].concat());
    assert_eq!(found(&[1, 12, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0]), [0x0403_0201]);
    assert_eq!(found(&[1, 7, 0, 0, 1, 2, 3]), []);
    assert_eq!(found(&[1, 13, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0]), [], "behind the end");
    assert_eq!(found(&[0, 0, 1, 12, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0]), [], "of no length");
    assert_eq!(found(&[9, 1, 1, 12]), []);
    assert_eq!(io_apics(&[0; 3]), []);
    assert_eq!(timer(&hpet()[..51]), None);
    let ports = sealed([&hpet()[..40], &[1], &hpet()[41..]].concat(), 9);
    assert_eq!(timer(&ports), None, "by ports");
}

#[test]
fn each_reason_has_a_code_and_a_remedy() {
    let at = BusAddr(0x1000);
    let damaged = TableError::Damaged { name: Signature(*b"A\0\xffZ"), at, why: "is odd" };
    assert_eq!(damaged.to_string(), "A??Z at 0x1000 is odd");
    assert_eq!(format!("{:?}", Signature::DMAR), "DMAR");
    for (error, code, absent) in [
        (TableError::NotDom0, "acpi-not-dom0", true),
        (TableError::NoPointer, "acpi-none", true),
        (TableError::Missing(Signature::MCFG), "acpi-no-mcfg", true),
        (damaged, "acpi-damaged", false),
    ] {
        assert_eq!((error.code(), error.is_absence()), (code, absent));
        assert!(error.remedy().len() > 10);
    }
}

//! Memory in which firmware's tables stand, or something like them.
//!
//! Asserts: nothing is read beyond a limit, and not for ever; regions of config space lie apart, within all addresses, and no bus
//! is in two; and where this guest reads a table of them, the crate `acpi` reads the same there.
#![expect(unsafe_code, reason = "the crate takes tables as references to where they lie")]

use crate::Input;
use acpi::{AcpiError, AcpiHandler, AcpiTables, PhysicalMapping, mcfg::Mcfg};
use pvbounce::{
    acpi::{
        Physical, Signature, Tables,
        fake::{FakeMemory, directory, mcfg, pointer, region, table},
        find,
    },
    addr::BusAddr,
    xen::physdev::ConfigRegion,
};
use std::ptr::{self, NonNull};

const LONGEST: usize = 64 << 10;
const POINTER: u64 = 0xf_0000;
const ROOT: u64 = 0x7f00_0000;
const TABLES: [u64; 4] = [0x7f01_0000, 0x7f02_0000, 0x7f03_0000, 0x7f04_0000];

/// A table that is right, mostly, with some of its bytes changed, now and then.
fn spoiled(input: &Input, mut bytes: Vec<u8>) -> Vec<u8> {
    while input.once_in(4) {
        let at = input.below(bytes.len());
        bytes[at] = input.u8();
    }
    if input.once_in(8) {
        bytes.truncate(input.below(bytes.len() + 1));
    }
    bytes
}

fn address(input: &Input) -> u64 {
    match input.below(8) {
        0 => input.u64(),
        1 => ROOT + u64::from(input.u16()),
        n => TABLES[n % TABLES.len()],
    }
}

fn record(input: &Input) -> [u8; 16] {
    let base = match input.below(4) {
        0 => input.u64(),
        1 => u64::from(input.u16()) << 36,
        _ => u64::from(input.u8()) << 28,
    };
    region(base, u16::from(input.u8() % 4), input.u8(), input.u8())
}

fn one(input: &Input) -> Vec<u8> {
    match input.below(4) {
        0 => table(input.one_of(&[b"HPET", b"APIC", b"DMAR", b"MCFG"]), &input.bytes(80)),
        _ => {
            let count = if input.once_in(32) { 70 } else { input.below(4) };
            mcfg(&(0..count).map(|_| record(input)).collect::<Vec<_>>())
        }
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let wide = input.once_in(2);
    let rsdt = u32::try_from(ROOT).unwrap_or(0);
    let whole = if wide { pointer(rsdt, Some(ROOT)) } else { pointer(rsdt, None) };
    let (name, entry) = if wide { (b"XSDT", 8) } else { (b"RSDT", 4) };
    let listed: Vec<u64> = (0..input.below(6)).map(|_| address(&input)).collect();
    let mut memory = FakeMemory::bios()
        .with(POINTER, &spoiled(&input, whole))
        .with(ROOT, &spoiled(&input, directory(name, entry, &listed)));
    for at in TABLES {
        memory = memory.with(at, &spoiled(&input, one(&input)));
    }
    let by_uefi = input.once_in(4).then(|| (BusAddr(address(&input)), usize::from(input.u16())));
    let Ok(root) = find(&memory, by_uefi) else { return bounded(&memory) };
    let read = Tables::read(&memory, root);
    bounded(&memory);
    let Ok(tables) = read else { return };
    let alone = tables.names.iter().filter(|name| **name == Signature::MCFG).count() == 1;
    if let Ok(regions) = &tables.regions {
        apart(regions);
        if alone && by_uefi.is_none() {
            assert!(others(&memory, regions.len()).is_none_or(|others| others == *regions));
        }
    }
}

fn bounded(memory: &FakeMemory) {
    let (reads, most) = memory.reads();
    assert!(reads < 1000 && most <= LONGEST, "{reads} reads of up to {most} bytes");
}

fn apart(regions: &[ConfigRegion]) {
    let end = |region: &ConfigRegion| region.start().0.checked_add(region.len());
    for (n, region) in regions.iter().enumerate() {
        assert!(region.first <= region.last && end(region).is_some_and(|end| end <= 1 << 52));
        for other in &regions[..n] {
            assert!(Some(region.start().0) >= end(other) || Some(other.start().0) >= end(region));
            let shared = region.first.max(other.first) <= region.last.min(other.last);
            assert!(region.segment != other.segment || !shared, "{region} and {other}");
        }
    }
}

/// Lends the crate copies. It trusts lengths, so it is only shown what this guest took for whole.
#[derive(Clone, Copy, Debug)]
struct Lender<'m>(&'m FakeMemory);

impl AcpiHandler for Lender<'_> {
    unsafe fn map_physical_region<T>(&self, at: usize, len: usize) -> PhysicalMapping<Self, T> {
        let mut copy = vec![0_u8; len.max(size_of::<T>())];
        // As far as it goes, and zeros behind: the crate looks at 36 bytes of a pointer that has 20, and of what is no table.
        let _ = (0..=len).rev().find(|len| {
            let into = &mut copy[..*len];
            self.0.read(BusAddr(at as u64), into).is_ok()
        });
        let start = NonNull::from(Box::leak(copy.into_boxed_slice())).cast();
        // SAFETY: the copy has as many bytes, is freed when the mapping goes, and a table has no alignment.
        unsafe { PhysicalMapping::new(at, start, len, len, *self) }
    }

    fn unmap_physical_region<T>(mapping: &PhysicalMapping<Self, T>) {
        let len = mapping.mapped_length().max(size_of::<T>());
        let copy =
            ptr::slice_from_raw_parts_mut(mapping.virtual_start().as_ptr().cast::<u8>(), len);
        // SAFETY: it was leaked with this length when the mapping was made, which is going.
        drop(unsafe { Box::from_raw(copy) });
    }
}

/// The regions of a root pointer that is right, as the crate reads them; `None` if it wants the makers' names to be text.
fn others(memory: &FakeMemory, most: usize) -> Option<Vec<ConfigRegion>> {
    let at = usize::try_from(POINTER).unwrap_or(0);
    // SAFETY: a pointer, a root table and a table of regions stand there whose lengths are theirs.
    let tables = match unsafe { AcpiTables::from_rsdp(Lender(memory), at) } {
        Err(
            AcpiError::RsdpInvalidOemId
            | AcpiError::SdtInvalidOemId(_)
            | AcpiError::SdtInvalidTableId(_),
        ) => return None,
        read => read.expect("a root table"),
    };
    let found = tables.find_table::<Mcfg>().expect("a table of regions");
    let regions = found.entries().iter().map(|entry| ConfigRegion {
        base: BusAddr(entry.base_address),
        segment: entry.pci_segment_group,
        first: entry.bus_number_start,
        last: entry.bus_number_end,
    });
    let regions: Vec<_> = regions.collect();
    assert_eq!(regions.len(), most);
    Some(regions)
}

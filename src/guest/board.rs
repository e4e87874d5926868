//! Dom0's way to its devices: all of the machine's, but for those that Xen keeps.

use super::Stopwatch;
use crate::{
    acpi::{self, Physical, TableError, Tables},
    addr::{BusAddr, PAGE_SIZE},
    drivers,
    mm::{
        e820::{MAX_ENTRIES, Map, MapError},
        memory::{Memory, MemoryError},
        pages::DeviceMemory,
    },
    pci::{
        board::Board,
        direct::{Direct, Mapper, Page, Ports},
    },
    report::{Outcome, Reason},
    xen::{
        abi::memory::MACHINE_MEMORY_MAP,
        errno::XenError,
        hypercall::{self, HardwareDomain},
    },
};
use alloc::{boxed::Box, format, string::ToString};

/// The machine's memory where it is no RAM of anybody's.
#[derive(Clone, Copy, Debug)]
struct MachineMemory(&'static Memory<'static>);

impl Physical for MachineMemory {
    /// By words, as it is mapped uncached.
    fn read(&self, at: BusAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        const WORD: usize = size_of::<u64>();
        let before = at.page_offset() % WORD;
        let start = BusAddr(at.0 - before as u64);
        let len = (before + into.len()).next_multiple_of(WORD);
        let mapped = DeviceMemory::map(self.0, start, len)?;
        let window = mapped.window();
        let words = (0..len).step_by(WORD).map(|offset| window.read_u64(offset));
        let bytes = words.flat_map(u64::to_le_bytes).skip(before);
        into.iter_mut().zip(bytes).for_each(|(into, byte)| *into = byte);
        Ok(())
    }
}

impl Mapper for MachineMemory {
    fn map(&self, at: BusAddr) -> Result<Box<dyn Page>, MemoryError> {
        Ok(Box::new(DeviceMemory::map(self.0, at, PAGE_SIZE)?))
    }
}

/// What firmware's tables say.
pub(super) fn tables(memory: &'static Memory<'static>) -> Result<Tables, TableError> {
    let physical = MachineMemory(memory);
    // Without UEFI Xen does not know of its table.
    let uefi = hypercall::efi_configuration().ok();
    let root = acpi::find(&physical, uefi)?;
    Tables::read(&physical, root)
}

/// Looks at the whole board, and tells Xen of what is there.
pub(super) fn open(
    clock: Stopwatch,
    memory: &'static Memory<'static>,
    tables: Result<&Tables, &TableError>,
) -> Result<Board<'static>, Outcome> {
    let ports: &'static Ports = Box::leak(Box::new(Ports::take().map_err(refused)?));
    let mapper: &'static MachineMemory = Box::leak(Box::new(MachineMemory(memory)));
    let ram = machine_map().map_err(|error| {
        let remedy = "a board with more ranges than this guest has room for: please report it";
        Outcome::Failure(Reason::new("pci-no-map", error.to_string()).remedy(remedy))
    })?;
    let ways: &'static Direct<'static> =
        Box::leak(Box::new(Direct::new(ports, mapper, &HardwareDomain, tables, &ram)));
    for odd in tables.iter().flat_map(|tables| &tables.odd) {
        clock.stage(format_args!("acpi: {}", Reason::from(*odd)));
    }
    for region in ways.regions() {
        clock.stage(format_args!("pci: config space in memory: {region}"));
    }
    let driven = |id, class| drivers::driver_for(id, class, None).is_some();
    let board = Board::open(ways, &HardwareDomain, &ram, &driven)?;
    for lack in ways.lacks() {
        clock.stage(format_args!("pci: config space by ports: {}", Reason::from(lack)));
    }
    for other in board.others() {
        clock.stage(format_args!("pci: {other}, left alone"));
    }
    Ok(board)
}

fn machine_map() -> Result<Map, MapError> {
    let mut raw = [[0; 20]; MAX_ENTRIES];
    let entries = hypercall::memory_map(&mut raw, MACHINE_MEMORY_MAP).map_err(MapError::Refused)?;
    Map::from_raw(&raw[..entries])
}

fn refused(error: XenError) -> Outcome {
    let detail = format!("Xen does not let the I/O privilege level be raised: {error}");
    let remedy = "the ports of config space are the hardware domain's: see Xen's log";
    Outcome::Failure(Reason::new("pci-no-ports", detail).remedy(remedy))
}

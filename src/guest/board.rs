//! Dom0's way to its devices: all of the machine's, but for those that Xen keeps.

use super::Stopwatch;
use crate::{
    drivers,
    mm::e820::{MAX_ENTRIES, Map, MapError},
    pci::{board::Board, direct::Direct},
    report::{Outcome, Reason},
    xen::{
        abi::memory::MACHINE_MEMORY_MAP,
        errno::XenError,
        hypercall::{self, HardwareDomain},
    },
};
use alloc::{boxed::Box, format, string::ToString};

/// Looks at the whole board, and tells Xen of what is there.
pub(super) fn open(clock: Stopwatch) -> Result<Board<'static>, Outcome> {
    let ports = Direct::take().map_err(refused)?;
    let ram = machine_map().map_err(|error| {
        let remedy = "a board with more ranges than this guest has room for: please report it";
        Outcome::Failure(Reason::new("pci-no-map", error.to_string()).remedy(remedy))
    })?;
    let driven = |id, class| drivers::driver_for(id, class, None).is_some();
    let board = Board::open(Box::leak(Box::new(ports)), &HardwareDomain, &ram, &driven)?;
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

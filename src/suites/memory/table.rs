//! What `XENMEM_exchange` grants this domain: each order at each width, as a table.
//!
//! Two refusals are answers. EPERM depends on the order alone: the limit of domains like this one, which is
//! higher for one that has a device. ENOMEM depends on the width: Xen has no such block that low. What is
//! granted at a width is also granted at a wider one.
//!
//! The table is made with whatever device the domain was created with, and again when that was taken back.

use crate::{
    addr::DmaMask,
    mm::contiguous::{AcquireError, Order},
    println,
    suites::{
        guest::Guest,
        runner::{Finding, failure, skip},
        verdict::Outcome,
    },
    xen::errno::XenError,
};
use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt::Write;

/// Address widths, in bits.
const WIDTHS: [u32; 5] = [24, 28, 30, 32, 36];
/// What stands above their columns.
const HEAD: &str =
    "  # order         24 bits       28 bits       30 bits       32 bits       36 bits";
/// One more than the largest for a segment.
const ORDERS: usize = Order::MAX.get() as usize + 2;
/// Orders up to 2 MiB: what Xen permits any domain unless told otherwise (`memop-max-order=`).
const ANY_DOMAINS: usize = 10;

/// What came of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Granted,
    Refused(XenError),
    /// The guest itself has not so many neighbouring pages.
    NoPages,
}

impl Cell {
    fn word(self) -> String {
        match self {
            Self::Granted => "ok".into(),
            Self::Refused(error) => error.to_string(),
            Self::NoPages => "no pages".into(),
        }
    }
}

/// What came of all of them.
#[derive(Clone, Debug)]
pub struct Table {
    /// A row of [`WIDTHS`] for each order.
    cells: [Cell; WIDTHS.len() * ORDERS],
    /// The first order that is not permitted.
    limit: Option<Order>,
}

pub(super) fn exchange_by_order_and_width(guest: &mut Guest) -> Finding {
    let table = Table::measure(guest)?;
    let granted = table.cells.iter().filter(|cell| **cell == Cell::Granted).count();
    let device = if guest.identity.is_ok() { "with a device" } else { "without a device" };
    let note = format!("{granted} granted; first order not permitted {device}: {}", table.word());
    guest.exchanges = Some(table);
    Ok(note)
}

/// What was permitted to the domain while it had a device may be less now, but not less than any domain's.
pub(in crate::suites) fn exchange_without_the_device(guest: &mut Guest) -> Finding {
    if !guest.handed_back {
        return Err(skip("device-kept", "no device was taken back"));
    }
    let Some(before) = guest.exchanges.take() else {
        return Err(skip("memory-no-table", "nothing to compare with: suite=memory"));
    };
    let now = Table::measure(guest)?;
    let cells = before.cells.iter().zip(&now.cells).take(WIDTHS.len() * ANY_DOMAINS);
    for (at, (old, new)) in cells.enumerate() {
        if let (Cell::Granted, Cell::Refused(error)) = (old, new)
            && *error != XenError::NoMemory
        {
            let (order, width) = (at / WIDTHS.len(), WIDTHS[at % WIDTHS.len()]);
            let detail = format!("order {order} at {width} bits: {error}, granted with the device");
            return Err(failure("memory-exchange-lost", detail));
        }
    }
    let (old, new) = (before.word(), now.word());
    Ok(format!("first order not permitted: {old} with the device, {new} without"))
}

impl Table {
    /// Asks Xen for each order at each width, prints the answers, and gives back at once what was granted.
    fn measure(guest: &Guest) -> Result<Self, Outcome> {
        println!("{HEAD}");
        let mut table = Self { cells: [Cell::NoPages; WIDTHS.len() * ORDERS], limit: None };
        for (order, row) in Order::every().zip(table.cells.chunks_exact_mut(WIDTHS.len())) {
            ask(guest, order, row)?;
            judge(order, row, &mut table.limit)?;
        }
        Ok(table)
    }

    fn word(&self) -> String {
        self.limit.map_or_else(|| "none".into(), |order| order.to_string())
    }
}

/// Fills and prints a row.
#[inline(never)]
fn ask(guest: &Guest, order: Order, row: &mut [Cell]) -> Result<(), Outcome> {
    let mut line = format!("  # {:<8} ", order.to_string());
    for (cell, width) in row.iter_mut().zip(WIDTHS) {
        *cell = try_one(guest, order, width)?;
        // Writing to a string never fails.
        let _ = write!(line, "{:>14}", cell.word());
    }
    println!("{line}");
    Ok(())
}

/// Exchanges pages that nobody has mapped or written, there and back: they need not be mapped or wiped.
#[inline(never)]
fn try_one(guest: &Guest, order: Order, width: u32) -> Result<Cell, Outcome> {
    let Some(mask) = DmaMask::from_bits(width) else { return Ok(Cell::NoPages) };
    match guest.memory.try_exchange(order, mask) {
        Ok(Ok(())) => Ok(Cell::Granted),
        Ok(Err(error)) => Err(failure("memory-release", error.to_string())),
        Err(AcquireError::NoFreePages { .. }) => Ok(Cell::NoPages),
        Err(AcquireError::Refused { error, .. }) => Ok(Cell::Refused(error)),
        Err(error) => Err(failure("memory-exchange", error.to_string())),
    }
}

/// Whether a row is one that Xen's rules allow. `limit` is the first order that is not permitted.
#[inline(never)]
fn judge(order: Order, row: &[Cell], limit: &mut Option<Order>) -> Result<(), Outcome> {
    let wrong = |what: String| Err(failure("memory-exchange-rule", format!("{order}: {what}")));
    let denied = Cell::Refused(XenError::NotPermitted);
    let mut above = false;
    for (cell, width) in row.iter().zip(WIDTHS) {
        match *cell {
            Cell::Refused(XenError::NotPermitted | XenError::NoMemory) | Cell::NoPages => {}
            Cell::Refused(error) => return wrong(format!("{width} bits: {error}")),
            Cell::Granted => above = true,
        }
        if above && *cell != Cell::Granted {
            return wrong(format!("refused at {width} bits, granted at fewer"));
        }
    }
    let asked = row.iter().filter(|cell| **cell != Cell::NoPages).count();
    let count = row.iter().filter(|cell| **cell == denied).count();
    if count > 0 {
        limit.get_or_insert(order);
    }
    match *limit {
        Some(first) if count < asked => wrong(format!("permitted, though {first} is not")),
        _ => Ok(()),
    }
}

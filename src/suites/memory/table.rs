//! What `XENMEM_exchange` grants this domain: each order at each width, as a table.
//!
//! Two refusals are answers. EPERM depends on the order alone: the limit of domains like this one. ENOMEM
//! depends on the width: Xen has no such block that low. What is granted at a width is also granted at a
//! wider one.

use crate::{
    addr::DmaMask,
    mm::contiguous::{AcquireError, ContiguousMemory, Order},
    println,
    suites::{
        guest::Guest,
        runner::{Finding, failure},
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

pub(super) fn exchange_by_order_and_width(guest: &mut Guest) -> Finding {
    let mut line = String::from("  # order  ");
    for width in WIDTHS {
        // Writing to a string never fails.
        let _ = write!(line, "{width:>9} bits");
    }
    println!("{line}");
    let (mut limit, mut granted) = (None, 0);
    for order in Order::every() {
        let mut row = [Cell::NoPages; WIDTHS.len()];
        for (cell, width) in row.iter_mut().zip(WIDTHS) {
            *cell = try_one(guest, order, width)?;
        }
        line = format!("  # {:<8} ", order.to_string());
        for cell in row {
            granted += u32::from(cell == Cell::Granted);
            let _ = write!(line, "{:>14}", cell.word());
        }
        println!("{line}");
        judge(order, &row, &mut limit)?;
    }
    let limit = limit.map_or_else(|| "none".into(), |order: Order| order.to_string());
    Ok(format!("{granted} granted; first order not permitted: {limit}"))
}

fn try_one(guest: &Guest, order: Order, width: u32) -> Result<Cell, Outcome> {
    let mask = DmaMask::from_bits(width).unwrap_or(DmaMask::BITS_32);
    match guest.memory.acquire(order, mask) {
        Ok(region) => {
            let placed = super::check_region(guest, &region, mask);
            let released = guest.memory.release(region);
            released.map_err(|error| failure("memory-release", error.to_string()))?;
            placed.map(|()| Cell::Granted)
        }
        Err(AcquireError::Refused { error, .. }) => Ok(Cell::Refused(error)),
        Err(AcquireError::NoFreePages { .. }) => Ok(Cell::NoPages),
        Err(error) => Err(failure("memory-exchange", error.to_string())),
    }
}

/// Whether a row is one that Xen's rules allow. `limit` is the first order that is not permitted.
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

//! What `XENMEM_exchange` grants this domain, as a table on the console.
//!
//! The table is made with whatever device the domain was created with, and again when that was taken back.

use crate::{
    guest::Guest,
    mm::{
        contiguous::Order,
        granted::{Granted, GrantedError, Row, WIDTHS},
    },
    println,
    suites::check::{Finding, skip},
};
use alloc::{format, string::ToString};

pub(super) fn exchange_by_order_and_width(guest: &mut Guest) -> Finding {
    let granted = measure(guest)?;
    let device = if guest.has_device() { "with a device" } else { "without a device" };
    let (count, limit) = (granted.count(), word(&granted));
    guest.granted = Some(granted);
    Ok(format!("{count} granted; first order not permitted {device}: {limit}"))
}

/// What was permitted to the domain while it had a device may be less now, but not less than any domain's.
pub(in crate::suites) fn exchange_without_the_device(guest: &mut Guest) -> Finding {
    if !guest.handed_back {
        return Err(skip("device-kept", "no device was taken back"));
    }
    let Some(before) = guest.granted.take() else {
        return Err(skip("memory-no-table", "nothing to compare with: suite=memory"));
    };
    let now = measure(guest)?;
    now.still_has(&before)?;
    let (old, new) = (word(&before), word(&now));
    Ok(format!("first order not permitted: {old} with the device, {new} without"))
}

fn measure(guest: &Guest) -> Result<Granted, GrantedError> {
    let [a, b, c, d, e] = WIDTHS.map(|width| format!("{width} bits"));
    println!("  # {:<8} {a:>14}{b:>14}{c:>14}{d:>14}{e:>14}", "order");
    Granted::measure(guest.memory, &mut print)
}

fn print(order: Order, row: &Row) {
    let [a, b, c, d, e] = row;
    println!("  # {:<8} {a:>14}{b:>14}{c:>14}{d:>14}{e:>14}", order.to_string());
}

fn word(granted: &Granted) -> alloc::string::String {
    granted.limit().map_or_else(|| "none".into(), |order| order.to_string())
}

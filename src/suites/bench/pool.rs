//! What it costs to get memory: a segment for the pool, the whole pool, pages.

use super::race::line;
use crate::{
    addr::{DmaMask, PAGE_SIZE},
    arch::time::{self, Clock},
    dma::run::SLOT_SIZE,
    guest::Guest,
    mm::{contiguous::Order, pages::Pages},
    report::verdict::Outcome,
    suites::check::{Finding, failure, skip},
};
use alloc::{format, string::String};

/// Bytes of the pool that is built.
const POOL: usize = 64 << 20;

/// Adds a segment of this order, or the largest below that there is.
pub(super) fn grow(guest: &Guest, order: Order) -> Option<Order> {
    let mut order = Some(order);
    while let Some(wanted) = order {
        if guest.pool.pool.grow(wanted, DmaMask::BITS_32).is_ok() {
            return Some(wanted);
        }
        order = wanted.smaller();
    }
    None
}

/// Pages of the guest's own, wherever they lie.
pub(super) fn pages(guest: &Guest, bytes: usize) -> Result<Pages<'static>, Outcome> {
    Pages::new(guest.memory, (bytes / PAGE_SIZE) as u64)
        .map_err(|error| skip("bench-no-memory", format!("{error}")))
}

pub(super) fn pool_comes_and_goes(guest: &mut Guest) -> Finding {
    let xen = guest.memory.xen();
    line("pool", &["KiB", "segments", "calls", "build-us", "calls-back", "back-us"]);
    let mut note = String::new();
    for _ in 0..2 {
        let (calls, start) = (xen.calls(), guest.shared.now());
        let (bytes, segments) = build(guest);
        let (built, between) = (xen.calls(), guest.shared.now());
        let back = guest.pool.pool.shrink();
        let (gone, end) = (xen.calls(), guest.shared.now());
        if back != bytes {
            let detail = format!("{back} of {bytes} bytes went back");
            return Err(failure("bench-pool", detail));
        }
        let micros = |from: time::Instant, to: time::Instant| (to.0 - from.0) / 1000;
        let (build, away) = (micros(start, between), micros(between, end));
        line("pool", &[(bytes >> 10) as u64, segments, built - calls, build, gone - built, away]);
        note = format!("{} KiB in {build} us, back in {away} us", bytes >> 10);
    }
    Ok(note)
}

/// Grows the pool by as much of 64 MiB as there is; bytes and segments.
fn build(guest: &Guest) -> (usize, u64) {
    let (mut bytes, mut segments) = (0, 0);
    while let Some(order) = Order::within(POOL - bytes).and_then(|order| grow(guest, order)) {
        bytes += order.bytes();
        segments += 1;
    }
    (bytes, segments)
}

pub(super) fn pages_come_and_go(guest: &mut Guest) -> Finding {
    let xen = guest.memory.xen();
    line("pages", &["KiB", "calls", "take-us", "calls-back", "give-us"]);
    for bytes in [SLOT_SIZE * 2, 1 << 20, 16 << 20] {
        let (calls, start) = (xen.calls(), guest.shared.now());
        let Ok(run) = Pages::new(guest.memory, (bytes / PAGE_SIZE) as u64) else { break };
        let (taken, between) = (xen.calls(), guest.shared.now());
        drop(run);
        let (given, end) = (xen.calls(), guest.shared.now());
        let (take, give) = ((between.0 - start.0) / 1000, (end.0 - between.0) / 1000);
        line("pages", &[(bytes >> 10) as u64, taken - calls, take, given - taken, give]);
    }
    Ok(String::new())
}

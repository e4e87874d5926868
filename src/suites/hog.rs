//! Suite `hog`: takes the machine's low memory from the other guests, holds it, and gives it back.
//!
//! Runs only when named. Another guest then shows what it does with a pool that can't be had in full.

use super::check::{Finding, Suite, failure, proof};
use crate::{
    addr::DmaMask,
    arch::{
        time::{Clock, Instant},
        wait::Deadline,
    },
    guest::Guest,
    mm::contiguous::{AcquireError, ContiguousMemory, Order, Region},
    report::verdict::{Outcome, Reason},
    xen::store::{Store, StoreError, TxId},
};
use alloc::{format, string::ToString, vec::Vec};
use core::time::Duration;

pub(super) const SUITE: Suite = Suite {
    name: "hog",
    missing: |guest| match guest.store {
        Some(_) => None,
        None => Some(Reason::new("no-store", "there is nobody to tell")),
    },
    of_a_device: false,
    tidies: false,
    checks: &[proof("low_memory_is_taken_held_and_given_back", take_hold_give)],
};

/// Where the hog says that it has what it wants.
const HOG_PATH: &str = "data/pvbounce/hog";
/// Where the toolstack says that the domain should end (`xl shutdown`).
const SHUTDOWN_PATH: &str = "control/shutdown";
/// How long a lost watch event can delay its end.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

fn take_hold_give(guest: &mut Guest) -> Finding {
    let mut held = Vec::new();
    let taken = take(guest, &mut held);
    let left = taken.and_then(|()| leave(guest, &mut held));
    let regions = held.len();
    let bytes: usize = held.iter().map(Region::len).sum();
    guest.clock.stage(format_args!("hog: {} KiB held in {regions} regions", bytes >> 10));
    let waited = left.as_ref().map_or(Ok(false), |_| hold(guest));
    let given = held.into_iter().try_for_each(|region| give(guest, region));
    let (left, told) = (left?, waited?);
    given?;
    let end = if told { "told to end" } else { "time over" };
    Ok(format!("{} KiB in {regions} regions, {} KiB left; {end}", bytes >> 10, left >> 10))
}

/// Takes blocks below 4 GiB, the largest first, until Xen has not a single frame left there.
fn take(guest: &Guest, held: &mut Vec<Region>) -> Result<(), Outcome> {
    let mut order = Order::MAX;
    loop {
        match guest.memory.acquire(order, DmaMask::BITS_32) {
            Ok(region) => held.push(region),
            Err(error @ AcquireError::NoFreePages { .. }) => {
                let remedy = "give the hog more memory than the host has below 4 GiB: `memory=`";
                let reason = Reason::new("hog-too-small", error.to_string()).remedy(remedy);
                return Err(Outcome::Error(reason));
            }
            Err(AcquireError::Refused { .. }) => match order.smaller() {
                Some(smaller) => order = smaller,
                None => return Ok(()),
            },
            Err(error) => return Err(failure("memory-exchange", error.to_string())),
        }
    }
}

/// Gives so much back as it was asked to leave, in its largest blocks; returns how much that is.
fn leave(guest: &Guest, held: &mut Vec<Region>) -> Result<usize, Outcome> {
    let mut left = 0;
    while left < guest.options.hog.leave {
        // Neither too large for what is still to be left, nor one of the crumbs.
        let rest = guest.options.hog.leave - left;
        let fits = held.iter().position(|region| region.len() <= rest);
        let Some(place) = fits else { return Ok(left) };
        let region = held.remove(place);
        left += region.len();
        give(guest, region)?;
    }
    Ok(left)
}

fn give(guest: &Guest, region: Region) -> Result<(), Outcome> {
    guest.memory.release(region).map_err(|error| failure("memory-release", error.to_string()))
}

/// Says that it holds, then waits until it is told to end or its time is over; says which.
fn hold(guest: &Guest) -> Result<bool, Outcome> {
    let wrong = |error: StoreError| failure(error.code(), error.to_string());
    let Some(store) = guest.store else { return Ok(false) };
    store.watch(SHUTDOWN_PATH, SHUTDOWN_PATH).map_err(wrong)?;
    store.write(TxId::NONE, HOG_PATH, "holding").map_err(wrong)?;
    let end = guest.shared.now().after(guest.options.hog.hold);
    let told = await_shutdown(guest, store, end).map_err(wrong);
    // The answer is worth more than the watch, which ends with the domain at the latest.
    let _ = store.unwatch(SHUTDOWN_PATH, SHUTDOWN_PATH);
    told
}

fn await_shutdown(guest: &Guest, store: &dyn Store, end: Instant) -> Result<bool, StoreError> {
    let told = Deadline::at(guest.shared, end).turns(|until| -> Result<_, StoreError> {
        let word = store.read_optional(TxId::NONE, SHUTDOWN_PATH)?;
        if word.is_some_and(|word| !word.is_empty()) {
            return Ok(Some(()));
        }
        store.wait_event(SHUTDOWN_PATH, guest.shared.now().after(LOOK_AGAIN).min(until))?;
        Ok(None)
    })?;
    Ok(told.is_some())
}

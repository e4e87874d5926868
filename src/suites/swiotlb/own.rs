//! What the checks of the pool are made with: pools and devices of their own, and buffers at places that matter.

use crate::suites::check::{Finding, all_hold, failure, skip};
use crate::{
    addr::{DmaMask, GIB_4},
    dma::{self, Bidirectional, Limits, MapError, Mapping, Plan, Policy, Pool, Table, ToDevice},
    guest::{Guest, blame::of_memory},
    mm::{contiguous::ContiguousMemory, pages::Pages},
    options::PoolStart,
    report::verdict::{Outcome, Reason},
};
use alloc::{format, string::ToString};

/// The storage of the pools that are made for one check; all zero, so no part of the image.
static TABLE: spin::Mutex<Table> = spin::Mutex::new(Table::new());

/// Runs a check on a pool of its own, not started. Every page must be back after it.
pub(super) fn on_own_pool(
    guest: &Guest,
    memory: &dyn ContiguousMemory,
    test: &mut dyn FnMut(&Pool<'_>) -> Finding,
) -> Finding {
    let before = guest.memory.free_pages() + guest.memory.table_pages();
    let mut table = TABLE.lock();
    let pool = Pool::new(&mut table, memory);
    let found = test(&pool);
    let stopped = pool.stop(&mut drop);
    // What the check found comes before what it kept because of it.
    let found = found?;
    let after = guest.memory.free_pages() + guest.memory.table_pages();
    let parts = [
        ("no slot in use", stopped.slots_in_use == 0),
        ("balanced", pool.stats().is_balanced()),
        ("all pages back", before == after),
    ];
    let measured = || format!("{before} pages before, {after} after: {stopped:?}");
    all_hold("swiotlb-pages-lost", &parts, measured)?;
    Ok(found)
}

/// As [`on_own_pool`], with the pool started; no start, no check.
pub(super) fn on_started_pool(
    guest: &Guest,
    plan: &Plan,
    test: &mut dyn FnMut(&Pool<'_>) -> Finding,
) -> Finding {
    on_own_pool(guest, guest.memory, &mut |pool| {
        pool.start(plan, &mut |_| {}).map_err(|error| skip(error.code(), error.to_string()))?;
        test(pool)
    })
}

/// A device on this pool.
pub(super) const fn device<'m>(
    guest: &Guest,
    pool: &'m Pool<'m>,
    limits: Limits,
    policy: Policy,
) -> dma::Device<'m> {
    dma::Device::new(pool, guest.memory, limits, policy)
}

/// A device of so many address lines.
pub(super) fn bits(bits: u32) -> Limits {
    Limits::new(DmaMask::from_bits(bits).unwrap_or(DmaMask::BITS_32))
}

/// The pool, or a SKIP with the reason why there is none: `pool_is_started` has the verdict on that.
pub(super) fn pool(guest: &Guest) -> Result<&'static Pool<'static>, Outcome> {
    started(guest).map_err(|outcome| outcome.as_skip())
}

/// The pool, or what has to be said about there being none.
pub(super) fn started(guest: &Guest) -> Result<&'static Pool<'static>, Outcome> {
    match &guest.pool.started {
        Some(Ok(_)) => Ok(guest.pool.pool),
        Some(Err(error)) => Err(Outcome::Failure(
            Reason::new(error.code(), error.to_string()).remedy(error.remedy()),
        )),
        None if guest.pool.when == PoolStart::Off => {
            Err(skip("swiotlb-off", "the command line says swiotlb=off"))
        }
        None => Err(skip("swiotlb-not-needed", "no device has asked for it")),
    }
}

/// A page beyond 4 GiB, where a 32-bit device can't reach.
pub(super) fn high_page(guest: &Guest) -> Result<Pages<'static>, Outcome> {
    let page = Pages::new(guest.memory, 1).map_err(of_memory)?;
    match page.mfn() {
        Some(mfn) if mfn.addr().0 >= GIB_4 => Ok(page),
        mfn => Err(skip("memory-all-low", format!("the page is {mfn:?}, within reach"))),
    }
}

/// Maps a buffer that is only read.
pub(super) fn map_out<'m, 'b>(
    device: dma::Device<'m>,
    buffer: &'b [u8],
) -> Result<Mapping<'m, ToDevice, &'b [u8]>, Outcome> {
    device.map(buffer).map_err(not_mapped)
}

/// Maps a buffer that both sides write.
pub(super) fn map_both<'m, 'b>(
    device: dma::Device<'m>,
    buffer: &'b mut [u8],
) -> Result<Mapping<'m, Bidirectional, &'b mut [u8]>, Outcome> {
    device.map(buffer).map_err(not_mapped)
}

pub(super) fn not_mapped(error: MapError) -> Outcome {
    Outcome::Failure(Reason::new(error.code(), error.to_string()).remedy(error.remedy()))
}

/// Ends a mapping after the CPU has played its device, which has let go of it also where the play came to nothing.
pub(super) fn played<D: dma::Direction, B: dma::Buffer<D>>(
    mapping: Mapping<'_, D, B>,
    written: usize,
    play: impl FnOnce(&Mapping<'_, D, B>) -> Result<(), Outcome>,
) -> Result<(), Outcome> {
    match play(&mapping) {
        Ok(()) => finish(mapping, written),
        Err(outcome) => {
            mapping.abandon();
            Err(outcome)
        }
    }
}

pub(super) fn finish<D: dma::Direction, B: dma::Buffer<D>>(
    mapping: Mapping<'_, D, B>,
    written: usize,
) -> Result<(), Outcome> {
    mapping.end(written).map(drop).map_err(|error| failure(error.code(), error.to_string()))
}

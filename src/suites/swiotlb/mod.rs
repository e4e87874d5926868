//! Suite `swiotlb`: the bounce pool lies low, copies what it should, and gets every slot back.
//!
//! Checks of the guest's own pool leave it as the driver needs it; what has to fill, starve or stop a pool
//! does so to one made for that check alone, after which every page must be back.

mod demands;
mod life;
mod mapping;
mod refusals;
mod starts;

use super::runner::{Finding, Suite, attends, failure, nothing, proof, skip};
use crate::{
    addr::{DmaMask, GIB_4},
    dma::{self, Bidirectional, Limits, MapError, Mapping, Plan, Policy, Pool, Table, ToDevice},
    guest::{Guest, blame::of_memory},
    mm::{contiguous::ContiguousMemory, pages::Pages},
    options::PoolStart,
    report::verdict::{Outcome, Reason},
};
use alloc::{format, string::ToString};

pub(super) const SUITE: Suite = Suite {
    name: "swiotlb",
    missing: nothing,
    of_a_device: false,
    tidies: false,
    checks: &[
        attends("nothing_is_spent_without_need", starts::nothing_is_spent_without_need),
        attends("pool_is_started", starts::pool_is_started),
        proof("pool_is_low_and_contiguous", starts::pool_is_low_and_contiguous),
        proof("reserve_is_exchanged_late_and_given_back", starts::reserve_is_exchanged_late),
        proof("table_handed_in_serves_and_comes_back", starts::table_handed_in),
        proof("start_without_low_memory_steps_down", starts::start_without_low_memory),
        proof("high_buffer_bounces", mapping::high_buffer_bounces),
        proof("straddling_buffer_bounces", mapping::straddling_buffer_bounces),
        proof("low_buffer_goes_direct", mapping::low_buffer_goes_direct),
        proof("every_length_and_offset_survives", mapping::every_length_and_offset_survives),
        proof("only_reported_bytes_come_back", mapping::only_reported_bytes_come_back),
        proof("overrun_is_caught_to_the_byte", mapping::overrun_is_caught),
        proof("overreport_is_caught_to_the_byte", mapping::overreport_is_caught),
        proof("partial_sync", mapping::partial_sync),
        proof("scatter_list_is_mapped_in_order", mapping::scatter_list),
        proof("one_offset_serves_a_segment", mapping::one_offset_serves_a_segment),
        proof("coherent_memory_is_low_and_goes_back", demands::coherent_memory),
        proof("boundary_of_64_kib_is_not_crossed", demands::boundary),
        proof("offset_in_page_is_kept", demands::offset_in_page),
        proof("alignment_is_kept", demands::alignment),
        proof("largest_mapping_fills_a_segment", demands::largest_mapping),
        proof("device_of_28_bits_is_served", demands::device_of_28_bits),
        proof("device_of_24_bits_is_served", demands::device_of_24_bits),
        proof("force_bounces_what_could_go_direct", refusals::force),
        proof("noforce_refuses_with_its_reason", refusals::noforce),
        proof("without_a_pool_the_reason_says_so", refusals::without_a_pool),
        proof("every_refusal_has_its_own_code", refusals::codes),
        proof("a_full_pool_says_so", life::a_full_pool_says_so),
        proof("a_full_pool_grows_and_shrinks", life::grows_and_shrinks),
        proof("random_mappings_lose_nothing", life::random_mappings),
        attends("all_slots_are_back", life::all_slots_are_back),
        proof("own_pool_grows_as_told", life::own_pool_grows_as_told),
    ],
};

/// The storage of the pools that are made for one check; all zero, so no part of the image.
static TABLE: spin::Mutex<Table> = spin::Mutex::new(Table::new());

/// Runs a check on a pool of its own, not started. Every page must be back after it.
fn on_own_pool(
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
    if stopped.slots_in_use != 0 || !pool.stats().is_balanced() || before != after {
        let detail = format!("{before} pages before, {after} after: {stopped:?}");
        return Err(failure("swiotlb-pages-lost", detail));
    }
    Ok(found)
}

/// As [`on_own_pool`], with the pool started; no start, no check.
fn on_started_pool(
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
const fn device<'m>(
    guest: &Guest,
    pool: &'m Pool<'m>,
    limits: Limits,
    policy: Policy,
) -> dma::Device<'m> {
    dma::Device::new(pool, guest.memory, limits, policy)
}

/// A device of so many address lines.
fn bits(bits: u32) -> Limits {
    Limits::new(DmaMask::from_bits(bits).unwrap_or(DmaMask::BITS_32))
}

/// The pool, or a SKIP with the reason why there is none: `pool_is_started` has the verdict on that.
fn pool(guest: &Guest) -> Result<&'static Pool<'static>, Outcome> {
    started(guest).map_err(|outcome| outcome.as_skip())
}

/// The pool, or what has to be said about there being none.
fn started(guest: &Guest) -> Result<&'static Pool<'static>, Outcome> {
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
fn high_page(guest: &Guest) -> Result<Pages<'static>, Outcome> {
    let page = Pages::new(guest.memory, 1).map_err(of_memory)?;
    match page.mfn() {
        Some(mfn) if mfn.addr().0 >= GIB_4 => Ok(page),
        mfn => Err(skip("memory-all-low", format!("the page is {mfn:?}, within reach"))),
    }
}

/// Maps a buffer that is only read.
fn map_out<'m, 'b>(
    device: dma::Device<'m>,
    buffer: &'b [u8],
) -> Result<Mapping<'m, ToDevice, &'b [u8]>, Outcome> {
    device.map(buffer).map_err(not_mapped)
}

/// Maps a buffer that both sides write.
fn map_both<'m, 'b>(
    device: dma::Device<'m>,
    buffer: &'b mut [u8],
) -> Result<Mapping<'m, Bidirectional, &'b mut [u8]>, Outcome> {
    device.map(buffer).map_err(not_mapped)
}

fn not_mapped(error: MapError) -> Outcome {
    Outcome::Failure(Reason::new(error.code(), error.to_string()).remedy(error.remedy()))
}

/// Ends a mapping after the CPU has played its device, which has let go of it also where the play came to nothing.
fn played<D: dma::Direction, B: dma::Buffer<D>>(
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

fn finish<D: dma::Direction, B: dma::Buffer<D>>(
    mapping: Mapping<'_, D, B>,
    written: usize,
) -> Result<(), Outcome> {
    mapping.finish(written).map(drop).map_err(|error| failure(error.code(), error.to_string()))
}

//! Suite `swiotlb`: the bounce pool lies low, copies what it should, and gets every slot back.
//!
//! Checks of the guest's own pool leave it as the driver needs it; what has to fill, starve or stop a pool
//! does so to one made for that check alone, after which every page must be back.

mod demands;
mod life;
mod mapping;
mod own;
mod refusals;
mod starts;

use super::check::{Suite, attends, nothing, proof};

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

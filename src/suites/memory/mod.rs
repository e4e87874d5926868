//! Suite `memory`: the guest's numbering and the machine's agree, and Xen trades frames as documented.

mod frames;
mod map;
mod table;

pub(super) use frames::{p2m_and_m2p_agree, refused, xen_agrees};
pub(super) use table::exchange_without_the_device;

use super::check::{Suite, nothing, proof};

pub(super) const SUITE: Suite = Suite {
    name: "memory",
    missing: nothing,
    of_a_device: false,
    tidies: false,
    checks: &[
        proof("memory_map", frames::memory_map),
        proof("free_pages_are_ram_by_the_map", map::free_pages_are_ram),
        proof("hole_below_4_gib", map::hole_below_4_gib),
        proof("bars_are_apart_from_ram_and_each_other", map::bars_are_apart),
        proof("p2m_and_m2p_agree", p2m_and_m2p_agree),
        proof("pages_come_zeroed", frames::pages_come_zeroed),
        proof("heap_gives_and_takes", frames::heap_gives_and_takes),
        proof("guest_lies_above_4_gib", frames::guest_lies_above_4_gib),
        proof("scattered_pages_have_no_neighbours", frames::scattered_pages_have_no_neighbours),
        proof("exchange_64_kib_below_4_gib", frames::exchange_64_kib),
        proof("exchange_2_mib_below_4_gib", frames::exchange_2_mib),
        proof("exchange_16_mib_below_4_gib", frames::exchange_16_mib),
        proof("exchange_below_16_mib", frames::exchange_below_16_mib),
        proof("exchange_by_order_and_width", table::exchange_by_order_and_width),
        proof("exchanged_frames_come_zeroed", frames::exchanged_frames_come_zeroed),
        proof("frames_come_without_others_bytes", frames::frames_come_without_others_bytes),
        proof("moved_pages_serve", map::moved_pages_serve),
        proof("p2m_and_m2p_still_agree", p2m_and_m2p_agree),
    ],
};

//! What it costs to take slots and give them back.

use super::race::{line, race};
use crate::{
    dma::{Want, run::Run, slots::Slots},
    guest::Guest,
    mm::contiguous::Order,
    suites::{check::Finding, cost::Cost},
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};
use core::{cell::RefCell, hint::black_box};

pub(super) fn slots(guest: &mut Guest) -> Finding {
    let mut slots = Box::new(Slots::NONE);
    line("slots", &["MiB", "full-%", "same-ns", "mixed-ns"]);
    for order in [8, 10, 12].into_iter().filter_map(Order::new) {
        for full in [1, 50, 95] {
            let taken = fill(&mut slots, order, full);
            let [same, mixed] = one_fill(guest, &mut slots);
            let mib = order.bytes() >> 20;
            let mixed = mixed.split(MIXED.len() as u64);
            line(
                "slots",
                &[mib.to_string(), full.to_string(), same.to_string(), mixed.to_string()],
            );
            give_all(&mut slots, taken);
        }
    }
    Ok(String::new())
}

/// Lengths of runs that are alive at once, in slots.
const MIXED: [usize; 8] = [1, 3, 2, 1, 9, 1, 4, 2];

/// Takes `full` per cent of the slots, in runs of all the lengths, with scattered holes.
fn fill(slots: &mut Slots, order: Order, full: usize) -> Vec<Run> {
    slots.reset(order);
    let wanted = slots.total() * full / 100;
    let lengths = MIXED.into_iter().cycle();
    let mut runs: Vec<Run> = lengths.map_while(|length| slots.take(Want::slots(length)?)).collect();
    let mut state = 1_usize;
    while slots.in_use() > wanted {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let run = runs.swap_remove((state >> 33) % runs.len());
        let _ = slots.give(run);
    }
    runs
}

fn take(slots: &mut Slots, count: usize) -> Option<Run> {
    slots.take(Want::slots(count)?)
}

fn give_all(slots: &mut Slots, runs: impl IntoIterator<Item = Run>) {
    for run in runs {
        // They were taken from here, which the host tests look into.
        let _ = slots.give(run);
    }
}

/// What it costs to take and give one slot, and several runs that differ.
fn one_fill(guest: &Guest, slots: &mut Slots) -> [Cost; 2] {
    let slots = RefCell::new(slots);
    race(
        guest.shared,
        [
            &mut |count, _| {
                let mut slots = slots.borrow_mut();
                for _ in 0..count {
                    let run = black_box(take(&mut slots, 1));
                    give_all(&mut slots, run);
                }
            },
            &mut |count, _| {
                let mut slots = slots.borrow_mut();
                for _ in 0..count {
                    let runs = MIXED.map(|length| take(&mut slots, length));
                    give_all(&mut slots, black_box(runs).into_iter().flatten());
                }
            },
        ],
    )
}

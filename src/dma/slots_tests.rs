//! The slot allocator against a model that knows only which slots are taken.

use super::*;
use crate::{
    addr::DmaMask,
    dma::limits::{Limits, PowerOfTwo},
};
use alloc::{boxed::Box, vec, vec::Vec};
use proptest::prelude::*;

/// What the compiler works out no mutant changes; the same worked out here can differ.
#[test]
fn the_levels_are_the_same_at_any_time() {
    assert_eq!(level_offsets(), LEVELS);
}

fn slots(order: u8) -> Box<Slots> {
    let mut slots = Box::new(Slots::NONE);
    slots.reset(Order::new(order).unwrap());
    slots
}

/// So many slots, the first at a multiple of `2^align`.
fn want(count: usize, align: usize) -> Want {
    bounded(count, count, align, 13)
}

/// The same, the first `span` of them in one block of `2^block`.
fn bounded(count: usize, span: usize, align: usize, block: usize) -> Want {
    let power = |slots: usize| PowerOfTwo::new(SLOT_SIZE << slots.min(50)).unwrap();
    let limits = Limits::new(DmaMask::BITS_64).aligned_to(power(align)).within(power(block));
    Want::of(&limits).sized(count, span).unwrap()
}

/// Every slot is in exactly one free block or in use; no two free blocks are buddies; marks agree.
fn assert_sound(slots: &Slots) {
    let total = slots.total();
    let mut covered = vec![0u8; total];
    for order in 0..=total.checked_ilog2().map_or(0, |order| order as usize) {
        let blocks = (total >> order).max(1);
        for index in (0..blocks).filter(|&index| slots.is_free(order, index)) {
            assert!(
                1 << order == total || !slots.is_free(order, index ^ 1),
                "order {order}: {index} and its buddy are both free"
            );
            (index << order..(index + 1) << order).for_each(|slot| covered[slot] += 1);
        }
    }
    let used = (0..total).filter(|&slot| bits::get(&slots.used, slot));
    let mut in_use = 0;
    for slot in used {
        covered[slot] += 1;
        in_use += 1;
    }
    let aside = slots.aside.slots();
    assert_eq!(in_use, slots.in_use() + aside);
    assert!(covered.iter().all(|&times| times == 1));
}

#[test]
fn the_whole_segment_can_be_taken_and_comes_back_whole() {
    for order in 0..=if cfg!(miri) { 3 } else { Order::MAX.get() } {
        let mut slots = slots(order);
        let total = slots.total();
        assert_eq!(total, 2 << order);
        let run = slots.take(want(total, 0)).unwrap();
        assert_eq!((run.start(), run.count()), (0, total));
        assert_eq!(slots.largest(), None);
        assert_eq!(slots.take(want(1, 0)), None);
        slots.give(run).unwrap();
        slots.coalesce();
        assert_eq!(slots.largest(), Some(total.ilog2() as usize));
        assert!(slots.is_free_slot(total - 1) && !slots.is_free_slot(total));
        assert_sound(&slots);
    }
}

#[test]
fn what_is_left_over_of_a_block_is_free_at_once() {
    let mut slots = slots(2);
    let five = slots.take(want(5, 0)).unwrap();
    let two = slots.take(want(2, 0)).unwrap();
    assert_eq!((five.start(), two.start()), (0, 6));
    assert_sound(&slots);
    slots.give(five).unwrap();
    slots.give(two).unwrap();
    slots.coalesce();
    assert_eq!(slots.largest(), Some(3));
}

#[test]
fn the_upper_half_of_the_largest_segment_is_served_slot_by_slot() {
    let mut slots = slots(Order::MAX.get());
    let half = slots.total() / 2;
    let low = slots.take(want(half, 0)).unwrap();
    assert_eq!(low.start(), 0);
    let taken: Vec<Run> = (0..200).map(|_| slots.take(want(1, 0)).unwrap()).collect();
    assert!(taken.iter().map(Run::start).eq(half..half + 200));
    taken.into_iter().chain([low]).for_each(|run| slots.give(run).unwrap());
    slots.coalesce();
    assert_eq!(slots.largest(), Some(slots.total().ilog2() as usize));
}

#[test]
fn a_run_given_back_is_what_the_next_request_gets() {
    let mut slots = slots(5);
    let first = slots.take(want(1, 0)).unwrap();
    let three = slots.take(want(3, 0)).unwrap();
    let start = three.start();
    slots.give(three).unwrap();
    assert_sound(&slots);
    assert!(slots.give(Run { start: 4, count: 3 }).is_err(), "double free of a run put aside");
    let aligned = slots.take(want(3, 4)).unwrap();
    assert_eq!(aligned.start() % 16, 0, "the one put aside is not aligned");
    assert_eq!(slots.take(want(3, 0)).unwrap().start(), start);
    slots.give(aligned).unwrap();
    slots.give(first).unwrap();
    assert!(slots.take(want(32, 0)).is_some(), "the runs put aside were not joined");
    assert_sound(&slots);
}

#[test]
fn a_run_fits_where_one_of_its_length_was_though_the_block_around_it_is_not_free() {
    let mut slots = slots(3);
    let nine = slots.take(want(9, 0)).unwrap();
    let _rest: Vec<Run> = (9..16).map(|_| slots.take(want(1, 0)).unwrap()).collect();
    slots.give(nine).unwrap();
    slots.coalesce();
    assert_eq!(slots.largest(), Some(3), "eight and one, no block of sixteen");
    let again = slots.take(want(9, 0)).unwrap();
    assert_eq!(again.start(), 0);
    assert_sound(&slots);
    assert_eq!((slots.take(want(1, 0)), slots.in_use()), (None, 16));
    slots.give(again).unwrap();
    let seven = slots.take(want(7, 1)).unwrap();
    assert_eq!(seven.start() % 2, 0);
    assert_eq!(slots.take(want(3, 0)), None, "two are left");
    assert_sound(&slots);
}

#[test]
fn a_run_goes_where_it_fits_and_its_span_crosses_no_boundary() {
    let mut slots = slots(4);
    let runs: Vec<Run> = (0..32).map(|_| slots.take(want(1, 0)).unwrap()).collect();
    let mut runs: Vec<Option<Run>> = runs.into_iter().map(Some).collect();
    // 13..19 is free: three before a multiple of sixteen, three after.
    for run in &mut runs[13..19] {
        slots.give(run.take().unwrap()).unwrap();
    }
    for (count, span, block, start) in [
        (6, 6, 5, Some(13)),
        (4, 4, 4, None),
        (4, 3, 4, Some(13)),
        (3, 3, 2, Some(13)),
        (3, 2, 1, Some(14)),
    ] {
        let run = slots.take(bounded(count, span, 0, block));
        assert_eq!(run.as_ref().map(Run::start), start, "{count}, {span} within 2^{block}");
        run.into_iter().for_each(|run| slots.give(run).unwrap());
    }
    assert_sound(&slots);
}

#[test]
fn a_run_put_aside_is_not_reused_across_a_boundary() {
    let mut slots = slots(4);
    let first = slots.take(want(1, 0)).unwrap();
    let aside = slots.take_at(want(2, 0), 1).unwrap();
    slots.give(aside).unwrap();
    let run = slots.take(bounded(2, 2, 0, 1)).unwrap();
    assert_eq!(run.start() % 2, 0, "put aside was 1..3");
    slots.give(run).unwrap();
    slots.give(first).unwrap();
}

#[test]
fn a_place_can_be_chosen_if_it_is_free_and_does() {
    let mut slots = slots(4);
    let five = slots.take_at(want(3, 0), 5).unwrap();
    assert_eq!((five.start(), five.count(), slots.in_use()), (5, 3, 3));
    for (wanted, start) in [
        (want(1, 0), 7),
        (want(2, 0), 4),
        (want(2, 1), 9),
        (bounded(2, 2, 0, 1), 9),
        (want(1, 0), 32),
        (want(2, 0), 31),
        (want(33, 0), 0),
        (want(1, 0), usize::MAX),
    ] {
        assert_eq!(slots.take_at(wanted, start), None, "{wanted:?} at {start}");
    }
    assert_eq!(slots.take_at(bounded(2, 1, 0, 1), 9).unwrap().start(), 9);
    assert_eq!(slots.take_at(want(1, 0), 31).unwrap().start(), 31);
    assert_eq!(slots.in_use(), 6);
    slots.give(five).unwrap();
    assert_eq!(slots.take_at(want(1, 0), 6).unwrap().start(), 6, "a run put aside is free");
    assert_sound(&slots);
}

#[test]
fn alignment_holds_for_runs_smaller_than_it() {
    let mut slots = slots(6);
    let _first = slots.take(want(1, 0)).unwrap();
    let aligned = slots.take(want(3, 5)).unwrap();
    assert_eq!(aligned.start() % 32, 0);
    assert!(slots.take(want(1, 8)).is_none(), "no block of 256 slots in 128");
    assert_sound(&slots);
}

#[test]
fn a_run_that_was_not_taken_is_refused_and_changes_nothing() {
    let mut slots = slots(3);
    let run = slots.take(want(4, 0)).unwrap();
    let next = slots.take(want(4, 0)).unwrap();
    for (start, count) in [(0, 3), (0, 5), (0, 8), (1, 3), (1, 1), (8, 1), (0, 0), (0, 17), (15, 4)]
    {
        let wrong = Run { start, count };
        assert!(slots.give(wrong).is_err(), "{start}+{count} passed");
    }
    assert_eq!(slots.in_use(), 8);
    let again = Run { start: run.start, count: run.count };
    slots.give(run).unwrap();
    assert_eq!(slots.give(again), Err(NotTaken { start: 0, count: 4 }), "double free");
    slots.give(next).unwrap();
    assert_sound(&slots);
    // Of a longer segment, or of none: the slots' own words end before it.
    for (start, count) in [(600, 8), (9000, 3), (9000, 70), (u16::MAX, 1)] {
        let stray = Run { start, count };
        let error = Err(NotTaken { start: start.into(), count: count.into() });
        assert_eq!(slots.give(stray), error, "{start}");
    }
}

/// Runs over the ends of words, up to the last slot, with a free slot or another run behind them.
#[test]
fn of_all_places_and_lengths_only_a_run_s_own_are_its() {
    let mut slots = slots(8);
    let at = slots.total() - 40;
    let last = slots.take_at(want(40, 0), at).unwrap();
    let runs = [1, 62, 3, 64, 130, 63, 1].map(|count| slots.take(want(count, 0)).unwrap());
    let all: Vec<_> = runs.iter().chain([&last]).map(|run| (run.start(), run.count())).collect();
    for start in 0..slots.total() {
        for count in 0..=slots.total() - start + 1 {
            assert_eq!(
                slots.is_run(start, count),
                all.contains(&(start, count)),
                "{start}+{count}"
            );
        }
    }
    for run in runs.into_iter().chain([last]) {
        slots.give(run).unwrap();
    }
}

#[test]
fn requests_no_segment_can_hold_are_refused() {
    let mut slots = slots(0);
    assert_eq!((Want::slots(0), Want::slots(MAX_SLOTS + 1)), (None, None));
    assert!(slots.take(want(3, 0)).is_none());
    assert!(slots.take(want(1, 200)).is_none());
    assert!(Slots::NONE.largest().is_none());
    slots.clear();
    assert!(slots.take(want(1, 0)).is_none());
}

/// What a run must be, in numbers of slots that need no look at [`Want`].
#[derive(Clone, Copy, Debug)]
struct Demand {
    count: usize,
    span: usize,
    align: usize,
    block: usize,
}

impl Demand {
    fn is_place(&self, start: usize) -> bool {
        let last = start + self.span.max(1) - 1;
        start.is_multiple_of(1 << self.align) && start >> self.block == last >> self.block
    }

    /// Whether there is a place, going by nothing but which slots are taken.
    fn has_place(&self, taken: &[bool]) -> bool {
        let mut free = 0;
        let mut places = taken.iter().rev().zip((0..taken.len()).rev()).filter(|(taken, start)| {
            free = if **taken { 0 } else { free + 1 };
            free >= self.count && self.is_place(*start)
        });
        1 << self.align <= taken.len() && places.next().is_some()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take(Demand),
    TakeAt(Demand, usize),
    Give(usize),
}

fn demand(
    counts: core::ops::Range<usize>,
    aligns: core::ops::Range<usize>,
) -> impl Strategy<Value = Demand> {
    (counts, aligns, 0..=1usize, 0..14usize).prop_map(|(count, align, tail, block)| {
        let span = count - tail;
        let block = block.max(span.next_power_of_two().ilog2() as usize);
        Demand { count, span, align, block }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => demand(1..40, 0..4).prop_map(Op::Take),
        1 => demand(1..600, 0..9).prop_map(Op::Take),
        1 => (demand(1..6, 0..2), any::<usize>()).prop_map(|(demand, at)| Op::TakeAt(demand, at)),
        4 => any::<usize>().prop_map(Op::Give),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn random_use_keeps_the_books(
        order in 0u8..=if cfg!(miri) { 3 } else { 9 },
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 30 } else { 400 }),
    ) {
        let mut slots = slots(order);
        let mut owner = vec![false; slots.total()];
        let mut runs: Vec<Run> = Vec::new();
        for op in ops {
            match op {
                Op::Take(demand) | Op::TakeAt(demand, _) => {
                    let Demand { count, span, align, block } = demand;
                    let wanted = bounded(count, span, align, block);
                    let (run, expected) = match op {
                        Op::TakeAt(_, at) => {
                            let at = at % owner.len();
                            let free = at + count <= owner.len()
                                && owner[at..at + count].iter().all(|taken| !taken);
                            (slots.take_at(wanted, at), free && demand.is_place(at))
                        }
                        _ => (slots.take(wanted), demand.has_place(&owner)),
                    };
                    prop_assert_eq!(run.is_some(), expected);
                    let Some(run) = run else { continue };
                    prop_assert!(demand.is_place(run.start()));
                    let range = run.start()..run.start() + run.count();
                    prop_assert_eq!(range.len(), count);
                    prop_assert!(owner[range.clone()].iter().all(|taken| !taken));
                    owner[range].fill(true);
                    runs.push(run);
                }
                Op::Give(which) if !runs.is_empty() => {
                    let run = runs.swap_remove(which % runs.len());
                    owner[run.start()..run.start() + run.count()].fill(false);
                    slots.give(run).unwrap();
                }
                Op::Give(_) => {}
            }
            prop_assert_eq!(slots.in_use(), owner.iter().filter(|&&taken| taken).count());
        }
        assert_sound(&slots);
        for run in runs {
            slots.give(run).unwrap();
        }
        slots.coalesce();
        prop_assert_eq!(slots.largest(), Some(slots.total().ilog2() as usize));
    }
}

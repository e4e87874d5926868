//! The slot allocator against a model that knows only which slots are taken.

use super::*;
use alloc::{boxed::Box, vec, vec::Vec};
use proptest::prelude::*;

fn slots(order: u8) -> Box<Slots> {
    let mut slots = Box::new(Slots::NONE);
    slots.reset(Order::new(order).unwrap());
    slots
}

/// Every slot is in exactly one free block or in use; no two free blocks are buddies; marks agree.
fn assert_sound(slots: &Slots) {
    let total = slots.total();
    let mut covered = vec![0u8; total];
    for order in 0..ORDERS {
        let blocks = (MAX_SLOTS >> order).max(1);
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
    for order in 0..=Order::MAX.get() {
        let mut slots = slots(order);
        let total = slots.total();
        assert_eq!(total, 2 << order);
        let run = slots.take(total, 0).unwrap();
        assert_eq!((run.start(), run.count()), (0, total));
        assert_eq!(slots.largest(), None);
        assert_eq!(slots.take(1, 0), None);
        slots.give(run).unwrap();
        assert!(slots.settle());
        assert_eq!(slots.largest(), Some(total.ilog2() as usize));
        assert_sound(&slots);
    }
}

#[test]
fn what_is_left_over_of_a_block_is_free_at_once() {
    let mut slots = slots(2);
    let five = slots.take(5, 0).unwrap();
    let two = slots.take(2, 0).unwrap();
    assert_eq!((five.start(), two.start()), (0, 6));
    assert_sound(&slots);
    slots.give(five).unwrap();
    slots.give(two).unwrap();
    slots.settle();
    assert_eq!(slots.largest(), Some(3));
}

#[test]
fn a_run_given_back_is_what_the_next_request_gets() {
    let mut slots = slots(5);
    let first = slots.take(1, 0).unwrap();
    let three = slots.take(3, 0).unwrap();
    let start = three.start();
    slots.give(three).unwrap();
    assert_sound(&slots);
    assert!(slots.give(Run { start: 4, count: 3 }).is_err(), "double free of a run put aside");
    let aligned = slots.take(3, 4).unwrap();
    assert_eq!(aligned.start() % 16, 0, "the one put aside is not aligned");
    assert_eq!(slots.take(3, 0).unwrap().start(), start);
    slots.give(aligned).unwrap();
    slots.give(first).unwrap();
    assert!(slots.take(32, 0).is_some(), "the runs put aside were not joined");
    assert_sound(&slots);
}

#[test]
fn a_run_fits_where_one_of_its_length_was_though_the_block_around_it_is_not_free() {
    let mut slots = slots(3);
    let nine = slots.take(9, 0).unwrap();
    let _rest: Vec<Run> = (9..16).map(|_| slots.take(1, 0).unwrap()).collect();
    slots.give(nine).unwrap();
    slots.settle();
    assert_eq!(slots.largest(), Some(3), "eight and one, no block of sixteen");
    let again = slots.take(9, 0).unwrap();
    assert_eq!(again.start(), 0);
    assert_sound(&slots);
    assert_eq!((slots.take(1, 0), slots.in_use()), (None, 16));
    slots.give(again).unwrap();
    let seven = slots.take(7, 1).unwrap();
    assert_eq!(seven.start() % 2, 0);
    assert_eq!(slots.take(3, 0), None, "two are left");
    assert_sound(&slots);
}

#[test]
fn no_run_crosses_the_end_of_a_block_of_its_size() {
    let mut slots = slots(4);
    let runs: Vec<Run> = (0..32).map(|_| slots.take(1, 0).unwrap()).collect();
    let mut runs: Vec<Option<Run>> = runs.into_iter().map(Some).collect();
    // 13..19 is free: four before the end of a block of sixteen, three after.
    for run in &mut runs[13..19] {
        slots.give(run.take().unwrap()).unwrap();
    }
    assert_eq!(slots.take(4, 0), None, "12..16 and 16..20 are both taken in part");
    assert_eq!(slots.take(3, 0).map(|run| run.start()), Some(13));
    assert_eq!(slots.take(3, 0).map(|run| run.start()), Some(16));
    assert_sound(&slots);
}

#[test]
fn alignment_holds_for_runs_smaller_than_it() {
    let mut slots = slots(6);
    let _first = slots.take(1, 0).unwrap();
    let aligned = slots.take(3, 5).unwrap();
    assert_eq!(aligned.start() % 32, 0);
    assert!(slots.take(1, 8).is_none(), "no block of 256 slots in 128");
    assert_sound(&slots);
}

#[test]
fn a_run_that_was_not_taken_is_refused_and_changes_nothing() {
    let mut slots = slots(3);
    let run = slots.take(4, 0).unwrap();
    let next = slots.take(4, 0).unwrap();
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
}

#[test]
fn requests_no_segment_can_hold_are_refused() {
    let mut slots = slots(0);
    assert!(slots.take(0, 0).is_none());
    assert!(slots.take(3, 0).is_none());
    assert!(slots.take(1, 200).is_none());
    assert!(Slots::NONE.largest().is_none());
    slots.clear();
    assert!(slots.take(1, 0).is_none());
}

/// Whether a run that starts there is aligned and lies in one block.
fn is_place(start: usize, count: usize, align: usize) -> bool {
    let block = 1 << block_order(count, align);
    start.is_multiple_of(1 << align) && (start % block) + count <= block
}

/// Whether there is a place for a run, going by nothing but which slots are taken.
fn has_place(taken: &[bool], count: usize, align: usize) -> bool {
    let mut free = 0;
    let mut places = taken.iter().rev().zip((0..taken.len()).rev()).filter(|(taken, start)| {
        free = if **taken { 0 } else { free + 1 };
        free >= count && is_place(*start, count, align)
    });
    1 << block_order(count, align) <= taken.len() && places.next().is_some()
}

#[derive(Clone, Debug)]
enum Op {
    Take(usize, usize),
    Give(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..40usize, 0..4usize).prop_map(|(count, align)| Op::Take(count, align)),
        1 => (1..600usize, 0..9usize).prop_map(|(count, align)| Op::Take(count, align)),
        4 => any::<usize>().prop_map(Op::Give),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_use_keeps_the_books(order in 0u8..=9, ops in prop::collection::vec(op(), 1..400)) {
        let mut slots = slots(order);
        let mut owner = vec![false; slots.total()];
        let mut runs: Vec<Run> = Vec::new();
        for op in ops {
            match op {
                Op::Take(count, align) => {
                    let run = slots.take(count, align);
                    prop_assert_eq!(run.is_some(), has_place(&owner, count, align));
                    let Some(run) = run else { continue };
                    prop_assert!(is_place(run.start(), count, align));
                    let range = run.start()..run.start() + run.count();
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
        slots.settle();
        prop_assert_eq!(slots.largest(), Some(slots.total().ilog2() as usize));
    }
}

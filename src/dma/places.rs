//! Where a run fits between slots that are taken, when no free block is large enough for it.
//!
//! A place lies inside one naturally aligned block of `block` slots and begins at a multiple of `step` from
//! the block's start; both are powers of two. The bitmap has a bit set for each slot taken.

use super::bits;

/// The first slot of the first place for `count` of `total` slots.
pub(super) fn find(
    taken: &[u64],
    total: usize,
    count: usize,
    block: usize,
    step: usize,
) -> Option<usize> {
    if block <= 64 {
        find_in_words(taken, total, count, block, step)
    } else {
        find_across(taken, total, count, block, step)
    }
}

/// Blocks that lie in one word: all places in it at once.
fn find_in_words(
    taken: &[u64],
    total: usize,
    count: usize,
    block: usize,
    step: usize,
) -> Option<usize> {
    let low = |bits: usize| u64::MAX >> (64 - bits);
    let in_block = low(block - count + 1) & (u64::MAX / low(step));
    let in_word = in_block * (u64::MAX / low(block));
    let places = in_word & low(total.min(64));
    taken[..total.div_ceil(64)].iter().enumerate().find_map(|(word, taken)| {
        let starts = bits::starts_of_runs(!taken, count) & places;
        (starts != 0).then(|| word * 64 + starts.trailing_zeros() as usize)
    })
}

/// Blocks of several words: from one free slot to the next one taken.
fn find_across(
    taken: &[u64],
    total: usize,
    count: usize,
    block: usize,
    step: usize,
) -> Option<usize> {
    let mut from = 0;
    loop {
        let start = bits::first_clear(taken, from, total)?.next_multiple_of(step);
        let end = start + count;
        if end > total {
            return None;
        }
        from = match bits::first_set(taken, start, end) {
            Some(taken) => taken + 1,
            None if (start % block) + count <= block => return Some(start),
            None => start.next_multiple_of(block),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_find_the_place_that_a_look_at_each_slot_finds(
            taken: [u64; 4],
            thinner: [u64; 4],
            (order, count, align) in (0..=8usize)
                .prop_flat_map(|order| (Just(order), 1..=1usize << order, 0..=order)),
        ) {
            let (block, step) = (1 << order, 1 << align);
            let taken: Vec<u64> = taken.iter().zip(thinner).map(|(a, b)| a & b & b >> 7).collect();
            let fits = |start: &usize| {
                (start % block) + count <= block && !bits::any(&taken, *start, count)
            };
            let expected = (0..=256 - count).step_by(step).find(fits);
            prop_assert_eq!(find_across(&taken, 256, count, block, step), expected);
            if block <= 64 {
                prop_assert_eq!(find_in_words(&taken, 256, count, block, step), expected);
            }
        }
    }
}

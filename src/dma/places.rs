//! Where a run fits between slots that are taken, when no free block is large enough for it.

use super::{bits, want::Want};

/// The first slot of the first place for a run among `total` slots; a bit is set for each one taken.
pub(super) fn find(want: Want, taken: &[u64], total: usize) -> Option<usize> {
    if want.count() <= 64 {
        find_in_pairs(want, taken, total)
    } else {
        find_long(want, taken, total)
    }
}

/// A run that begins in one word of slots and ends at the latest in the next: all places at once.
fn find_in_pairs(want: Want, taken: &[u64], total: usize) -> Option<usize> {
    // A bit for each slot that is free; there are none behind the last one.
    let last = u64::MAX >> (64 - total.min(64));
    let free = |word: usize| if word * 64 < total { !taken[word] & last } else { 0 };
    (0..total.div_ceil(64)).find_map(|word| {
        let mut starts = match free(word) {
            0 => 0,
            bits => bits::starts_of_runs(bits, free(word + 1), want.count()),
        };
        while starts != 0 {
            let start = word * 64 + starts.trailing_zeros() as usize;
            if want.admits(start) {
                return Some(start);
            }
            starts &= starts - 1;
        }
        None
    })
}

/// A run of more than a word: from one free slot to the next one taken.
fn find_long(want: Want, taken: &[u64], total: usize) -> Option<usize> {
    let mut start = 0;
    loop {
        start = bits::first_clear(taken, start, total)?.next_multiple_of(want.step());
        let end = start + want.count();
        if end > total {
            return None;
        }
        start = match bits::first_set(taken, start, end) {
            Some(taken) => taken + 1,
            None if want.admits(start) => return Some(start),
            None => start + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::DmaMask,
        dma::limits::{Limits, PowerOfTwo},
    };
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn a_long_run_fits_between_slots_that_are_taken_and_at_the_very_end() {
        let want = Want::slots(100).unwrap();
        let mut taken = [0_u64; 4];
        bits::set(&mut taken, 0, 156);
        assert_eq!(find(want, &taken, 256), Some(156));
        assert_eq!(find(want, &taken, 255), None);
        bits::set(&mut taken, 200, 1);
        assert_eq!(find(want, &taken, 256), None);
        bits::clear(&mut taken, 56, 100);
        assert_eq!(find(want, &taken, 256), Some(56));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        #[test]
        fn both_ways_find_the_place_that_a_look_at_each_slot_finds(
            taken: [u64; 4],
            thinner: [u64; 4],
            sparse: bool,
            (count, span, align, block) in (1..=100usize, 0..=4usize, 0..=8u32)
                .prop_flat_map(|(count, align, block)| {
                    (Just(count), count - 1..=count, Just(align), Just(block))
                }),
        ) {
            let power = |slots: u32| PowerOfTwo::new(2048 << slots).unwrap();
            let limits = Limits::new(DmaMask::BITS_64)
                .aligned_to(power(u32::try_from(align).unwrap()))
                .within(power(block));
            let Some(want) = Want::of(&limits).sized(count, span) else { return Ok(()) };
            let thin = |(a, b): (u64, u64)| if sparse { a & b & b >> 7 & b << 9 } else { a & b & b >> 7 };
            let taken: Vec<u64> = taken.into_iter().zip(thinner).map(thin).collect();
            let fits = |start: &usize| {
                start.is_multiple_of(1 << align)
                    && start >> block == (start + span.max(1) - 1) >> block
                    && !bits::any(&taken, *start, count)
            };
            let expected = (0..=256 - count).find(fits);
            prop_assert_eq!(find_long(want, &taken, 256), expected);
            if count <= 64 {
                prop_assert_eq!(find_in_pairs(want, &taken, 256), expected);
            }
        }
    }
}

//! Where a run fits between slots that are taken, when no free block is large enough for it.

use super::bits;

/// What a place for a run has to be. `block` and `step` are powers of two, `count` and `step` at most `block`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Slots.
    pub(super) count: usize,
    /// It lies inside one of the blocks of so many slots that the segment divides into.
    pub(super) block: usize,
    /// It begins at a multiple of this.
    pub(super) step: usize,
}

impl Place {
    /// The first slot of the first such place among `total` slots; a bit is set for each one taken.
    pub(super) fn find(&self, taken: &[u64], total: usize) -> Option<usize> {
        if self.block <= 64 {
            self.find_in_words(taken, total)
        } else {
            self.find_across(taken, total)
        }
    }

    /// Blocks that lie in one word: all places in it at once.
    fn find_in_words(&self, taken: &[u64], total: usize) -> Option<usize> {
        let Self { count, block, step } = *self;
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
    fn find_across(&self, taken: &[u64], total: usize) -> Option<usize> {
        let Self { count, block, step } = *self;
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
            let place = Place { count, block, step };
            prop_assert_eq!(place.find_across(&taken, 256), expected);
            if block <= 64 {
                prop_assert_eq!(place.find_in_words(&taken, 256), expected);
            }
        }
    }
}

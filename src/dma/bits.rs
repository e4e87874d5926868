//! Ranges of bits in a slice of words, a word at a time.

/// The masks of `count` bits from `start`, word by word.
fn masks(start: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = start + count;
    (start / 64..end.div_ceil(64)).map(move |word| {
        // `high` is 1..=64; of an empty range inside a word both are the same, and no bit is left.
        let (low, high) = (start.max(word * 64) % 64, end.min(word * 64 + 64) - word * 64);
        (word, (u64::MAX >> (64 - high)) & (u64::MAX << low))
    })
}

pub(super) fn set(words: &mut [u64], start: usize, count: usize) {
    masks(start, count).for_each(|(word, mask)| words[word] |= mask);
}

pub(super) fn clear(words: &mut [u64], start: usize, count: usize) {
    masks(start, count).for_each(|(word, mask)| words[word] &= !mask);
}

pub(super) fn all(words: &[u64], start: usize, count: usize) -> bool {
    masks(start, count).all(|(word, mask)| words[word] & mask == mask)
}

pub(super) fn any(words: &[u64], start: usize, count: usize) -> bool {
    masks(start, count).any(|(word, mask)| words[word] & mask != 0)
}

pub(super) fn get(words: &[u64], bit: usize) -> bool {
    words[bit / 64] & 1 << (bit % 64) != 0
}

/// The first set bit in `start..end`.
pub(super) fn first_set(words: &[u64], start: usize, end: usize) -> Option<usize> {
    first(start, end, |word| words[word])
}

/// The first clear bit in `start..end`.
pub(super) fn first_clear(words: &[u64], start: usize, end: usize) -> Option<usize> {
    first(start, end, |word| !words[word])
}

fn first(start: usize, end: usize, words: impl Fn(usize) -> u64) -> Option<usize> {
    let mut found =
        masks(start, end.saturating_sub(start)).map(|(word, mask)| (word, words(word) & mask));
    let (word, bits) = found.find(|(_, bits)| *bits != 0)?;
    Some(word * 64 + bits.trailing_zeros() as usize)
}

/// The bits of a word at which `count` set bits begin, at most 64; a run goes on into the `next` word.
pub(super) fn starts_of_runs(word: u64, next: u64, count: usize) -> u64 {
    let (mut starts, mut length) = (u128::from(word) | u128::from(next) << 64, 1);
    while length < count {
        let more = length.min(count - length);
        starts &= starts >> more;
        length += more;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the starts in the first word")]
    let starts = starts as u64;
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Miri looks at each step; a few of them stand for all.
    const STEP: usize = if cfg!(miri) { 31 } else { 1 };

    #[test]
    fn runs_begin_where_all_their_bits_are_set_also_in_the_next_word() {
        let mut words = [0x9e37_79b9_7f4a_7c15_u64, 0xd1b5_4a32_d192_ed03];
        for count in (1..=64).step_by(STEP) {
            words = words.map(|word| word.rotate_left(7) | word >> (count / 4));
            let starts = starts_of_runs(words[0], words[1], count);
            for at in 0..64 {
                assert_eq!(get(&[starts], at), all(&words, at, count), "{count} at {at}");
            }
        }
    }

    #[test]
    fn the_first_bit_of_either_kind_is_found_and_none_outside_the_range() {
        for at in (0..192).step_by(STEP) {
            let mut words = [0; 3];
            set(&mut words, at, 1);
            let inverse = words.map(|word: u64| !word);
            for (start, end) in
                [(0, 192), (at, at + 1), (at / 2, 192), (0, at), (at + 1, 192), (5, 3)]
            {
                let expected = (start <= at && at < end).then_some(at);
                assert_eq!(first_set(&words, start, end), expected, "{at} in {start}..{end}");
                assert_eq!(first_clear(&inverse, start, end), expected, "{at} in {start}..{end}");
            }
        }
    }

    #[test]
    fn every_range_of_three_words_touches_its_bits_and_no_other() {
        for start in (0..192).step_by(STEP) {
            for count in (0..=192 - start).step_by(STEP) {
                let mut words = [0; 3];
                set(&mut words, start, count);
                let expected = |bit| bit >= start && bit < start + count;
                assert!((0..192).all(|bit| get(&words, bit) == expected(bit)), "{start}+{count}");
                assert!(all(&words, start, count));
                assert_eq!(any(&words, start, count), count > 0);
                clear(&mut words, start, count);
                assert_eq!(words, [0; 3]);
            }
        }
    }
}

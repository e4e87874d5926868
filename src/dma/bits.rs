//! Ranges of bits in a slice of words, a word at a time.

/// The masks of `count` bits from `start`, word by word.
fn masks(start: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = start + count;
    (start / 64..end.div_ceil(64)).filter_map(move |word| {
        let (low, high) = (start.max(word * 64) % 64, end.min(word * 64 + 64) - word * 64);
        // `high` is 1..=64 unless the range is empty, in which case there is nothing to visit.
        (count > 0).then(|| (word, (u64::MAX >> (64 - high)) & (u64::MAX << low)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_of_three_words_touches_its_bits_and_no_other() {
        for start in 0..192 {
            for count in 0..=192 - start {
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

//! Where on a medium the bytes of a transfer are: what the medium holds is what there is to move.

use alloc::vec::Vec;

/// How many places are tried for one where not all bytes are the same.
pub(super) const TRIES: u64 = 8;
/// Blocks that are read from: the first ones, where a disk that is in use holds something.
const WINDOW: u64 = 8192;

/// The first of `count` blocks for a seed and a try, on a medium of so many; there are at least as many.
pub(super) const fn first_block(blocks: u64, count: u64, seed: usize, nth: u64) -> u64 {
    let places = blocks - count + 1;
    let places = if places < WINDOW { places } else { WINDOW };
    // Neither number divides the window, so that each seed and each try has another place.
    ((seed as u64).wrapping_mul(37).wrapping_add(nth * 1009)) % places
}

/// Makes every byte another, so that what the disk does not write is not taken for what it wrote.
pub(super) fn spoil(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// Memory for bytes to arrive in, each of them another than what is expected there.
pub(super) fn unlike(expected: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = expected.to_vec();
    bytes.resize(len, 0);
    spoil(&mut bytes);
    bytes
}

/// Whether there is something to tell apart in these bytes.
pub(super) fn varied(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte != bytes[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_and_every_try_has_another_place_and_all_are_on_the_medium() {
        for (blocks, count) in [(1 << 30, 8), (2000, 128), (128, 128), (129, 128)] {
            let all = (0..40).map(|seed| first_block(blocks, count, seed, 0));
            assert!(all.clone().all(|first| first + count <= blocks.min(WINDOW + count)));
            let tries: Vec<_> = (0..TRIES).map(|nth| first_block(1 << 30, 8, 5, nth)).collect();
            assert!((1..tries.len()).all(|n| !tries[..n].contains(&tries[n])));
        }
    }

    #[test]
    fn no_byte_is_what_it_was() {
        let mut bytes = [0, 1, 0x7f, 0xff];
        assert!(varied(&bytes) && !varied(&[7; 3]));
        spoil(&mut bytes);
        assert_eq!(bytes, [0xff, 0xfe, 0x80, 0]);
        assert_eq!(unlike(&[0, 1, 2], 2), [0xff, 0xfe]);
        assert_eq!(unlike(&[0], 3), [0xff; 3]);
    }
}

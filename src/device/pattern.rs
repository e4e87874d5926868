//! Bytes to send and to look for: a pattern in which a shifted, repeated or lost byte shows.

/// What to do about bytes that are not those sent.
pub const MISMATCH_REMEDY: &str =
    "a wrong frame in P2M or IOMMU, or memory that is not coherent: try swiotlb=force";

/// Fills `bytes` with the pattern of `seed`.
pub fn fill(bytes: &mut [u8], seed: usize) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = (i.wrapping_mul(167) ^ (i >> 8).wrapping_mul(59) ^ seed).to_le_bytes()[0];
    }
}

/// Spreads a number's bits over all 64: each depends on all of them (the finalizer of SplitMix64).
pub const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// The first place where two runs of bytes differ, in bytes or in length.
pub fn differs(a: &[u8], b: &[u8]) -> Option<usize> {
    // As a whole first: to look for the place takes as long for each byte as that for eight.
    if a == b {
        return None;
    }
    let place = a.iter().zip(b).position(|(a, b)| a != b);
    place.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(seed: usize) -> [u8; 600] {
        let mut bytes = [0; 600];
        fill(&mut bytes, seed);
        bytes
    }

    #[test]
    fn what_is_shifted_repeated_or_of_another_seed_shows() {
        let bytes = pattern(7);
        assert_eq!(differs(&bytes, &pattern(7)), None);
        assert_eq!(differs(&bytes, &pattern(8)), Some(0));
        assert!((1..599).all(|by| differs(&bytes[by..], &bytes[..600 - by]).is_some()));
        // Of a long run, too.
        let mut long = [0; 4096];
        fill(&mut long, 7);
        assert!((0..4095).all(|at| long[at] != long[at + 1]));
    }

    #[test]
    fn numbers_are_mixed_as_by_their_generator() {
        // SplitMix64's first two from 1234567 on, as they are published.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let drawn = [1, 2].map(|n| mix(STEP.wrapping_mul(n).wrapping_add(1_234_567)));
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn what_another_transfer_left_shows_in_each_byte() {
        for other in (0..=u8::MAX).filter(|seed| *seed != 7) {
            let both = pattern(7).into_iter().zip(pattern(other.into()));
            assert_eq!(both.filter(|(a, b)| a == b).count(), 0, "seed {other}");
        }
    }

    #[test]
    fn a_difference_is_named_by_its_place_and_so_is_a_missing_end() {
        let (mut other, bytes) = (pattern(7), pattern(7));
        other[123] ^= 1;
        assert_eq!(differs(&bytes, &other), Some(123));
        assert_eq!(differs(&bytes, &bytes[..599]), Some(599));
        assert_eq!(differs(&bytes[..10], &bytes), Some(10));
    }
}

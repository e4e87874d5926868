//! Bytes to send and to look for: a pattern in which a shifted, repeated or lost byte shows.

/// Fills `bytes` with the pattern of `seed`.
pub(super) fn fill(bytes: &mut [u8], seed: usize) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = (i.wrapping_mul(167) ^ (i >> 8).wrapping_mul(59) ^ seed).to_le_bytes()[0];
    }
}

/// The first place where two runs of bytes differ, in bytes or in length.
pub(super) fn differs(a: &[u8], b: &[u8]) -> Option<usize> {
    let place = a.iter().zip(b).position(|(a, b)| a != b);
    place.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))
}

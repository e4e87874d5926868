//! CRC-32 of IEEE 802.3, eight bytes at a time.
//!
//! In the guest only: `crc32fast` without SSE takes sixteen at a time, with a table of twice the size, which is
//! a thirtieth of the image. Tests compare the two.

/// `0x04c11db7` with its bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// For each of the eight bytes, what it does to the remainder by the time all are taken.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte: u32 = 0;
    while byte < 256 {
        let (mut rest, mut table) = (last(byte), 0);
        while table < 8 {
            tables[table][byte as usize] = rest;
            rest = (rest >> 8) ^ last(rest);
            table += 1;
        }
        byte += 1;
    }
    tables
}

/// What a remainder's lowest byte does to the rest of it.
const fn last(rest: u32) -> u32 {
    let (mut byte, mut bit) = (rest & 0xff, 0);
    while bit < 8 {
        byte = (byte >> 1) ^ (POLYNOMIAL * (byte & 1));
        bit += 1;
    }
    byte
}

/// A checksum on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32(u32);

impl Crc32 {
    /// Of no bytes.
    pub(super) const fn new() -> Self {
        Self(u32::MAX)
    }

    /// Takes further bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for &eight in eights {
            let word = u64::from_le_bytes(eight) ^ u64::from(self.0);
            let bytes = word.to_le_bytes().into_iter().zip(TABLES.iter().rev());
            self.0 = bytes.fold(0, |sum, (byte, table)| sum ^ table[usize::from(byte)]);
        }
        for &byte in rest {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = (self.0 >> 8) ^ TABLES[0][usize::from(low ^ byte)];
        }
    }

    /// The checksum of what was taken.
    pub(super) const fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_have_the_sum_that_others_find(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)
        ) {
            let mut sum = Crc32::new();
            pieces.iter().for_each(|piece| sum.update(piece));
            let whole: Vec<u8> = pieces.concat();
            prop_assert_eq!(sum.finish(), crc32fast::hash(&whole));
        }
    }
}

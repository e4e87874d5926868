//! What IDENTIFY DEVICE tells (ACS-3, section 7.12.7): 256 words, of which nothing is believed that can't be.

use crate::device::StartError;
use alloc::string::String;
use core::ops::RangeInclusive;

/// Bytes of it.
pub(super) const BYTES: usize = 512;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Model and serial number.
    pub(super) label: String,
    /// Blocks of the medium.
    pub(super) blocks: u64,
    /// Bytes of a block.
    pub(super) block: usize,
}

impl Identity {
    /// One that was not asked yet.
    pub(super) const fn unknown() -> Self {
        Self { label: String::new(), blocks: 1, block: 512 }
    }

    /// A disk that the driver can read from; an error says what it lacks.
    pub(super) fn read(bytes: &[u8; BYTES]) -> Result<Self, StartError> {
        let word = |n: usize| u16::from_le_bytes([bytes[2 * n], bytes[2 * n + 1]]);
        // Word 255: where A5h stands there, all bytes add up to nothing.
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if bytes[510] == 0xa5 && sum != 0 {
            return Err(StartError::Unfit { what: "sum of IDENTIFY's bytes", value: sum.into() });
        }
        // The upper bits of 83 and 106 say whether the others mean anything.
        let valid = |word: u16| word >> 14 == 1;
        if !valid(word(83)) || word(83) & 1 << 10 == 0 || word(49) & 1 << 8 == 0 {
            return Err(StartError::Lacks("DMA with 48-bit block addresses"));
        }
        let blocks = (100..104).rev().fold(0, |all, n| all << 16 | u64::from(word(n)));
        let long = valid(word(106)) && word(106) & 1 << 12 != 0;
        let words = u32::from(word(118)) << 16 | u32::from(word(117));
        let block = if long { usize::try_from(words).unwrap_or(0).saturating_mul(2) } else { 512 };
        if !block.is_power_of_two() || !(512..=4096).contains(&block) || blocks == 0 {
            return Err(StartError::Lacks("blocks of 512 to 4096 bytes"));
        }
        let label =
            alloc::format!("{} {}", text(bytes, 27..=46).trim(), text(bytes, 10..=19).trim());
        Ok(Self { label, blocks, block })
    }
}

/// Characters are the other way round in each word.
fn text(bytes: &[u8; BYTES], words: RangeInclusive<usize>) -> String {
    let swapped = words.flat_map(|n| [bytes[2 * n + 1], bytes[2 * n]]);
    swapped.filter(|byte| (b' '..=b'~').contains(byte)).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(words: &[(usize, u16)]) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for &(n, word) in [(49, 0x100), (83, 0x4400), (100, 9)].iter().chain(words) {
            bytes[2 * n..2 * n + 2].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_disk_says_how_large_it_and_its_blocks_are() {
        let read =
            |words: &[(usize, u16)]| Identity::read(&with(words)).map(|i| (i.blocks, i.block));
        assert_eq!(read(&[]), Ok((9, 512)));
        assert_eq!(read(&[(101, 1), (103, 0x8000)]), Ok((0x8000_0000_0001_0009, 512)));
        assert_eq!(read(&[(106, 0x5000), (117, 2048)]), Ok((9, 4096)));
        assert_eq!(read(&[(106, 0x1000), (117, 2048)]), Ok((9, 512)), "not valid");
        assert_eq!(read(&[(106, 0x4000), (117, 2048)]), Ok((9, 512)), "of the usual length");
        for wrong in [(100, 0), (83, 0x0400), (83, 0x4000), (49, 0)] {
            assert_eq!(read(&[wrong]).unwrap_err().code(), "device-lacks", "{wrong:x?}");
        }
        for size in [0, 128, 300, 4096] {
            let long = read(&[(106, 0x5000), (117, size)]);
            assert_eq!(long.unwrap_err().code(), "device-lacks", "{size}");
        }
        let huge = read(&[(106, 0x5000), (117, 2048), (118, 1)]);
        assert_eq!(huge.unwrap_err().code(), "device-lacks");
        let named = with(&[(10, 0x534e), (27, 0x4d6f), (28, 0x6465), (29, 0x6c20)]);
        assert_eq!(Identity::read(&named).unwrap().label, "Model SN");
    }

    #[test]
    fn a_sum_that_is_given_has_to_be_right() {
        let mut bytes = with(&[]);
        bytes[510] = 0xa5;
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(Identity::read(&bytes).unwrap_err().code(), "device-unfit");
        bytes[511] = sum.wrapping_neg();
        assert!(Identity::read(&bytes).is_ok());
    }
}

//! The bytes that one end of a pair sends: what stands at an offset follows from the offset and from the end.
//!
//! They come in words of 64 bits, and no two words of a pair are the same, of either end: so what was left out, sent
//! twice or moved shows at its first byte, and a word that stands at the wrong place tells where it belongs.

use crate::{addr::to_usize, options::End};
use core::fmt;

/// The number of an end's first word: those of the two are further apart than any stream is long.
const fn first(end: End) -> u64 {
    match end {
        End::A => 1 << 40,
        End::B => 1 << 41,
    }
}

/// A place in what an end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose bytes they are.
    pub end: End,
    /// How many come before.
    pub offset: u64,
}

/// A byte that is not what its offset says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} is {found:#04x}, not {expected:#04x}; {}", Origin(*self))]
pub struct Wrong {
    /// Who sent it.
    pub end: End,
    /// Where.
    pub offset: u64,
    /// What had to stand there.
    pub expected: u8,
    /// What did.
    pub found: u8,
    /// Where the bytes from here on belong, if they are an end's at all.
    pub origin: Option<Place>,
}

/// Where the bytes belong, in words.
struct Origin(Wrong);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { end, offset, origin, .. } = self.0;
        match origin {
            Some(place) if place == (Place { end, offset }) => f.write_str("what follows is right"),
            Some(place) if place.end == end => {
                write!(f, "what stands there belongs at byte {}", place.offset)
            }
            Some(place) => {
                write!(f, "what stands there is what this end sends as its byte {}", place.offset)
            }
            None => f.write_str("what stands there is no part of any stream"),
        }
    }
}

/// Odd, so that multiplying by them can be undone; their bits are those of the golden ratio and of the square root of 2.
const SPREAD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xb504_f333_f9de_6485];
/// What undoes them.
const GATHER: [u64; 2] = [inverse(SPREAD[0]), inverse(SPREAD[1])];

/// Modulo 2^64, of an odd number: each round of Newton's doubles the bits that are right, of which three are at first.
const fn inverse(odd: u64) -> u64 {
    let mut found = odd;
    let mut bits = 3;
    while bits < 64 {
        found = found.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(found)));
        bits *= 2;
    }
    found
}

const fn word(number: u64) -> u64 {
    let spread = number.wrapping_mul(SPREAD[0]);
    (spread ^ (spread >> 32)).wrapping_mul(SPREAD[1])
}

/// The number of a word, whatever it is.
const fn number(word: u64) -> u64 {
    let spread = word.wrapping_mul(GATHER[1]);
    (spread ^ (spread >> 32)).wrapping_mul(GATHER[0])
}

/// Bytes in a word.
const WORD: usize = 8;

impl Place {
    /// The word that it lies in, and the byte's place there.
    fn word(self) -> ([u8; WORD], usize) {
        let word = word(first(self.end).wrapping_add(self.offset / WORD as u64));
        (word.to_le_bytes(), to_usize(self.offset % WORD as u64))
    }

    /// Fills `bytes` with what is sent from here on.
    pub fn fill(mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (word, from) = self.word();
            let (now, later) = bytes.split_at_mut(bytes.len().min(WORD - from));
            now.copy_from_slice(&word[from..from + now.len()]);
            self.offset += now.len() as u64;
            bytes = later;
        }
    }

    /// Compares `bytes` with what is sent from here on.
    pub fn check(mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            let (word, from) = self.word();
            let (now, later) = bytes.split_at(bytes.len().min(WORD - from));
            let expected = &word[from..from + now.len()];
            if now != expected {
                let at = now.iter().zip(expected).take_while(|(a, b)| a == b).count();
                let Self { end, offset } = self;
                let (offset, found, expected) = (offset + at as u64, now[at], expected[at]);
                return Err(Wrong { end, offset, expected, found, origin: origin(&bytes[at..]) });
            }
            self.offset += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// The place where a word stands that some end sends in its first 2^39 words.
    fn of(bytes: [u8; WORD]) -> Option<Self> {
        let number = number(u64::from_le_bytes(bytes));
        [End::B, End::A].into_iter().find_map(|end| {
            let words = number.checked_sub(first(end)).filter(|words| words >> 39 == 0)?;
            Some(Self { end, offset: words * WORD as u64 })
        })
    }
}

/// Where bytes come from, by the first whole word among them.
fn origin(bytes: &[u8]) -> Option<Place> {
    // The word after one that is wrong in parts begins that much later.
    (0..=WORD).find_map(|skip| {
        let Place { end, offset } = Place::of(*bytes.get(skip..)?.first_chunk()?)?;
        Some(Place { end, offset: offset.checked_sub(skip as u64)? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec, vec::Vec};
    use proptest::prelude::*;

    fn sent(end: End, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Place { end, offset }.fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_word_tells_its_number() {
        for at in [0, 1, 2, 1 << 40, (1 << 41) + 12345, u64::MAX] {
            assert_eq!(number(word(at)), at);
        }
    }

    #[test]
    fn multiplying_by_an_odd_number_can_be_undone() {
        for odd in [1, 3, SPREAD[0], SPREAD[1], u64::MAX] {
            assert_eq!(inverse(odd).wrapping_mul(odd), 1, "{odd:#x}");
        }
    }

    #[test]
    fn ends_are_called_what_an_option_calls_them() {
        assert_eq!([End::A, End::B].map(|end| end.to_string()), ["a", "b"]);
    }

    #[test]
    fn what_is_sent_in_pieces_is_what_is_sent_at_once() {
        let whole = sent(End::A, 3, 1000);
        let pieces: Vec<_> =
            (0..1000).step_by(7).flat_map(|at| sent(End::A, 3 + at, 7)).take(1000).collect();
        assert_eq!(whole, pieces);
        for (cut, offset) in (3..23).enumerate() {
            Place { end: End::A, offset }.check(&whole[cut..]).unwrap();
        }
    }

    #[test]
    fn each_byte_that_changes_is_named() {
        let mut bytes = sent(End::B, 1005, 64);
        for (at, offset) in (1005..1069).enumerate() {
            let was = bytes[at];
            bytes[at] ^= 0x10;
            let wrong = Place { end: End::B, offset: 1005 }.check(&bytes).unwrap_err();
            let named = (wrong.offset, wrong.expected, wrong.found);
            assert_eq!(named, (offset, was, was ^ 0x10));
            bytes[at] = was;
        }
    }

    #[test]
    fn the_words_say_where_bytes_belong() {
        let place = Place { end: End::B, offset: 5000 };
        let said = |bytes: &[u8]| place.check(bytes).unwrap_err().to_string();
        let text = said(&sent(End::B, 3540, 100));
        assert!(text.starts_with("byte 5000 is 0x"), "{text}");
        assert!(text.ends_with("; what stands there belongs at byte 3540"), "{text}");
        let text = said(&sent(End::A, 77, 100));
        assert!(text.ends_with("; what stands there is what this end sends as its byte 77"));
        assert!(said(&[0; 100]).ends_with("; what stands there is no part of any stream"));
        let mut bytes = sent(End::B, 5000, 100);
        bytes[0] ^= 1;
        assert!(said(&bytes).ends_with("; what follows is right"));
        assert_eq!(place.check(&[!sent(End::B, 5000, 1)[0]]).unwrap_err().origin, None);
    }

    proptest! {
        /// Of whatever shift: a repeated piece, one that is missing, and one that was never copied.
        #[test]
        fn a_shift_is_found_at_its_first_byte_or_the_next(
            offset in 0..1_u64 << 38,
            by in 1..1_u64 << 38,
            good in 0_usize..100,
        ) {
            let mut bytes = sent(End::A, offset, good);
            bytes.extend(sent(End::A, offset + good as u64 + by, 64));
            let wrong = Place { end: End::A, offset }.check(&bytes).unwrap_err();
            // Where the first byte of both happens to be the same, the next ones differ.
            let late = wrong.offset - offset - good as u64;
            prop_assert!(late < 8, "{late}");
            prop_assert_eq!(wrong.origin, Some(Place { end: End::A, offset: wrong.offset + by }));
        }
    }
}

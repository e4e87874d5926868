//! The machine's addresses as the guest knows them: `# map KIND 0xFIRST 0xLAST WORD`, a line for each range.
//!
//! The kinds are the memory map (the word is what the range is), the devices' registers (the word is the device and the
//! register), and where the domain's own frames are, at its start, with its pool, and at its end (the word is how many of the
//! range's pages those are).

use alloc::{borrow::ToOwned, string::String};
use core::{fmt, str::FromStr};

use super::totals::{BadTotals, number};

/// Lines that there may be of one kind.
pub const MAP_LINES: usize = 64;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes of a word.
const LONGEST: usize = 32;

/// One range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// What is said of it.
    pub kind: MapKind,
    /// The first byte.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The word.
    pub word: String,
}

/// What a line of the map is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapKind {
    /// A range of the memory map.
    E820,
    /// A device's registers.
    Bar,
    /// The domain's frames before it traded any.
    Boot,
    /// With the pool, before the first suite.
    Pool,
    /// After the last one.
    End,
}

impl MapKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::E820, Self::Bar, Self::Boot, Self::Pool, Self::End];

    /// The word on the console.
    pub const fn word(self) -> &'static str {
        match self {
            Self::E820 => "e820",
            Self::Bar => "bar",
            Self::Boot => "frames-at-boot",
            Self::Pool => "frames-with-pool",
            Self::End => "frames-at-end",
        }
    }

    /// Whether it is about frames of the domain's.
    pub const fn is_of_frames(self) -> bool {
        matches!(self, Self::Boot | Self::Pool | Self::End)
    }
}

impl MapLine {
    /// How many of the range's pages are the domain's; 0 for what is not about frames.
    pub fn frames(&self) -> u64 {
        if self.kind.is_of_frames() { number(&self.word).unwrap_or(0) } else { 0 }
    }
}

impl fmt::Display for MapLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, first, last, word } = self;
        write!(f, "{} {first:#018x} {last:#018x} {word}", kind.word())
    }
}

impl FromStr for MapLine {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or(BadTotals);
        let (kind, first, last, word) = (next()?, next()?, next()?, next()?);
        let kind = MapKind::ALL.into_iter().find(|known| known.word() == kind).ok_or(BadTotals)?;
        let first = super::hex(first).ok_or(BadTotals)?;
        let last = super::hex(last).filter(|last| first <= *last).ok_or(BadTotals)?;
        let is_word =
            (1..=LONGEST).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic());
        // Frames are whole ones, and no more than there are.
        let pages = (last - first) / PAGE + 1;
        let counted = number(word).filter(|frames| (1..=pages).contains(frames));
        let whole = first % PAGE == 0 && last % PAGE == PAGE - 1;
        let fits = !kind.is_of_frames() || (whole && counted.is_some());
        if words.next().is_some() || !is_word || !fits {
            return Err(BadTotals);
        }
        Ok(Self { kind, first, last, word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_printed_is_what_is_read() {
        for (kind, word) in MapKind::ALL.into_iter().zip(["Ram", "0000:00:00.0/1", "16", "1", "3"])
        {
            let line = MapLine { kind, first: 0x1_0000, last: 0x1_ffff, word: word.into() };
            assert_eq!(line.to_string().parse(), Ok(line.clone()));
            assert_eq!(line.frames(), if kind.is_of_frames() { word.parse().unwrap() } else { 0 });
        }
    }

    #[test]
    fn what_is_no_range_kind_or_count_is_refused() {
        let good = "frames-at-boot 0x0000000000010000 0x000000000001ffff 16";
        assert!(good.parse::<MapLine>().is_ok());
        for (what, other) in [
            ("at-boot", "at-noon"),
            ("0x000000000001ffff", "0x000000000000ffff"),
            ("0x000000000001ffff", "0x000000000001fffe"),
            ("0x0000000000010000", "0x0000000000010001"),
            ("0x0000000000010000", "10000"),
            (" 16", " 17"),
            (" 16", " 0"),
            (" 16", " +1"),
            (" 16", ""),
            (" 16", " "),
            (" 16", " 16 16"),
        ] {
            assert_eq!(good.replace(what, other).parse::<MapLine>(), Err(BadTotals), "{other}");
        }
        assert!("bar 0x1 0x2 a\u{7}b".parse::<MapLine>().is_err());
        assert!("e820 0x0 0xffffffffffffffff Ram".parse::<MapLine>().is_ok());
    }
}

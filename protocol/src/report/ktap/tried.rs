//! What a device was had to read, and whether it got there: `# isolation device=0000:00:00.0 what=table page=0x1234000
//! answer=blocked`, a line each, once for a device and a kind of memory.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use super::totals::{BadTotals, fields};

/// Bytes of a page.
const PAGE: u64 = 4096;

/// One page that a device was tried on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Where the device is, as the guest sees it.
    pub device: String,
    /// What kind of page it was.
    pub what: Tested,
    /// The page's machine address.
    pub page: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What kind of memory a device was tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tested {
    /// The bounce pool, which it has to reach.
    Pool,
    /// A frame of the guest's own that was never mapped for it.
    Frame,
    /// A page table of the guest's.
    Table,
}

impl Tested {
    /// The word on the console.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Frame => "frame",
            Self::Table => "table",
        }
    }
}

/// Whether a device got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The very bytes came back.
    Reached,
    /// They did not.
    Blocked,
}

impl Answer {
    /// The word on the console.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Blocked => "blocked",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn turned(self) -> Self {
        match self {
            Self::Reached => Self::Blocked,
            Self::Blocked => Self::Reached,
        }
    }
}

impl Tried {
    /// The page's last byte.
    pub const fn last(&self) -> u64 {
        self.page | (PAGE - 1)
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, what, page, answer } = self;
        let (what, answer) = (what.word(), answer.word());
        write!(f, "device={device} what={what} page={page:#x} answer={answer}")
    }
}

impl FromStr for Tried {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let [device, what, page, answer] =
            fields(text, ["device", "what", "page", "answer"]).ok_or(BadTotals)?;
        let is_address = |c: u8| c.is_ascii_hexdigit() || matches!(c, b':' | b'.');
        if device.is_empty() || !device.bytes().all(is_address) {
            return Err(BadTotals);
        }
        let of_word = |known: &[Tested]| known.iter().copied().find(|known| known.word() == what);
        let answers = [Answer::Reached, Answer::Blocked];
        Ok(Self {
            device: device.to_owned(),
            what: of_word(&[Tested::Pool, Tested::Frame, Tested::Table]).ok_or(BadTotals)?,
            page: super::hex(page).filter(|page| page % PAGE == 0).ok_or(BadTotals)?,
            answer: answers.into_iter().find(|known| known.word() == answer).ok_or(BadTotals)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const LINE: &str = "device=0000:00:00.0 what=table page=0x1234000 answer=blocked";

    #[test]
    fn what_is_printed_is_what_is_read() {
        for (what, answer) in [
            (Tested::Pool, Answer::Reached),
            (Tested::Frame, Answer::Reached),
            (Tested::Table, Answer::Blocked),
        ] {
            let device = "0000:00:1f.7".to_owned();
            let tried = Tried { device, what, page: 0x7_ffff_f000, answer };
            assert_eq!(tried.to_string().parse(), Ok(tried.clone()));
            assert_eq!(tried.last(), 0x7_ffff_ffff);
        }
        assert_eq!(LINE.parse::<Tried>().unwrap().to_string(), LINE);
    }

    #[test]
    fn what_is_no_page_device_kind_or_answer_is_refused() {
        for (what, other) in [
            ("0x1234000", "0x1234001"),
            ("0x1234000", "1234000"),
            ("=table", "=tables"),
            ("=blocked", "=perhaps"),
            ("0000:00:00.0", ""),
            ("0000:00:00.0", "here"),
            (" answer=blocked", ""),
            ("blocked", "blocked more=1"),
        ] {
            assert_eq!(LINE.replace(what, other).parse::<Tried>(), Err(BadTotals), "{other}");
        }
        assert_eq!(Answer::Reached.turned(), Answer::Blocked);
        assert_eq!(Answer::Blocked.turned(), Answer::Reached);
    }
}

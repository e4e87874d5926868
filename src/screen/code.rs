//! A QR code (ISO/IEC 18004) of a verdict and its reason codes: version 3, in the letters that it packs tightest.

use super::board::Board;
use core::fmt::{self, Write};
use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version};

/// Modules in a line of the code.
pub const SIZE: usize = 29;
/// The most letters that it holds: capitals, digits, blanks and `$%*+-./:`.
pub const LETTERS: usize = 77;
const VERSION: Version = Version::new(3);

/// The dark modules of each line, the leftmost one in bit 0.
pub type Modules = [u32; SIZE];

/// The code of a text.
pub fn modules(text: &str) -> Option<Modules> {
    let mut workspace = [0; VERSION.buffer_len()];
    let mut out = [0; VERSION.buffer_len()];
    let code = QrCode::encode_text(
        text,
        &mut workspace,
        &mut out,
        QrCodeEcc::Low,
        VERSION,
        VERSION,
        None,
        true,
    );
    let code = code.ok()?;
    let mut lines = [0; SIZE];
    for (line, y) in lines.iter_mut().zip(0..) {
        let dark = (0..32).filter(|x| code.get_module(*x, y));
        *line = dark.fold(0, |bits, x| bits | 1 << x);
    }
    Some(lines)
}

/// What a code says, in so few letters that they fit.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    letters: [u8; LETTERS],
    len: usize,
}

impl Text {
    /// `PVBOUNCE 0.1.0 FAILURE 41/43 DMA-BYTE-MISMATCH +2`: how it ended, how many checks of all held, the codes of
    /// those that did not, and how many further ones there are.
    pub fn of(board: &Board) -> Self {
        let mut text = Self { letters: [0; LETTERS], len: 0 };
        let tally = board.tally();
        let (word, passed, total) = (board.word(), tally.passed, tally.total());
        let version = env!("CARGO_PKG_VERSION");
        // What is longer than a code holds is cut there.
        let _ = write!(text, "PVBOUNCE {version} {word} {passed}/{total}");
        let mut codes = board.codes();
        // Room for ` +99` while there are more.
        while let Some(code) = codes.next() {
            let rest = if codes.clone().next().is_some() { 4 } else { 0 };
            if text.len + 1 + code.len() + rest > LETTERS {
                let _ = write!(text, " +{}", (1 + codes.count()).min(99));
                break;
            }
            let _ = write!(text, " {code}");
        }
        text
    }

    /// As a string.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.letters[..self.len]).unwrap_or("")
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let slot = self.letters.get_mut(self.len).ok_or(fmt::Error)?;
            let byte = byte.to_ascii_uppercase();
            let known =
                byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" $%*+-./:".contains(&byte);
            *slot = if known { byte } else { b'*' };
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::board::tests::{board, fails},
        *,
    };
    use crate::report::Verdict;
    use alloc::{borrow::ToOwned, format, vec::Vec};

    #[test]
    fn it_says_how_it_ended_and_why() {
        let text = |codes: &[&'static str]| Text::of(&fails(codes)).as_str().to_owned();
        let start = concat!("PVBOUNCE ", env!("CARGO_PKG_VERSION"), " FAILURE 1/");
        assert_eq!(text(&["dma-overrun", "leak"]), format!("{start}4 DMA-OVERRUN LEAK"));
        assert_eq!(text(&["leak", "leak"]), format!("{start}4 LEAK"), "each code once");
        let success = Text::of(&board(Verdict::Success)).as_str().to_owned();
        assert!(success.ends_with(" SUCCESS 1/1"), "{success}");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let long = ["a-code-of-24-letters-abc", "b-code-of-24-letters-abc", "c", "d"];
        let text = Text::of(&fails(&long));
        assert!(text.as_str().ends_with(" A-CODE-OF-24-LETTERS-ABC +3"), "{}", text.as_str());
        for count in 1..long.len() {
            let text = Text::of(&fails(&long[..count]));
            assert!(modules(text.as_str()).is_some() && text.len <= LETTERS);
        }
    }

    #[test]
    fn a_code_that_fills_it_to_the_last_letter_is_whole_and_a_longer_one_is_counted() {
        const LONG: &str =
            "a-code-that-is-longer-than-any-that-there-is-and-than-all-that-fits-here";
        let room = |rest: usize| LETTERS - Text::of(&fails(&["x"])).len + 1 - rest;
        let text = |codes: &[&'static str]| Text::of(&fails(codes)).as_str().to_owned();
        let fits = &LONG[..room(0)];
        assert!(text(&[fits]).ends_with(&fits.to_uppercase()));
        assert_eq!(text(&[fits]).len(), LETTERS);
        assert!(text(&[&LONG[..room(0) + 1]]).ends_with(" +1"));
        // With another behind it there has to be room for how many there are.
        assert!(text(&[&LONG[..room(4)], "longer"]).ends_with(" +1"));
        assert!(text(&[&LONG[..room(4)], "longer"]).contains(" A-CODE"));
        assert!(!text(&[&LONG[..room(4) + 1], "longer"]).contains(" A-CODE"));
    }

    #[test]
    fn a_code_has_its_three_corners_and_no_more_than_fits() {
        let lines = modules("PVBOUNCE").unwrap();
        let corner =
            |x: usize, y: usize| (0..7).map(|i| lines[y + i] >> x & 0x7f).collect::<Vec<_>>();
        let finder = [0x7f, 0x41, 0x5d, 0x5d, 0x5d, 0x41, 0x7f];
        for (x, y) in [(0, 0), (22, 0), (0, 22)] {
            assert_eq!(corner(x, y), finder);
        }
        assert_ne!(corner(22, 22), finder);
        assert!(lines.iter().all(|line| line >> SIZE == 0));
        assert!(modules(&"A".repeat(LETTERS)).is_some());
        assert_eq!(modules(&"A".repeat(LETTERS + 1)), None);
    }
}

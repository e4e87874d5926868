//! Free text within a line: how it is written so that it can be nothing else, and how it is read back.
//!
//! ```text
//! written   read
//! \#        #      so ` # `, which parts a line, stands in each line once
//! \\        \
//! \SKIP …   SKIP … a note that starts with a verdict's word is still a note
//! ```
//!
//! Control characters and blanks of any kind become spaces, and those at either end go: one line of the report stays
//! one line, whatever a backend or a device put into it.

use alloc::string::String;
use core::fmt::{self, Write};
use core::mem;

use crate::report::verdict::{Reason, Verdict};

/// Shows a value as free text.
pub(super) struct OneLine<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Flat { out: f, started: false, spaces: 0 }, "{}", self.0)
    }
}

/// Shows the note of a pass.
pub(super) struct Note<'a>(pub(super) &'a str);

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.split(is_blank).find(|word| !word.is_empty());
        // In whatever case: other readers of TAP don't tell them apart.
        let is_word = |word: &str| Verdict::ALL.iter().any(|v| v.word().eq_ignore_ascii_case(word));
        if first.is_some_and(is_word) {
            f.write_char('\\')?;
        }
        write!(f, "{}", OneLine(self.0))
    }
}

/// Shows `code: detail`, or the code alone.
pub(super) struct Why<'a>(pub(super) &'a Reason);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)?;
        if is_empty(&self.0.detail) {
            return Ok(());
        }
        write!(f, ": {}", OneLine(&self.0.detail))
    }
}

/// Whether there is nothing in it to show.
pub(super) fn is_empty(text: &str) -> bool {
    text.chars().all(is_blank)
}

fn is_blank(c: char) -> bool {
    c.is_control() || c.is_whitespace()
}

struct Flat<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    started: bool,
    // Held back until something follows.
    spaces: usize,
}

impl Flat<'_, '_> {
    fn put(&mut self, text: &str) -> fmt::Result {
        self.started = true;
        (0..mem::take(&mut self.spaces)).try_for_each(|_| self.out.write_char(' '))?;
        self.out.write_str(text)
    }
}

impl Write for Flat<'_, '_> {
    // In as few pieces as can be: on the console each is a hypercall.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |c: char| is_blank(c) || matches!(c, '#' | '\\');
        for piece in text.split_inclusive(is_special) {
            let special = piece.chars().next_back().filter(|c| is_special(*c));
            let plain = piece.strip_suffix(is_special).unwrap_or(piece);
            if !plain.is_empty() {
                self.put(plain)?;
            }
            match special {
                Some('#') => self.put("\\#")?,
                Some('\\') => self.put("\\\\")?,
                Some(_) => self.spaces += usize::from(self.started),
                None => {}
            }
        }
        Ok(())
    }
}

/// Free text as it was before it was written.
pub(super) fn read(written: &str) -> String {
    let mut chars = written.chars();
    let next = || chars.next().map(|c| if c == '\\' { chars.next().unwrap_or(c) } else { c });
    core::iter::from_fn(next).collect()
}

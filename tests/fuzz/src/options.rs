//! The guest's command line.
//!
//! Asserts: any text is options or an error that names a word of it; what an error says fits on a console line; the
//! same words in a row mean the same with other blanks between them.

use crate::Input;
use pvbounce::options::{KNOWN, Options};

/// Words with known names and drawn values, or drawn altogether.
fn line(input: &Input) -> String {
    if input.once_in(4) {
        return input.text(300);
    }
    let mut words = Vec::new();
    for _ in 0..input.below(8) {
        let (name, values) = input.one_of(&KNOWN);
        words.push(match input.below(4) {
            0 => name.to_owned(),
            1 => format!("{name}={values}"),
            2 => format!("{name}={}", input.one_of(&["0", "1", "4096", "10.0.2.2:80,1", "late,1"])),
            _ => format!("{name}={}", input.text(24)),
        });
    }
    words.join(" ")
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let line = line(&input);
    let parsed = Options::parse(&line);
    let blanks: Vec<&str> = line.split_ascii_whitespace().collect();
    let again = blanks.join("  ");
    match &parsed {
        Ok(options) => assert_eq!(Options::parse(&again).as_ref(), Ok(options), "{line:?}"),
        Err(error) => assert!(!error.to_string().is_empty() && !error.code().is_empty()),
    }
}

//! Which mutant is the one that runs: put into each crate of a switched tree, as `mutant`.
#![allow(unsafe_code, dead_code, missing_docs, reason = "a scratch copy, compiled with its lints capped")]

use core::sync::atomic::{AtomicUsize, Ordering};

/// Not chosen yet.
const UNKNOWN: usize = usize::MAX;
static CHOSEN: AtomicUsize = AtomicUsize::new(UNKNOWN);

/// Whether mutant `number` runs; never in what is computed while compiling.
pub const fn is(number: usize) -> bool {
    const fn while_compiling(_: usize) -> bool {
        false
    }
    core::intrinsics::const_eval_select((number,), while_compiling, is_chosen)
}

fn is_chosen(number: usize) -> bool {
    let chosen = CHOSEN.load(Ordering::Relaxed);
    if chosen == UNKNOWN { from_outside() == number } else { chosen == number }
}

/// Takes the number out of the guest's command line: its last word, `mutant=N`.
pub fn choose(line: &str) -> &str {
    let (rest, number) = line.rsplit_once("mutant=").unwrap_or((line, ""));
    CHOSEN.store(number.parse().unwrap_or(UNKNOWN - 1), Ordering::Relaxed);
    rest.trim_end()
}

/// Before the guest has read its command line it runs no mutant.
#[cfg(target_os = "none")]
fn from_outside() -> usize {
    UNKNOWN - 1
}

/// A program of the host's has it in `MUTANT`.
#[cfg(not(target_os = "none"))]
fn from_outside() -> usize {
    unsafe extern "C" {
        fn getenv(name: *const core::ffi::c_char) -> *const core::ffi::c_char;
    }
    // SAFETY: the name ends in a NUL, and nobody sets variables in a test.
    let value = unsafe { getenv(c"MUTANT".as_ptr()) };
    let text = if value.is_null() {
        c""
    } else {
        // SAFETY: not null, so a text with a NUL behind it.
        unsafe { core::ffi::CStr::from_ptr(value) }
    };
    let number = text.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN - 1);
    CHOSEN.store(number, Ordering::Relaxed);
    number
}

//! Stage lines on the console: what was reached, and when.

use crate::{
    arch::time::{Clock, Instant},
    println,
    xen::shared_info::SharedInfo,
};
use core::fmt;

/// A clock that remembers when the guest started, for stage lines.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    clock: SharedInfo,
    start: Instant,
}

impl Stopwatch {
    /// Starts counting.
    pub fn new(clock: SharedInfo) -> Self {
        Self { clock, start: clock.now() }
    }

    /// Prints what was reached, and when.
    pub fn stage(&self, what: fmt::Arguments<'_>) {
        let since = self.clock.now().since(self.start);
        println!("[{:5}.{:03}] {what}", since.as_secs(), since.subsec_millis());
    }
}

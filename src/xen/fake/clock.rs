//! A clock that moves only when told.

use crate::arch::time::{Clock, Instant};
use core::{cell::Cell, time::Duration};

/// Starts at zero.
#[derive(Debug, Default)]
pub struct FakeClock(Cell<Instant>);

impl FakeClock {
    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        self.0.set(self.0.get().after(span));
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.0.get()
    }
}

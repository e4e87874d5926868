//! A clock that goes on by itself, so that every wait with a deadline ends in a test too.

use crate::arch::time::{Clock, Instant};
use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A clock that goes on a microsecond each time it is looked at.
#[derive(Debug, Default)]
pub struct TickingClock(AtomicU64);

impl TickingClock {
    /// Goes on to `then`, if that is not over already.
    pub fn advance_to(&self, then: Instant) {
        self.0.fetch_max(then.0, Ordering::Relaxed);
    }

    /// Goes on by `span`.
    pub fn advance(&self, span: Duration) {
        self.advance_to(Instant(self.0.load(Ordering::Relaxed)).after(span));
    }
}

impl Clock for TickingClock {
    fn now(&self) -> Instant {
        Instant(self.0.fetch_add(1000, Ordering::Relaxed))
    }
}

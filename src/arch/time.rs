//! Time as the guest counts it: nanoseconds since boot, and deadlines made of it.

use core::{fmt, time::Duration};

/// A moment: nanoseconds on the guest's monotonic clock (Xen's system time for a domU).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The moment `span` later; saturates, so that a huge timeout is "never", not "already".
    pub const fn after(self, span: Duration) -> Self {
        let nanos = span.as_nanos();
        if nanos > u64::MAX as u128 {
            return Self(u64::MAX);
        }
        #[expect(clippy::cast_possible_truncation, reason = "compared with u64::MAX just above")]
        Self(self.0.saturating_add(nanos as u64))
    }

    /// How long before `self` the moment `earlier` was; zero when it was not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A span in whole milliseconds. To print one of 64 bits takes the image 2 KiB less than one of 128.
pub const fn millis(span: Duration) -> u64 {
    micros(span) / 1000
}

/// The same in microseconds, up to the largest number.
pub const fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros() as u64)
}

/// A clock that never goes back.
pub trait Clock {
    /// The current moment.
    fn now(&self) -> Instant;
}

/// The time stamp counter, once all that comes before is done: without the fence the CPU may read it earlier.
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "an instruction without a safe wrapper")]
pub fn tsc() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: every x86-64 CPU has both instructions, and Xen lets PV guests read the counter.
    unsafe {
        core::arch::asm!("lfence", "rdtsc", out("rax") low, out("rdx") high, options(nostack));
    }
    high << 32 | low
}

/// What a wait with a deadline ran out of, for error messages: what it waited for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// What never came, in words that follow "waited 5 ms for".
    pub what: &'static str,
    /// How long the wait lasted.
    pub after: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {} ms for {}", millis(self.after), self.what)
    }
}

impl core::error::Error for TimedOut {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_cut_to_whole_units_and_have_an_end() {
        let span = Duration::new(3, 4_567_899);
        assert_eq!((millis(span), micros(span)), (3004, 3_004_567));
        assert_eq!(micros(Duration::MAX), u64::MAX);
    }

    #[test]
    fn deadlines_saturate_at_both_ends() {
        assert_eq!(Instant(5).after(Duration::MAX), Instant(u64::MAX));
        let longest = Duration::from_nanos(u64::MAX);
        assert_eq!(Instant(0).after(longest), Instant(u64::MAX));
        let one_more = longest + Duration::from_nanos(1);
        assert_eq!(Instant(0).after(one_more), Instant(u64::MAX), "never, not at once");
        assert_eq!(Instant(5).since(Instant(9)), Duration::ZERO);
        assert_eq!(Instant(9).since(Instant(5)), Duration::from_nanos(4));
    }
}

//! Waiting that ends: turns of looking and sleeping, with the clock read between any two.
//!
//! Whoever is waited for may keep a guest as busy as it likes: with events, frames, messages. What it must not
//! do is keep it for ever. So waits are not written as loops; they are turns, each with an end of its own (one
//! message, one batch of frames), and [`Deadline::turns`] is what goes round. What comes without an event, as most of
//! what a device does, is looked for by [`Deadline::until`] and [`Deadline::find`].

use super::time::{Clock, Instant, TimedOut};
use core::{fmt, hint, time::Duration};

/// Until when, and since when.
#[derive(Clone, Copy)]
pub struct Deadline<'c> {
    clock: &'c dyn Clock,
    start: Instant,
    end: Instant,
}

impl<'c> Deadline<'c> {
    /// Ends `limit` from now.
    pub fn new(clock: &'c dyn Clock, limit: Duration) -> Self {
        let start = clock.now();
        Self { clock, start, end: start.after(limit) }
    }

    /// Ends at `end`.
    pub fn at(clock: &'c dyn Clock, end: Instant) -> Self {
        Self { clock, start: clock.now(), end }
    }

    /// Whether it is over.
    pub fn passed(&self) -> bool {
        self.clock.now() >= self.end
    }

    /// How long is left.
    pub fn left(&self) -> Duration {
        self.end.since(self.clock.now())
    }

    /// That it ended before `what` came: for errors.
    pub fn timed_out(&self, what: &'static str) -> TimedOut {
        TimedOut { what, after: self.clock.now().since(self.start) }
    }

    /// Takes turns until one gives something or fails; `None` when the deadline passes first.
    ///
    /// A turn looks, and if there is nothing to do may sleep, at the longest until the moment it is given.
    /// One more turn is taken after the deadline, since what was waited for may have come in the last sleep.
    pub fn turns<T, E>(
        &self,
        mut turn: impl FnMut(Instant) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        loop {
            let last = self.passed();
            let result = turn(self.end)?;
            if result.is_some() || last {
                return Ok(result);
            }
        }
    }

    /// Looks again and again until `what` is there.
    pub fn until<E: From<TimedOut>>(
        &self,
        what: &'static str,
        mut there: impl FnMut() -> Result<bool, E>,
    ) -> Result<(), E> {
        self.find(what, || Ok(there()?.then_some(())))
    }

    /// Looks again and again until it finds `what`.
    pub fn find<T, E: From<TimedOut>>(
        &self,
        what: &'static str,
        mut look: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let found = self.turns(|_| {
            hint::spin_loop();
            look()
        })?;
        found.ok_or_else(|| self.timed_out(what).into())
    }

    /// Does nothing until it is over.
    pub fn sit_out(&self) {
        while !self.passed() {
            hint::spin_loop();
        }
    }
}

impl fmt::Debug for Deadline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("start", &self.start).field("end", &self.end).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xen::fake::FakeClock;
    use core::cell::Cell;

    #[test]
    fn turns_end_with_a_result_an_error_or_the_deadline() {
        let clock = FakeClock::default();
        let deadline = Deadline::new(&clock, Duration::from_secs(1));
        let turns = Cell::new(0);
        let turn = |until| {
            assert_eq!(until, Instant(1_000_000_000));
            turns.set(turns.get() + 1);
            clock.advance(Duration::from_millis(100));
            turns.get()
        };
        let work = |last: u32, answer: Result<Option<u32>, ()>| {
            turns.set(0);
            deadline.turns(|until| if turn(until) == last { answer } else { Ok(None) })
        };
        assert_eq!(work(3, Ok(Some(7))), Ok(Some(7)));
        assert_eq!(work(2, Err(())), Err(()));
        assert_eq!(work(99, Ok(Some(7))), Ok(None));
        assert_eq!(turns.get(), 6, "five until the end, and one after it");
        assert_eq!(work(1, Ok(Some(7))), Ok(Some(7)), "a look after the deadline counts");
        assert_eq!((deadline.left(), deadline.passed()), (Duration::ZERO, true));
        assert_eq!(deadline.timed_out("it").after, Duration::from_millis(1200));
    }

    #[test]
    fn what_came_while_nobody_looked_is_in_time_after_the_deadline() {
        const ABSENCE: Duration = Duration::from_secs(60);
        let clock = FakeClock::default();
        let wait = |came: bool| {
            let looks = Cell::new(0);
            let found = Deadline::new(&clock, Duration::from_secs(1)).until("it", || {
                looks.set(looks.get() + 1);
                clock.advance(ABSENCE);
                Ok::<_, TimedOut>(came && looks.get() == 2)
            });
            (found, looks.get())
        };
        assert_eq!(wait(true), (Ok(()), 2));
        assert_eq!(wait(false), (Err(TimedOut { what: "it", after: 2 * ABSENCE }), 2));
    }

    #[test]
    fn a_look_that_finds_or_fails_is_the_last() {
        let clock = FakeClock::default();
        let deadline = Deadline::new(&clock, Duration::from_secs(1));
        for answer in [Ok(Some(7)), Err(TimedOut { what: "else", after: Duration::ZERO })] {
            let mut answers = [Ok(None), answer].into_iter();
            let found = deadline.find("it", || answers.next().expect("it looked once more"));
            assert_eq!(found.map(Some), answer);
        }
    }

    #[test]
    fn a_time_sat_out_is_over() {
        /// A clock that each look moves on.
        struct Looked(Cell<u64>);
        impl Clock for Looked {
            fn now(&self) -> Instant {
                Instant(self.0.replace(self.0.get() + 1))
            }
        }
        let clock = Looked(Cell::new(0));
        Deadline::at(&clock, Instant(5)).sit_out();
        assert_eq!(clock.0.get(), 6, "the last look saw the end");
    }
}

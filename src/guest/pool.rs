//! The bounce pool's place in the guest's life: when it starts, for whom, and what happens when for nobody.
//!
//! ```text
//!            at boot            device found, or not                 suite swiotlb        close
//! early      start                                                                        stop
//! late                          start            0 bytes             start                stop
//! reserve    set pages aside    start in them    give pages back     start                stop, give back
//! off
//! ```

use super::Stopwatch;
use crate::{
    addr::{DmaMask, PAGE_SIZE},
    dma::{Plan, Pool, StartError, Started, Step, Stopped},
    mm::reserve::{Aside, Reserve},
    options::PoolStart,
    report::verdict::Reason,
};

/// The bounce pool and how its start went.
#[derive(Debug)]
pub struct PoolState {
    /// The pool.
    pub pool: &'static Pool<'static>,
    /// Where its memory comes from.
    pub reserve: &'static Reserve<'static>,
    /// What it is started with.
    pub plan: Plan,
    /// When.
    pub when: PoolStart,
    /// How that went; `None` before it was tried.
    pub started: Option<Result<Started, StartError>>,
    /// Slots the driver holds for as long as it runs: its receive ring.
    pub held: usize,
    /// What was set aside at boot.
    pub aside: Aside,
    /// What there was when it was clear that nobody needs a pool; `None` if somebody does.
    pub unneeded: Option<Unneeded>,
}

/// What a pool cost that nobody needs.
#[derive(Clone, Debug)]
pub struct Unneeded {
    /// Why nobody does.
    pub why: Reason,
    /// Bytes in the pool.
    pub bytes: usize,
    /// What was set aside and went back.
    pub returned: Aside,
}

impl PoolState {
    /// The pool, not started.
    pub const fn new(
        pool: &'static Pool<'static>,
        reserve: &'static Reserve<'static>,
        plan: Plan,
        when: PoolStart,
    ) -> Self {
        let aside = Aside { bytes: 0, runs: 0 };
        Self { pool, reserve, plan, when, started: None, held: 0, aside, unneeded: None }
    }

    /// What is to be done before there is a heap.
    pub fn at_boot(&mut self, clock: &Stopwatch) {
        match self.when {
            PoolStart::Early => self.start(clock),
            PoolStart::Reserve => match self.reserve.set_aside(self.plan.bytes) {
                Ok(aside) => {
                    self.aside = aside;
                    let Aside { bytes, runs } = aside;
                    clock.stage(format_args!("pool: {} KiB set aside, runs: {runs}", bytes >> 10));
                }
                Err(error) => clock.stage(format_args!("pool: nothing set aside: {error}")),
            },
            PoolStart::Late | PoolStart::Off => {}
        }
    }

    /// What is to be done when it is clear who needs a pool: a driver whose device has this reach, or nobody.
    pub fn at_device(&mut self, need: Result<DmaMask, Reason>, clock: &Stopwatch) {
        match need {
            Ok(mask) => {
                self.plan.mask = self.plan.mask.min(mask);
                self.unneeded = None;
                self.start_late(clock);
            }
            Err(why) => {
                let bytes = self.pool.stats().bytes;
                // What does not go back now is missing at the end, and reported there.
                let returned = self.reserve.give_back().unwrap_or_default();
                clock.stage(format_args!(
                    "pool: {} KiB, {} KiB given back: {}",
                    bytes >> 10,
                    returned.bytes >> 10,
                    why.detail
                ));
                self.unneeded = Some(Unneeded { why, bytes, returned });
            }
        }
    }

    /// Starts the pool unless that was tried already or must not be.
    pub fn start_late(&mut self, clock: &Stopwatch) {
        if self.when != PoolStart::Off && self.started.is_none() {
            self.start(clock);
        }
    }

    /// Pages of the guest that are in the pool or set aside for it.
    pub fn pages(&self) -> u64 {
        let in_pool = (self.pool.stats().bytes / PAGE_SIZE) as u64;
        in_pool.max(self.reserve.pages())
    }

    /// Gives everything back that no slot in use holds.
    pub fn stop(&self) -> (Stopped, Aside) {
        let stopped = self.pool.stop(&mut |_| {});
        (stopped, self.reserve.give_back().unwrap_or_default())
    }

    /// Starts the pool as planned, reporting each step that did not go straight.
    fn start(&mut self, clock: &Stopwatch) {
        let result = self.pool.start(&self.plan, &mut |step| {
            if !matches!(step, Step::Acquired { .. }) {
                clock.stage(format_args!("pool: {step}"));
            }
        });
        match &result {
            Ok(started) => clock.stage(format_args!("pool: {started}")),
            Err(error) => clock.stage(format_args!("pool: {error}")),
        }
        self.started = Some(result);
    }
}

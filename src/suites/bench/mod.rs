//! Suite `bench`: what a mapping, a slot and a pool cost here. Figures, not verdicts.
//!
//! Each figure is the best of several rounds: what disturbs a measurement only ever makes it longer. What
//! belongs in one comparison is measured in turns, so that a disturbance meets all of it. The tables go to
//! the console as [`FigureLine`](crate::report::ktap::FigureLine)s.

mod mapping;
mod pool;
mod race;
mod slots;

use super::check::{Suite, nothing, proof};

pub(super) const SUITE: Suite = Suite {
    name: "bench",
    missing: nothing,
    of_a_device: false,
    tidies: false,
    checks: &[
        proof("copies", mapping::copies),
        proof("mappings", mapping::mappings),
        proof("slots", slots::slots),
        proof("pool_comes_and_goes", pool::pool_comes_and_goes),
        proof("pages_come_and_go", pool::pages_come_and_go),
    ],
};

//! Measuring: the best of several rounds, in turns, and the lines that tell it.

use crate::{
    arch::time::Clock, println, report::ktap::FigureLine, suites::cost::Cost,
    xen::shared_info::SharedInfo,
};
use core::fmt::Display;

/// Rounds of which the best counts.
pub(super) const ROUNDS: usize = 21;
/// Nanoseconds that a round takes at least, so that reading the clock does not matter.
const ROUND: u64 = 400_000;

/// Something to measure: does its work so many times, in the round of that number.
pub(super) type Work<'a> = &'a mut dyn FnMut(u32, usize);

/// Prints a line of a table.
pub(super) fn line<T: Display>(table: &str, cells: &[T]) {
    println!("  {}", FigureLine { table, cells });
}

/// What each work costs, in nanoseconds: the best of several rounds, taken in turns.
pub(super) fn race<const N: usize>(clock: &SharedInfo, mut works: [Work<'_>; N]) -> [Cost; N] {
    let (mut counts, mut best) = ([1_u32; N], [Cost::MAX; N]);
    for round in 0..ROUNDS {
        for ((work, count), best) in works.iter_mut().zip(&mut counts).zip(&mut best) {
            let start = clock.now();
            work(*count, round);
            let mut took = clock.now().0 - start.0;
            while took < ROUND && *count < 1 << 20 {
                *count *= 2;
                let start = clock.now();
                work(*count, round);
                took = clock.now().0 - start.0;
            }
            *best = best.best(Cost { total: took, count: u64::from(*count) });
        }
    }
    best
}

//! Runs the suites that were asked for and writes the report.

use super::{
    boot,
    ktap::{DmaRange, RangeKind, Taken, Writer},
    memory, swiotlb,
    verdict::{Outcome, Reason, Verdict},
};
use crate::{guest::Guest, options::SelfTest, xen::console::Console};
use alloc::string::String;
use core::fmt;

/// What a check found: a note for the report, or why the claim does not hold.
pub(super) type Finding = Result<String, Outcome>;

/// A claim and the function that tries it.
pub(super) type Check = (&'static str, fn(&mut Guest) -> Finding);

/// A suite: checks that share a subject, and what they need to run at all.
pub(super) struct Suite {
    pub(super) name: &'static str,
    /// Why the suite can't run on this guest, if it can't.
    pub(super) missing: fn(&Guest) -> Option<Reason>,
    pub(super) checks: &'static [Check],
}

const SUITES: [&Suite; 3] = [&boot::SUITE, &memory::SUITE, &swiotlb::SUITE];

/// Nothing is missing: for suites that run everywhere.
pub(super) const fn nothing(_: &Guest) -> Option<Reason> {
    None
}

/// The machine is wrong.
pub(super) fn failure(code: &'static str, detail: impl Into<String>) -> Outcome {
    Outcome::Failure(Reason::new(code, detail))
}

/// The check can't run here.
pub(super) fn skip(code: &'static str, detail: impl Into<String>) -> Outcome {
    Outcome::Skip(Reason::new(code, detail))
}

/// Runs the suites, prints the report up to its last line, and returns the verdict.
pub fn run(guest: &mut Guest) -> Verdict {
    // Printing to the console never fails: what a sink can't take is dropped there.
    report(guest).unwrap_or(Verdict::Error)
}

fn report(guest: &mut Guest) -> Result<Verdict, fmt::Error> {
    let chosen = || SUITES.iter().filter(|suite| guest.options.suites.contains(suite.name));
    // The pool is counted as free: it goes back at the end.
    let free_before = guest.memory.free_pages() + guest.memory.table_pages() + guest.pool.frames();
    let mut writer = Writer::start(Console, chosen().count())?;
    let names: alloc::vec::Vec<_> = chosen().copied().collect();
    for suite in names {
        run_suite(guest, suite, &mut writer)?;
        misbehave(guest);
    }
    report_ranges(guest, &mut writer)?;
    let taken = settle(guest, free_before);
    writer.taken(&taken)?;
    let leaked = (!taken.is_nothing()).then_some(Verdict::Failure);
    writer.finish(leaked)
}

fn run_suite(guest: &mut Guest, suite: &Suite, writer: &mut Writer<Console>) -> fmt::Result {
    if let Some(reason) = (suite.missing)(guest) {
        writer.suite(suite.name, 0)?.skip(&reason)?;
        return Ok(());
    }
    let mut section = writer.suite(suite.name, suite.checks.len())?;
    for (name, check) in suite.checks {
        let outcome = match check(guest) {
            Ok(note) => Outcome::pass(note),
            Err(outcome) => outcome,
        };
        section.check(name, &outcome)?;
    }
    section.finish()?;
    Ok(())
}

/// Does what a self-test of the harness asks for, after the first suite.
fn misbehave(guest: &Guest) {
    match guest.options.selftest {
        Some(SelfTest::Panic) => panic!("selftest=panic asked for this"),
        Some(SelfTest::Hang) => loop {
            core::hint::spin_loop();
        },
        _ => {}
    }
}

fn report_ranges(guest: &Guest, writer: &mut Writer<Console>) -> fmt::Result {
    let mut result = Ok(());
    guest.pool.pool.for_each_segment(&mut |segment| {
        let first = segment.bus.0;
        let last = first + segment.len as u64 - 1;
        let printed = writer.dma_range(&DmaRange { first, last, kind: RangeKind::Pool });
        result = result.and(printed);
    });
    result
}

/// Gives everything back and counts what is missing.
fn settle(guest: &mut Guest, free_before: u64) -> Taken {
    let stopped = guest.pool.pool.stop(&mut |_| {});
    if guest.options.selftest == Some(SelfTest::Leak) {
        // The page is leaked on purpose: its mapping outlives this function.
        if let Ok(page) = crate::mm::pages::Pages::new(guest.memory, 1) {
            page.leak();
        }
    }
    let free = guest.memory.free_pages() + guest.memory.table_pages();
    Taken {
        frames: free_before.saturating_sub(free),
        grants: guest.grants.map_or(0, |grants| grants.taken().into()),
        ports: guest.events.open().into(),
        pirqs: 0,
        slots: stopped.slots_in_use as u64,
    }
}

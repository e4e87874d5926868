//! Runs the suites that were asked for and writes the report.

use super::{
    bench, boot, close, dma,
    guest::Guest,
    hog, irq,
    ktap::{DmaLimits, DmaRange, RangeKind, Writer},
    memory, net, pci, swiotlb,
    verdict::{Outcome, Reason, Verdict},
};
use crate::{
    addr::PAGE_SIZE_U64,
    nic::Via,
    options::SelfTest,
    xen::{
        console::Console,
        store::{Store, TxId},
    },
};
use alloc::{format, string::String, vec::Vec};
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
    /// Whether it only tidies up, so that its success proves nothing.
    pub(super) tidies: bool,
    pub(super) checks: &'static [Check],
}

const SUITES: [&Suite; 9] = [
    &boot::SUITE,
    &memory::SUITE,
    &swiotlb::SUITE,
    &pci::SUITE,
    &irq::SUITE,
    &dma::SUITE,
    &net::SUITE,
    &hog::SUITE,
    &bench::SUITE,
];

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
    let chosen: Vec<_> =
        SUITES.iter().filter(|suite| guest.options.suites.contains(suite.name)).collect();
    let mut writer = Writer::start(Console, chosen.len() + 1)?;
    let mut checks = Checks::default();
    for suite in chosen {
        run_suite(guest, suite, &mut writer, &mut checks)?;
        misbehave(guest);
    }
    report_ranges(guest, &mut writer)?;
    run_suite(guest, &close::SUITE, &mut writer, &mut checks)?;
    writer.taken(&close::taken(guest))?;
    if let Some(store) = guest.store {
        publish(store, writer.verdict(), checks);
    }
    writer.finish()
}

/// Checks that held, and all that ran.
#[derive(Clone, Copy, Debug, Default)]
struct Checks {
    passed: usize,
    total: usize,
}

/// Writes the verdict where dom0 can read it without the console. A store that refuses is no failure: the
/// console has it all.
fn publish(store: &dyn Store, verdict: Verdict, checks: Checks) {
    let text = format!("{}/{}", checks.passed, checks.total);
    let _ = store.write(TxId::NONE, "data/pvbounce/checks", &text);
    let _ = store.write(TxId::NONE, RESULT_PATH, verdict.word());
}

/// Where the verdict is in xenstore, relative to the domain.
pub const RESULT_PATH: &str = "data/pvbounce/result";

fn run_suite(
    guest: &mut Guest,
    suite: &Suite,
    writer: &mut Writer<Console>,
    checks: &mut Checks,
) -> fmt::Result {
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
    let tally = section.tally();
    checks.passed += tally.passed;
    checks.total += tally.total();
    if suite.tidies {
        section.finish_tidying()?;
    } else {
        section.finish()?;
    }
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

/// What a device may have touched: the pool's segments, and what the driver was given elsewhere.
fn report_ranges(guest: &Guest, writer: &mut Writer<Console>) -> fmt::Result {
    let mask = guest.pool.plan.mask.highest().0;
    writer.dma_limits(&DmaLimits { mask, memory: guest.info.nr_pages * PAGE_SIZE_U64 })?;
    let mut ranges = Vec::new();
    guest.pool.pool.for_each_segment(&mut |segment| {
        let first = segment.bus.0;
        let last = first + segment.len as u64 - 1;
        ranges.push(DmaRange { first, last, kind: RangeKind::Pool });
    });
    let given = guest.card.as_ref().map_or(&[][..], |card| card.nic.dma_ranges());
    let direct = given.iter().filter(|range| range.via == Via::Direct);
    ranges.extend(direct.map(|range| DmaRange {
        first: range.start.0,
        last: range.end.0 - 1,
        kind: RangeKind::Direct,
    }));
    ranges.iter().try_for_each(|range| writer.dma_range(range))
}

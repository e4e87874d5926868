//! What only the whole report shows: what it lacks, and what contradicts the rest of it.

use super::{
    Answer, CLOSE, DmaRange, ISOLATION_SUITE, MapKind, RangeKind, Report, Suite, Tested,
    defect::{Defect, Flaw},
};
use crate::report::verdict::{Tally, Verdict};
use alloc::vec::Vec;

/// The bytes of a slot of the bounce pool.
const SLOT: u128 = 2048;

/// What only the whole report shows.
pub(super) fn of_the_whole(report: &Report) -> Vec<Defect> {
    let mut found = Vec::new();
    let mut add = |flaw, text: &str| found.push(Defect::of_all(flaw, text));
    match report.planned {
        None => add(Flaw::Missing, "the report's plan"),
        Some(planned) if planned != report.suites.len() => add(Flaw::NotAsPlanned, "suites"),
        Some(_) => {}
    }
    report.suites.iter().for_each(|suite| of_suite(suite, &mut add));
    match report.result {
        None => add(Flaw::Missing, "the result"),
        Some(result) if !adds_up(report, result) => add(Flaw::Contradiction, "the result"),
        Some(_) => {}
    }
    if report.suites.iter().any(|suite| suite.name == CLOSE) {
        of_totals(report, &mut add);
    }
    of_ranges(report, &mut add);
    of_tries(report, &mut add);
    of_map(report, &mut add);
    match (&report.failed, report.sites) {
        (Some(_), None) => add(Flaw::Missing, "# sites"),
        (Some(failed), Some(sites)) if failed.site > sites.reached => {
            add(Flaw::Contradiction, "# sites");
        }
        _ => {}
    }
    found
}

fn of_suite(suite: &Suite, add: &mut impl FnMut(Flaw, &str)) {
    let name = &suite.name;
    if name.is_empty() {
        add(Flaw::Missing, "a suite's name");
    }
    match suite.planned {
        None => add(Flaw::Missing, &["the plan of suite ", name].concat()),
        Some(planned) if planned != suite.checks.len() => {
            add(Flaw::NotAsPlanned, &["checks of suite ", name].concat());
        }
        Some(_) => {}
    }
    match suite.verdict {
        None => add(Flaw::Missing, &["the result of suite ", name].concat()),
        // What passed proved nothing, and it says why.
        Some(Verdict::Skip) if suite.tally().verdict().is_ok() && !suite.reason.is_empty() => {}
        // An empty tally is a SKIP, and needs a reason.
        Some(said) if said != suite.tally().verdict() => {
            add(Flaw::Contradiction, &["the result of suite ", name].concat());
        }
        Some(_) if suite.checks.is_empty() && suite.reason.is_empty() => {
            add(Flaw::Missing, &["the reason of suite ", name].concat());
        }
        Some(_) => {}
    }
}

/// Whether the result is what the suites come to, by the rule that the writer follows.
fn adds_up(report: &Report, result: Verdict) -> bool {
    let counted = report.suites.iter().map(|suite| match suite.verdict {
        Some(verdict) if suite.name == CLOSE && verdict.is_ok() => Verdict::Skip,
        Some(verdict) => verdict,
        None => Verdict::Error,
    });
    match (counted.collect::<Tally>().verdict(), &report.not_shown) {
        (Verdict::Success, Some(_)) => result == Verdict::Skip,
        (_, Some(_)) => false,
        (verdict, None) => result == verdict,
    }
}

/// A run that got as far as suite `close` says what it did and what it kept.
fn of_totals(report: &Report, add: &mut impl FnMut(Flaw, &str)) {
    let said = [
        (report.transfers.is_some(), "# transfers"),
        (report.pool_walk.is_some(), "# pool-walk"),
        (report.dma_limits.is_some(), "# dma-limits"),
        (report.taken.is_some(), "# taken"),
    ];
    said.iter().filter(|(said, _)| !said).for_each(|(_, line)| add(Flaw::Missing, line));
    let transfers = report.transfers.unwrap_or_default();
    if transfers.compared > transfers.received
        || (transfers.compared == 0) != (transfers.bytes == 0)
    {
        add(Flaw::Contradiction, "# transfers");
    }
}

/// The ranges against the device's reach, the pool's size, the domain's memory and each other.
fn of_ranges(report: &Report, add: &mut impl FnMut(Flaw, &str)) {
    if report.ranges.is_empty() {
        return;
    }
    let Some(limits) = report.dma_limits else {
        return add(Flaw::Missing, "# dma-limits");
    };
    let total = |kind: Option<RangeKind>| -> u128 {
        let counted =
            report.ranges.iter().filter(|range| kind.is_none_or(|kind| kind == range.kind));
        counted.map(DmaRange::bytes).sum()
    };
    if report.ranges.iter().any(|range| range.last > limits.mask) {
        add(Flaw::BeyondMask, "a dma-range");
    }
    let mut sorted = report.ranges.clone();
    sorted.sort_unstable_by_key(|range| range.first);
    if sorted.iter().zip(sorted.iter().skip(1)).any(|(low, high)| high.first <= low.last) {
        add(Flaw::Overlap, "a dma-range");
    }
    let slots = report.pool_walk.map_or(0, |walk| walk.all_slots);
    if report.pool_walk.is_some() && total(Some(RangeKind::Pool)) > u128::from(slots) * SLOT {
        add(Flaw::TooMuch, "the pool's dma-range lines");
    }
    if total(None) > u128::from(limits.memory) {
        add(Flaw::TooMuch, "all dma-range lines together");
    }
}

/// The domain's frames, at each moment: in no two ranges, and no more than it has.
fn of_map(report: &Report, add: &mut impl FnMut(Flaw, &str)) {
    for kind in MapKind::ALL.into_iter().filter(|kind| kind.is_of_frames()) {
        let lines = || report.map.iter().filter(move |line| line.kind == kind);
        if lines().zip(lines().skip(1)).any(|(low, high)| high.first <= low.last) {
            add(Flaw::Overlap, "# map");
        }
        let bytes: u128 = lines().map(|line| u128::from(line.frames()) * 4096).sum();
        if report.dma_limits.is_some_and(|limits| bytes > u128::from(limits.memory)) {
            add(Flaw::TooMuch, "# map");
        }
    }
}

/// The pages that devices were tried on: three for a device at most, and not without a suite about it.
fn of_tries(report: &Report, add: &mut impl FnMut(Flaw, &str)) {
    const LINE: &str = "# isolation";
    let suites = report.suites.iter().filter(|suite| suite.kind() == ISOLATION_SUITE).count();
    if report.tried.len() > 3 * suites {
        add(Flaw::TooMuch, LINE);
    }
    let highest = report.dma_limits.map_or(u64::MAX, |limits| limits.mask);
    for (nth, tried) in report.tried.iter().enumerate() {
        let known = |what| {
            let mut before = report.tried[..nth].iter();
            before.any(|other| (&other.device, other.what) == (&tried.device, what))
        };
        if known(tried.what) {
            add(Flaw::Twice, LINE);
        }
        if tried.last() > highest {
            add(Flaw::BeyondMask, LINE);
        }
        // A device that does not reach the pool was tried on nothing else.
        let means_something = match tried.what {
            Tested::Pool => tried.answer == Answer::Reached,
            Tested::Frame | Tested::Table => known(Tested::Pool),
        };
        if !means_something {
            add(Flaw::Contradiction, LINE);
        }
    }
}

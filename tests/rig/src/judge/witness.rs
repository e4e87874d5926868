//! What others than the guest saw: QEMU each address that the device used, dom0 how much memory Xen has.

use protocol::report::ktap::{Check, PoolWalk, Report};
use protocol::report::verdict;

use super::{Facts, Finding, Problem, Verdict};
use crate::evidence::{Evidence, Trace};

/// Slots of the pool in a page of the trace.
const SLOTS_IN_PAGE: u64 = 2;

/// A disk that is not as it was: the guest has no command that writes to one.
pub(super) fn changed(facts: &Facts<'_>) -> Option<Finding> {
    let detail =
        format!("the disk's byte {:#x} is not as it was before the domain", facts.changed?);
    let remedy = "a bug in this guest, and a grave one: please report it";
    Some((Verdict::Failure, Problem::rig("medium-changed", detail, remedy)))
}

/// What dom0 found of the script for a real host: devices that were not given back, an exit code that is not the verdict's.
pub(super) fn by_dom0(what: &str) -> Finding {
    let remedy = "host/pvbounce.sh did not do what it has to: see dom0.log";
    (Verdict::Failure, Problem::rig("bundle-broken", what, remedy))
}

/// An address that the guest had not reported.
pub(super) fn outside(facts: &Facts<'_>) -> Option<Finding> {
    let evidence = facts.trace.evidence()?;
    let address = evidence.first_outside?;
    let detail = format!(
        "{} of {} addresses that the device used lie outside what the guest reported; the first: {address:#x}",
        evidence.outside, evidence.addresses
    );
    let remedy = "the device touched memory it was never given: see dma-trace.log";
    Some((Verdict::Failure, Problem::rig("dma-outside", detail, remedy)))
}

/// A page that a device is said to have read, and no translation of it.
pub(super) fn untrue(facts: &Facts<'_>) -> Option<Finding> {
    let address = facts.trace.evidence()?.not_reached?;
    let detail = format!(
        "the guest says that its device read the page at {address:#x}, but QEMU saw none do so"
    );
    let remedy = "what came back was not read there: see dma-trace.log, and the suite isolation";
    Some((Verdict::Failure, Problem::rig("isolation-untrue", detail, remedy)))
}

/// A page that a device is said to have been kept from, and no fault of it: then nobody knows why it brought nothing back.
pub(super) fn unwitnessed(facts: &Facts<'_>) -> Option<Finding> {
    let what = facts.unwitnessed?;
    let detail = format!("{what}: Xen's log has no fault of that device in that page");
    let remedy = "see that Xen logs warnings of guests' devices: guest_loglvl=all on its command line, iommu=verbose";
    Some((Verdict::Skip, Problem::rig("isolation-unwitnessed", detail, remedy)))
}

/// What Xen has less, or more, of after the domain than before.
pub(super) fn kept(facts: &Facts<'_>) -> Option<Finding> {
    let end = facts.end?;
    let differs = |pair: Option<(u64, u64)>| pair.filter(|(before, after)| before != after);
    if let Some(own) = differs(end.own_mib) {
        return ballooned(own, end.free_mib?);
    }
    let what = if let Some((before, after)) = differs(end.free_mib) {
        format!("Xen had {before} MiB free before the domain and {after} after it")
    } else {
        let (before, after) = differs(end.low_pages)?;
        format!("Xen had {before} pages free below 4 GiB before the domain and {after} after it")
    };
    Some(memory(what))
}

/// The same where dom0 gave the domain some of its own memory, and has not taken it back: the two together have to be as much.
/// How much of it is low is then nobody's to say.
fn ballooned(own: (u64, u64), free: (u64, u64)) -> Option<Finding> {
    let (before, after) = (own.0 + free.0, own.1 + free.1);
    // Each of the figures is cut to whole MiB.
    (before.abs_diff(after) > 2).then(|| {
        memory(format!(
            "Xen and dom0 together had {before} MiB before the domain and {after} after it"
        ))
    })
}

fn memory(what: String) -> Finding {
    let remedy = "see what dom0 or another domain did meanwhile; else Xen lost or kept memory: report it to them";
    (Verdict::Failure, Problem::rig("xen-memory", what, remedy))
}

/// DMA that the guest claims and the trace does not hold.
pub(super) fn unseen(facts: &Facts<'_>) -> Option<Finding> {
    let evidence = facts.trace.evidence()?;
    let detail = fewer(facts.report, evidence, facts.unwatched)?;
    let remedy = "the checks compared memory that no device wrote, or the guest counts what it did not do: see dma-trace.log";
    Some((Verdict::Failure, Problem::rig("dma-unseen", detail, remedy)))
}

fn fewer(report: &Report, evidence: &Evidence, unwatched: usize) -> Option<String> {
    let Evidence { addresses, devices, pool_pages, segments, .. } = *evidence;
    let passed = |check: &Check| check.verdict == verdict::Verdict::Success;
    let dma = report.suites.iter().filter(|suite| suite.kind() == "dma");
    let shown = dma.filter(|suite| suite.checks.iter().any(passed)).count();
    if devices + unwatched < shown {
        return Some(format!(
            "suite dma passed with {shown} devices, but QEMU saw {devices} of them use an address"
        ));
    }
    if unwatched > 0 {
        // The guest's counts are of all of them.
        return None;
    }
    let told = report.transfers.unwrap_or_default();
    let transfers = told.sent.saturating_add(told.received);
    if addresses < transfers {
        return Some(format!(
            "the guest reports {transfers} transfers, but QEMU saw the device use {addresses} addresses"
        ));
    }
    let PoolWalk { slots, segments: walked, .. } = report.pool_walk.unwrap_or_default();
    if segments < walked {
        return Some(format!(
            "the guest reports {walked} segments of its pool used, but QEMU saw the device in {segments}"
        ));
    }
    (pool_pages < slots.div_ceil(SLOTS_IN_PAGE)).then(|| {
        format!("the guest reports {slots} slots of its pool used, but QEMU saw the device in {pool_pages} pages")
    })
}

/// A witness that was to be there and is not: without it nothing is proven, but nothing is wrong either.
pub(super) fn absent(facts: &Facts<'_>) -> Option<Finding> {
    let end = facts.end?;
    let detail = match facts.trace {
        Trace::Missing(why) => format!("QEMU was to trace the device's addresses: {why}"),
        _ if facts.memory_is_due && (end.free_mib.is_none() || end.low_pages.is_none()) => {
            "dom0 did not say how much memory Xen had before and after the domain".to_owned()
        }
        _ => return None,
    };
    let remedy =
        "see qemu.log and dom0.log for why; --no-trace does without the trace, and says so";
    Some((Verdict::Skip, Problem::rig("evidence-absent", detail, remedy)))
}

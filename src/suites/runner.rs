//! Runs the suites that were asked for and writes the report.

use super::{
    bench, board, boot, check::Suite, close, dma, faults, hog, hotplug, irq, isolation, map,
    memory, net, pair, pci, suite, swiotlb,
};
use crate::{
    addr::PAGE_SIZE_U64,
    device::{Via, evidence::Ranges},
    guest::Guest,
    options::SuiteSet,
    report::{
        ktap::{DmaLimits, DmaRange, FailedSite, OF_DEVICE, PoolWalk, RangeKind, Sites, Writer},
        verdict::{Reason, Verdict},
    },
    screen,
    xen::{
        console::Console,
        failing::{self, Operation},
        store::{Store, TxId},
    },
};
use alloc::{format, string::String, vec::Vec};
use core::fmt;

const SUITES: [&Suite; 13] = [
    &boot::SUITE,
    &memory::SUITE,
    &swiotlb::SUITE,
    &board::SUITE,
    &pci::SUITE,
    &irq::SUITE,
    &dma::SUITE,
    &net::SUITE,
    &pair::SUITE,
    &isolation::SUITE,
    &hog::SUITE,
    &hotplug::SUITE,
    &bench::SUITE,
];

/// Runs the suites, prints the report up to its last line, and returns the verdict.
pub fn run(guest: &mut Guest) -> Verdict {
    // Printing to the console never fails: what a sink can't take is dropped there.
    report(guest).unwrap_or(Verdict::Error)
}

fn report(guest: &mut Guest) -> Result<Verdict, fmt::Error> {
    let chosen = chosen(guest);
    let mut writer = Writer::start(Console, chosen.len() + 1)?.watched(screen::told);
    map::at_start(guest, &mut writer)?;
    let (mut passed, mut total) = (0, 0);
    // What devices are to show, and suites that run only if somebody asks for them.
    let (mut shown, mut asked) = (suite::Shown::default(), suite::Shown::default());
    let mut struck = false;
    for (suite, device) in chosen {
        say_failed(&mut writer)?;
        failing::enter(suite.name);
        guest.under_test = device.unwrap_or(0);
        let ran = suite.run(&title(suite, device, guest), guest, &mut writer, answer_reports)?;
        passed += ran.tally.passed;
        total += ran.tally.total();
        match suite.name {
            name if name == dma::SUITE.name => {
                shown.add(nothing_shown(guest, &ran), guest.device_is_a_bonus());
            }
            name if !SuiteSet::SMOKE.contains(name) => asked.add(ran.skipped, guest.has_board()),
            _ => {}
        }
        if !struck {
            faults::strike(guest);
            struck = true;
        }
    }
    say_failed(&mut writer)?;
    failing::enter(close::SUITE.name);
    totals(guest, &mut writer)?;
    shown
        .lacking()
        .or_else(|| asked.lacking())
        .into_iter()
        .for_each(|reason| writer.not_shown(reason));
    report_ranges(guest, &mut writer)?;
    let closed = close::SUITE.run(close::SUITE.name, guest, &mut writer, answer_reports)?.tally;
    map::at_end(guest, &mut writer)?;
    writer.taken(&close::taken(guest))?;
    failing::enter("end");
    if let Some(store) = guest.store {
        let checks = format!("{}/{}", passed + closed.passed, total + closed.total());
        publish(store, writer.verdict(), &checks);
    }
    end(writer)
}

/// Answers a device's error report, if there is one: pciback waits, and in the end takes a silent guest for a dead one.
fn answer_reports(guest: &mut Guest) {
    if let Ok(connection) = &guest.connection {
        // Whether there were any is said at the end.
        let _ = connection.check_reports();
    }
}

/// Ends a report with what there is to say of operations that fail on purpose, and its last line.
pub fn end(mut writer: Writer<Console>) -> Result<Verdict, fmt::Error> {
    failing::foresee(Operation::Shutdown);
    say_failed(&mut writer)?;
    if let Some(reached) = failing::reached() {
        writer.sites(&Sites { reached: reached as u64 })?;
    }
    writer.finish()
}

/// Says which operation failed on purpose, once that has happened, and once only.
fn say_failed(writer: &mut Writer<Console>) -> fmt::Result {
    failing::news().map_or(Ok(()), |failed| writer.failed(&failed_site(&failed)))
}

fn failed_site(failed: &failing::Failed) -> FailedSite {
    let failing::Failed { site, operation, place, way } = *failed;
    FailedSite {
        site: site.into(),
        operation: operation.word().into(),
        place: place.into(),
        way: way.into_iter().take_while(|address| *address != 0).collect(),
    }
}

/// The suites that run, in order: those about a device once for each that the domain has.
fn chosen(guest: &Guest) -> Vec<(&'static Suite, Option<usize>)> {
    let devices = guest.assigned.len();
    let asked = SUITES.iter().filter(|suite| guest.options.suites.contains(suite.name));
    asked
        .flat_map(|suite| {
            let of_devices = if suite.of_a_device { devices } else { 0 };
            let once = (of_devices == 0).then_some((*suite, None));
            once.into_iter().chain((0..of_devices).map(|device| (*suite, Some(device))))
        })
        .collect()
}

/// A suite's name, with that of its device where there are several.
fn title(suite: &Suite, device: Option<usize>, guest: &Guest) -> String {
    match device.map(|device| guest.assigned[device].bdf) {
        Some(bdf) if guest.assigned.len() > 1 => format!("{}{OF_DEVICE}{bdf}", suite.name),
        _ => suite.name.into(),
    }
}

/// Why a device that was to show its DMA in suite `dma` did not, if it did not.
fn nothing_shown(guest: &Guest, ran: &suite::Ran) -> Option<Reason> {
    let compared = guest.device().map_or(0, |device| device.compared.transfers);
    suite::not_shown(guest.connection.is_ok(), ran, compared)
}

/// What went through the devices, and through how much of the pool.
fn totals(guest: &Guest, writer: &mut Writer<Console>) -> fmt::Result {
    let mut transfers = guest.departed.transfers;
    let mut walked = PoolWalk::default();
    for device in &guest.assigned {
        transfers += device.transfers();
        if device.walked.slots > walked.slots {
            walked = device.walked;
        }
    }
    writer.transfers(&transfers)?;
    // A pool that grew since the walk is as large as it is.
    let stats = guest.pool.pool.stats();
    writer.pool_walk(&PoolWalk {
        all_slots: walked.all_slots.max(stats.slots as u64),
        all_segments: walked.all_segments.max(stats.segments as u64),
        ..walked
    })
}

/// Writes the verdict where dom0 can read it without the console. A store that refuses is no failure: the
/// console has it all.
fn publish(store: &dyn Store, verdict: Verdict, checks: &str) {
    let _ = store.write(TxId::NONE, "data/pvbounce/checks", checks);
    let _ = store.write(TxId::NONE, RESULT_PATH, verdict.word());
}

/// Where the verdict is in xenstore, relative to the domain.
pub const RESULT_PATH: &str = "data/pvbounce/result";

/// What a device may have touched: the pool's segments, and what the driver was given elsewhere.
fn report_ranges(guest: &Guest, writer: &mut Writer<Console>) -> fmt::Result {
    let running = || guest.assigned.iter().filter_map(|device| device.running.as_ref().ok());
    let reach = running().map(|running| running.limits.mask).max().max(guest.departed.reach);
    let mask = reach.unwrap_or(guest.pool.plan.mask).highest().0;
    writer.dma_limits(&DmaLimits { mask, memory: guest.info.nr_pages * PAGE_SIZE_U64 })?;
    let mut ranges = Vec::new();
    guest.pool.pool.for_each_segment(&mut |segment| {
        let first = segment.bus.0;
        let last = first + segment.len as u64 - 1;
        ranges.push(DmaRange { first, last, kind: RangeKind::Pool });
    });
    // Two devices may have used the same page, one after the other.
    let mut direct = Ranges::default();
    guest.departed.direct.all().iter().for_each(|range| direct.join(*range));
    for running in running() {
        let given = running.driver().dma_ranges().iter();
        given.filter(|range| range.via == Via::Direct).for_each(|range| direct.join(*range));
    }
    ranges.extend(direct.all().iter().map(|range| DmaRange {
        first: range.start.0,
        last: range.end.0 - 1,
        kind: RangeKind::Direct,
    }));
    faults::hide(guest.options.selftest, &mut ranges);
    ranges.iter().try_for_each(|range| writer.dma_range(range))?;
    guest.tried.iter().try_for_each(|tried| writer.tried(tried))
}

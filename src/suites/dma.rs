//! Suite `dma`: bytes go out through the bounce pool, come back through it, and each is compared.
//!
//! What the device reads from memory it writes to memory: a network card is in loopback. Each byte therefore crosses
//! the device twice, and nothing on a wire can help or harm, but where a card has no loop inside and a mirror on its wire.

use super::{
    check::{Finding, Suite, attends, driven, failure, proof, skip},
    memory::xen_agrees,
    transfer::{round_trip, send_and_receive},
    walk::Walk,
};
use crate::{
    addr::{self, BusAddr, DmaMask, GIB_4, PAGE_SIZE},
    device::{Lengths, Traffic},
    dma::{Limits, OwnedSlice, PowerOfTwo, SegmentInfo, Why, run::SLOT_SIZE},
    guest::{Guest, blame::of_memory},
    mm::{
        contiguous::Order,
        pages::{LowPages, Pages},
    },
    options::Bouncing,
    report::Outcome,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub(super) const SUITE: Suite = Suite {
    name: "dma",
    missing: driven,
    of_a_device: true,
    tidies: false,
    checks: &[
        attends("device_reads_memory", device_reads_memory),
        proof("every_length_comes_back", every_length_comes_back),
        proof("awkward_offsets_come_back", awkward_offsets_come_back),
        proof("straddling_buffers_come_back", straddling_buffers_come_back),
        proof("low_buffers_go_direct", low_buffers_go_direct),
        proof("source_is_high_and_dma_address_in_reach", source_is_high_and_dma_address_in_reach),
        proof("pool_serves_everywhere", pool_serves_everywhere),
        attends("guard_bytes_hold", guard_bytes_hold),
        attends("nothing_was_dropped", nothing_was_dropped),
    ],
};

/// Slots that a walk through the pool goes to: each one of a pool of 16 MiB.
const MOST_SLOTS: usize = 8192;

/// How many lengths are tried: each of a network card's.
const MOST_LENGTHS: usize = 2048;
/// A length that fits into one slot and over the end of a page: a card's longest frame.
const USUAL: usize = 1514;
/// The same for a run at an odd place in a page.
const ODD: usize = 777;

/// Readies the device for transfers, and says how long they may be.
fn ready(guest: &mut Guest) -> Result<Lengths, Outcome> {
    let mover = guest.device_mut()?.running()?.mover();
    mover.prepare()?;
    Ok(mover.lengths())
}

/// Whether bytes cross the device, or only come from it.
fn device_reads_memory(guest: &mut Guest) -> Finding {
    let one_way = guest.device_mut()?.running()?.mover().one_way();
    one_way.map_or_else(|| Ok(String::new()), |reason| Err(Outcome::Skip(reason)))
}

/// How many of `wanted` transfers a walk makes: not more than the device's series, nor than the command line says.
fn most(guest: &mut Guest, wanted: usize) -> Result<usize, Outcome> {
    let series = guest.device_mut()?.running()?.mover().series();
    let told = guest.options.transfers.unwrap_or(usize::MAX);
    Ok(wanted.min(series).min(told))
}

fn every_length_comes_back(guest: &mut Guest) -> Finding {
    let lengths = ready(guest)?;
    let count = addr::pages(lengths.max) as u64;
    let mut pages = OwnedSlice::from(high_pages(guest, count)?);
    let (mut transfers, mut bounced) = (0, 0);
    for len in lengths.up_to(most(guest, MOST_LENGTHS)?) {
        let record;
        (record, pages) = round_trip(guest, pages, 0..len, None, send_and_receive)?;
        transfers += 1;
        bounced += usize::from(record.bounced.is_some());
    }
    let Lengths { min, max, .. } = lengths;
    Ok(format!("{transfers} transfers, {bounced} bounced, lengths {min} to {max}"))
}

fn awkward_offsets_come_back(guest: &mut Guest) -> Finding {
    let len = ready(guest)?.near(ODD);
    let mut page = OwnedSlice::from(high_pages(guest, 1)?);
    let mut transfers = 0;
    for offset in (1..64).chain([2047, 2048, 2049, PAGE_SIZE - len]) {
        (_, page) = round_trip(guest, page, offset..offset + len, None, send_and_receive)?;
        transfers += 1;
    }
    Ok(format!("{transfers} transfers"))
}

fn straddling_buffers_come_back(guest: &mut Guest) -> Finding {
    let len = ready(guest)?.near(USUAL);
    let pages = Pages::scattered(guest.memory, 2).map_err(of_memory)?;
    let (mut pages, mut transfers) = (OwnedSlice::from(pages), 0);
    for before in (1..len).step_by(97) {
        let start = PAGE_SIZE - before;
        let record;
        (record, pages) = round_trip(guest, pages, start..start + len, None, send_and_receive)?;
        if record.bounced.is_none() {
            let detail =
                format!("{before} bytes before the page's end went direct to {}", record.dma);
            return Err(failure("dma-not-bounced", detail));
        }
        transfers += 1;
    }
    Ok(format!("{transfers} transfers over frames that are no neighbours"))
}

/// What the device can reach it uses in place, also over two pages that are machine neighbours.
fn low_buffers_go_direct(guest: &mut Guest) -> Finding {
    let len = ready(guest)?.near(USUAL);
    if guest.options.bouncing == Bouncing::Forced {
        return Err(skip("dma-force-asked-for", "the command line says force: everything bounces"));
    }
    let order = Order::holding(2 * PAGE_SIZE).unwrap_or(Order::ZERO);
    let pages =
        LowPages::new(guest.memory, order, guest.pool.plan.mask).map_err(super::memory::refused)?;
    let (mut pages, mut transfers) = (OwnedSlice::from(pages), 0);
    // From multiples of 16, or of what the device asks for; a place that it can't read from would have to bounce.
    let alignment = guest.device_mut()?.running()?.limits.alignment.bytes().max(16);
    for before in (alignment..len).step_by(6 * alignment) {
        let start = PAGE_SIZE - before;
        let record;
        (record, pages) = round_trip(guest, pages, start..start + len, None, send_and_receive)?;
        let in_place =
            record.source.is_some_and(|place| place.bus == record.dma && xen_agrees(guest, place));
        if record.bounced.is_some() || !in_place {
            let detail = format!("{:?} -> {}: {:?}", record.source, record.dma, record.bounced);
            return Err(failure("dma-bounced", detail));
        }
        transfers += 1;
    }
    Ok(format!("{transfers} transfers used where they lay"))
}

fn source_is_high_and_dma_address_in_reach(guest: &mut Guest) -> Finding {
    let len = ready(guest)?.near(USUAL);
    let page = OwnedSlice::from(high_pages(guest, 1)?);
    let (record, _) = round_trip(guest, page, 0..len, None, send_and_receive)?;
    let reach = guest.device_mut()?.running()?.limits.mask;
    let high = record.source.is_some_and(|place| place.bus.0 >= GIB_4 && xen_agrees(guest, place));
    let low = reach.covers(record.dma, record.len);
    // The driver was told the policy: what is forced says so.
    let as_told =
        (record.bounced == Some(Why::Forced)) == (guest.options.bouncing == Bouncing::Forced);
    let source = record.source.map_or_else(|| "nowhere".into(), |place| place.bus.to_string());
    let why = record.bounced.map_or_else(|| "not bounced".into(), |why| why.to_string());
    let note = format!("{source} -> {}, within a {reach}: {why}", record.dma);
    if high && low && as_told { Ok(note) } else { Err(failure("dma-wrong-side", note)) }
}

/// The device reads from all over the pool: from each slot, or from some, evenly spread, where there are many.
fn pool_serves_everywhere(guest: &mut Guest) -> Finding {
    let len = ready(guest)?.near(USUAL);
    let pool = guest.pool.pool;
    if !pool.is_started() {
        return Err(skip("swiotlb-not-started", "there is no pool to walk through"));
    }
    let (pages, start) = bouncing_pages(guest, len)?;
    let keeps = guest.device_mut()?.running()?.limits.keep_offset.bytes() >= PAGE_SIZE;
    let mut pages = OwnedSlice::from(pages);
    let mut segments = Vec::new();
    pool.for_each_segment(&mut |segment| segments.push(segment));
    let mut walk = Walk::new(&segments, most(guest, MOST_SLOTS)?);
    for slot in segments.iter().flat_map(SegmentInfo::slots) {
        if !walk.wants(slot) {
            continue;
        }
        let start = match start {
            Start::Slot(behind) => slot.page_offset() + behind,
            Start::At(start) => start,
        };
        let record;
        // A run that keeps the place in the page starts with the page's first slot.
        let run = if keeps { slot.0 - slot.page_offset() as u64 } else { slot.0 };
        (record, pages) =
            round_trip(guest, pages, start..start + len, Some(BusAddr(run)), send_and_receive)?;
        walk.went(slot, record.dma);
    }
    let held = guest.pool.held;
    let seen = walk.seen();
    guest.device_mut()?.walked = seen;
    let run = if keeps { PAGE_SIZE / SLOT_SIZE } else { 1 };
    if !walk.is_explained(held, run) {
        let detail = format!("{} slots missed, {held} are taken", walk.missed());
        return Err(failure("dma-wrong-slot", detail));
    }
    Ok(format!("{seen}; drivers hold {held} more for good"))
}

fn guard_bytes_hold(guest: &mut Guest) -> Finding {
    guest.device_mut()?.running()?.driver().check_guards()?;
    Ok(String::new())
}

fn nothing_was_dropped(guest: &mut Guest) -> Finding {
    let running = guest.device_mut()?.running()?;
    let traffic = running.driver().traffic();
    if traffic.lost != 0 {
        return Err(failure("dma-dropped", format!("{traffic:?}")));
    }
    let Traffic { sent, sent_bounced, received, .. } = traffic;
    let interrupts = match running.interrupt.bound() {
        Ok(_) => format!("{} interrupts", running.interrupt.count),
        Err(reason) => format!("polled: {}", reason.code),
    };
    Ok(format!("{sent} out, {sent_bounced} of them bounced; {received} in; {interrupts}"))
}

/// Where in its pages a run of bytes has to start, so that it bounces through a slot from the slot's first byte on.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// So many bytes behind the slot's own place in its page: some devices need the place in the page kept.
    Slot(usize),
    /// At this byte.
    At(usize),
}

/// Pages from which `len` bytes have to bounce, and where in them these have to start. Where the device reaches all, it
/// is an odd place that bounces them if the device can't read from there, else two frames that are no neighbours.
pub(super) fn bouncing_pages(
    guest: &mut Guest,
    len: usize,
) -> Result<(Pages<'static>, Start), Outcome> {
    if guest.options.bouncing == Bouncing::Forced {
        return Ok((Pages::new(guest.memory, 1).map_err(of_memory)?, Start::Slot(0)));
    }
    let running = guest.device_mut()?.running()?;
    let Limits { mask: reach, alignment, .. } = running.limits;
    if reach != DmaMask::BITS_64 {
        return Ok((high_pages(guest, 1)?, Start::Slot(0)));
    }
    if alignment > PowerOfTwo::ONE {
        return Ok((Pages::new(guest.memory, 1).map_err(of_memory)?, Start::Slot(1)));
    }
    let pages = Pages::scattered(guest.memory, 2).map_err(of_memory)?;
    Ok((pages, Start::At(PAGE_SIZE - len / 2)))
}

/// Pages beyond 4 GiB, where a 32-bit device can't reach: the allocator is asked until one comes.
fn high_pages(guest: &Guest, count: u64) -> Result<Pages<'static>, Outcome> {
    const TRIES: usize = 512;
    let mut low = Vec::new();
    for _ in 0..TRIES {
        let pages = Pages::new(guest.memory, count).map_err(of_memory)?;
        match pages.mfn() {
            Some(mfn) if mfn.addr().0 >= GIB_4 => return Ok(pages),
            _ => low.push(pages),
        }
    }
    let detail = format!("{TRIES} pages all lie below 4 GiB: nothing has to bounce");
    Err(skip("memory-all-low", detail))
}

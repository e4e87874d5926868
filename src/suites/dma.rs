//! Suite `dma`: frames go out through the bounce pool, come back through it, and each byte is compared.
//!
//! The card is in loopback: what it reads from memory it writes to memory. Each frame therefore crosses
//! the device twice, and nothing on the wire can help or harm.

use super::{
    blame::of_memory,
    guest::Guest,
    memory::xen_agrees,
    pattern::{differs, fill},
    runner::{Finding, Suite, attends, failure, proof, skip},
    transfer::{MISMATCH_REMEDY, Trip, nic_failure, send_and_receive, with_bus_state},
    verdict::Outcome,
    walk::Walk,
};
use crate::{
    addr::{GIB_4, PAGE_SIZE, to_usize},
    arch::time::Clock,
    dma::{OwnedSlice, Policy, SegmentInfo, Why},
    mm::{
        contiguous::Order,
        pages::{LowPages, Pages},
    },
    nic::{FRAME_MAX, FRAME_MIN, TxRecord},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub(super) const SUITE: Suite = Suite {
    name: "dma",
    missing: |guest| match &guest.card {
        Ok(_) => None,
        Err(outcome) => Some(outcome.reason()),
    },
    tidies: false,
    checks: &[
        proof("every_length_comes_back", every_length_comes_back),
        proof("awkward_offsets_come_back", awkward_offsets_come_back),
        proof("straddling_frames_come_back", straddling_frames_come_back),
        proof("low_frames_go_direct", low_frames_go_direct),
        proof("source_is_high_and_dma_address_low", source_is_high_and_dma_address_low),
        proof("pool_serves_everywhere", pool_serves_everywhere),
        attends("guard_bytes_hold", guard_bytes_hold),
        attends("nothing_was_dropped", nothing_was_dropped),
    ],
};

/// Slots that a walk through the pool goes to, about: each one of a pool of 16 MiB.
const MOST_SLOTS: usize = 8192;

/// Sends and compares one frame; returns how it went out, and its memory.
fn round_trip(guest: &mut Guest, frame: OwnedSlice) -> Result<(TxRecord, OwnedSlice), Outcome> {
    let now = guest.shared.now();
    let card = guest.card.as_mut().map_err(|outcome| outcome.as_skip())?;
    let deadline = now.after(card.patience());
    let trip = send_and_receive(card, frame, deadline).map_err(|e| with_bus_state(guest, e))?;
    let Trip { record, sent: frame, back } = trip;
    match differs(&back, &frame) {
        None => {
            guest.compared.frames += 1;
            guest.compared.bytes += frame.len() as u64;
            Ok((record, frame))
        }
        Some(at) => {
            let (sent, got) = (frame.get(at), back.get(at));
            let detail = format!(
                "length {}, byte {at}: sent {sent:02x?}, got {got:02x?}; source {:?}, DMA {}",
                frame.len(),
                record.source,
                record.dma
            );
            let mismatch = nic_failure("dma-byte-mismatch", detail, MISMATCH_REMEDY);
            Err(with_bus_state(guest, mismatch))
        }
    }
}

fn every_length_comes_back(guest: &mut Guest) -> Finding {
    loopback(guest)?;
    let mut page = OwnedSlice::from(high_pages(guest, 1)?);
    let mut bounced = 0;
    for len in FRAME_MIN..=FRAME_MAX {
        fill(page.select(0..len), len);
        let (record, back) = round_trip(guest, page)?;
        bounced += usize::from(record.bounced.is_some());
        page = back;
    }
    let frames = FRAME_MAX - FRAME_MIN + 1;
    Ok(format!("{frames} frames, {bounced} bounced, lengths {FRAME_MIN} to {FRAME_MAX}"))
}

fn awkward_offsets_come_back(guest: &mut Guest) -> Finding {
    loopback(guest)?;
    let mut page = OwnedSlice::from(high_pages(guest, 1)?);
    let mut frames = 0;
    for offset in (1..64).chain([2047, 2048, 2049, PAGE_SIZE - 777]) {
        fill(page.select(offset..offset + 777), offset);
        (_, page) = round_trip(guest, page)?;
        frames += 1;
    }
    Ok(format!("{frames} frames"))
}

fn straddling_frames_come_back(guest: &mut Guest) -> Finding {
    loopback(guest)?;
    let pages = Pages::scattered(guest.memory, 2).map_err(of_memory)?;
    let (mut pages, mut frames) = (OwnedSlice::from(pages), 0);
    for before in (1..FRAME_MAX).step_by(97) {
        fill(pages.select(PAGE_SIZE - before..PAGE_SIZE - before + FRAME_MAX), before);
        let record;
        (record, pages) = round_trip(guest, pages)?;
        if record.bounced.is_none() {
            let detail =
                format!("{before} bytes before the page's end went direct to {}", record.dma);
            return Err(failure("dma-not-bounced", detail));
        }
        frames += 1;
    }
    Ok(format!("{frames} frames over frames that are no neighbours"))
}

/// What the card can reach it uses in place, also over two pages that are machine neighbours.
fn low_frames_go_direct(guest: &mut Guest) -> Finding {
    loopback(guest)?;
    if guest.options.bouncing == Policy::Force {
        return Err(skip("dma-force-asked-for", "the command line says force: everything bounces"));
    }
    let order = Order::holding(2 * PAGE_SIZE).unwrap_or(Order::ZERO);
    let pages =
        LowPages::new(guest.memory, order, guest.pool.plan.mask).map_err(super::memory::refused)?;
    let (mut pages, mut frames) = (OwnedSlice::from(pages), 0);
    // The RTL8139 reads from multiples of four only; anything else would have to bounce.
    for before in (4..FRAME_MAX).step_by(96) {
        fill(pages.select(PAGE_SIZE - before..PAGE_SIZE - before + FRAME_MAX), before);
        let record;
        (record, pages) = round_trip(guest, pages)?;
        let in_place =
            record.source.is_some_and(|place| place.bus == record.dma && xen_agrees(guest, place));
        if record.bounced.is_some() || !in_place {
            let detail = format!("{:?} -> {}: {:?}", record.source, record.dma, record.bounced);
            return Err(failure("dma-bounced", detail));
        }
        frames += 1;
    }
    Ok(format!("{frames} frames used where they lay"))
}

fn source_is_high_and_dma_address_low(guest: &mut Guest) -> Finding {
    loopback(guest)?;
    let mut page = OwnedSlice::from(high_pages(guest, 1)?);
    page.select(0..FRAME_MAX);
    let (record, _) = round_trip(guest, page)?;
    let mask = guest.pool.plan.mask;
    let high = record.source.is_some_and(|place| place.bus.0 >= GIB_4 && xen_agrees(guest, place));
    let low = mask.covers(record.dma, record.len);
    // The driver was told the policy: what is forced says so.
    let as_told =
        (record.bounced == Some(Why::Forced)) == (guest.options.bouncing == Policy::Force);
    let source = record.source.map_or_else(|| "nowhere".into(), |place| place.bus.to_string());
    let why = record.bounced.map_or_else(|| "not bounced".into(), |why| why.to_string());
    let note = format!("{source} -> {}, within a {mask}: {why}", record.dma);
    if high && low && as_told { Ok(note) } else { Err(failure("dma-wrong-side", note)) }
}

/// The card sends from all over the pool: from each slot, or from every n-th where there are many.
fn pool_serves_everywhere(guest: &mut Guest) -> Finding {
    loopback(guest)?;
    let pool = guest.pool.pool;
    if !pool.is_started() {
        return Err(skip("swiotlb-not-started", "there is no pool to walk through"));
    }
    let mut page = OwnedSlice::from(bouncing_page(guest)?);
    let mut segments = Vec::new();
    pool.for_each_segment(&mut |segment| segments.push(segment));
    let mut walk = Walk::new(&segments, MOST_SLOTS);
    for slot in segments.iter().flat_map(SegmentInfo::slots) {
        if !walk.wants(slot) {
            continue;
        }
        pool.aim(slot);
        fill(page.select(0..FRAME_MAX), to_usize(guest.compared.frames));
        let record;
        (record, page) = round_trip(guest, page)?;
        walk.went(slot, record.dma);
    }
    guest.walked = walk.seen();
    // The receive ring is one mapping for as long as the driver runs: its slots are taken.
    let ring = guest.pool.held;
    if walk.missed() > ring {
        let detail = format!("{} slots missed, {ring} are taken", walk.missed());
        return Err(failure("dma-wrong-slot", detail));
    }
    Ok(format!("{}; the receive ring, of {ring} more, stays where it is", guest.walked))
}

fn guard_bytes_hold(guest: &mut Guest) -> Finding {
    let card = guest.card.as_ref().map_err(|outcome| outcome.as_skip())?;
    card.nic.check_guards().map_err(|e| nic_failure(e.code(), e.to_string(), e.remedy()))?;
    Ok(String::new())
}

fn nothing_was_dropped(guest: &mut Guest) -> Finding {
    let card = guest.card.as_ref().map_err(|outcome| outcome.as_skip())?;
    let counters = card.nic.counters();
    if counters.rx_missed != 0 || counters.tx_dropped != 0 {
        return Err(failure("dma-dropped", format!("{counters:?}")));
    }
    Ok(format!(
        "{} out, {} of them bounced; {} in; {} interrupts",
        counters.tx_frames, counters.tx_bounced, counters.rx_frames, card.interrupt.count
    ))
}

fn loopback(guest: &mut Guest) -> Result<(), Outcome> {
    guest.card.as_mut().map_err(|outcome| outcome.as_skip())?.loopback(true)
}

/// A page from which frames have to bounce: for want of reach, unless everything bounces.
fn bouncing_page(guest: &Guest) -> Result<Pages<'static>, Outcome> {
    match guest.options.bouncing {
        Policy::Force => Pages::new(guest.memory, 1).map_err(of_memory),
        _ => high_pages(guest, 1),
    }
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

//! Which frames the guest has, by its own table and by Xen's, and what comes of trading them.

use crate::suites::check::{Finding, all_hold, failure, skip};
use crate::{
    addr::{DmaMask, GIB_4, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn},
    guest::{Guest, blame::of_memory},
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order, Region},
        memory::Arrived,
        p2m::PfnRange,
        pages::Pages,
        translate::Place,
    },
    report::{Outcome, Reason},
};
use alloc::{
    format,
    string::{String, ToString},
};
use core::iter::successors;

pub(super) fn memory_map(guest: &mut Guest) -> Finding {
    let map = guest.map.as_ref().map_err(|error| failure("memory-map", error.to_string()))?;
    let ram = map.ram_bytes() / PAGE_SIZE as u64;
    let hole = if map.has_own_hole() { "; flat, the hole is ours" } else { "" };
    let note = format!("{} ranges, {ram} pages of RAM{hole}", map.entries().len());
    if ram == 0 {
        return Err(failure("memory-map", note));
    }
    Ok(note)
}

pub(in crate::suites) fn p2m_and_m2p_agree(guest: &mut Guest) -> Finding {
    let p2m = guest.memory.p2m();
    let (all, told) = (Pfn(p2m.len()), guest.memory.m2p_synced());
    let frames = p2m.frames(PfnRange::between(Pfn(0), all)).count() as u64;
    if frames != guest.info.nr_pages {
        let detail = format!("{frames} entries for {} pages", guest.info.nr_pages);
        return Err(failure("memory-p2m", detail));
    }
    match p2m.first_disagreement(PfnRange::between(Pfn(0), all.min(told)), guest.memory.xen()) {
        None if told < all => Ok(format!("{frames} frames; names from {told} on are not told yet")),
        None => Ok(format!("{frames} frames")),
        Some(odd) => Err(disagreement(odd)),
    }
}

fn disagreement((pfn, mfn, back): (Pfn, Mfn, Option<Pfn>)) -> Outcome {
    failure("memory-p2m", format!("{pfn} -> {mfn} -> {back:?}"))
}

/// Whether Xen's table has the name that the guest has for a place. The P2M, of which DMA addresses are made, is not
/// asked: it would only be compared with itself.
pub(in crate::suites) fn xen_agrees(guest: &Guest, place: Place) -> bool {
    let name = Pfn(place.phys.0 >> PAGE_SHIFT);
    guest.memory.xen().m2p(place.bus.frame()) == Some(name)
}

pub(super) fn pages_come_zeroed(guest: &mut Guest) -> Finding {
    for round in 0..2 {
        let mut pages = take(guest, 16)?;
        if pages.len() != 16 * PAGE_SIZE {
            let detail = format!("16 pages of {} bytes", pages.len());
            return Err(failure("memory-not-zeroed", detail));
        }
        if let Some(at) = pages.iter().position(|byte| *byte != 0) {
            let detail = format!("round {round}: byte {at:#x} is {:#04x}", pages[at]);
            return Err(failure("memory-not-zeroed", detail));
        }
        pages.fill(0xa5);
    }
    Ok(String::new())
}

pub(super) fn heap_gives_and_takes(_: &mut Guest) -> Finding {
    let before = crate::mm::heap::used();
    let block = alloc::vec![0x5au8; 100_000];
    let during = crate::mm::heap::used();
    if block.iter().any(|byte| *byte != 0x5a) {
        return Err(failure("memory-heap", "a block lost what was written to it"));
    }
    drop(block);
    let after = crate::mm::heap::used();
    let parts = [("taken", during >= before + 100_000), ("given back", after == before)];
    let measured = || format!("used {before}, then {during}, then {after} bytes");
    all_hold("memory-heap", &parts, measured)?;
    Ok(format!("{before} bytes in use"))
}

pub(super) fn guest_lies_above_4_gib(guest: &mut Guest) -> Finding {
    let p2m = guest.memory.p2m();
    let all = PfnRange::between(Pfn(0), Pfn(p2m.len()));
    let high = p2m.frames(all).filter(|(_, mfn)| mfn.addr().0 >= GIB_4).count();
    let note = format!("{high} of {} frames", guest.info.nr_pages);
    if high == 0 {
        let why = format!("{note}: nothing has to bounce; give the host more than 4 GiB");
        return Err(skip("memory-all-low", why));
    }
    Ok(note)
}

pub(super) fn scattered_pages_have_no_neighbours(guest: &mut Guest) -> Finding {
    let pages = Pages::scattered(guest.memory, 8).map_err(of_memory)?;
    let run = PfnRange { start: pages.pfn(), count: 8 };
    let p2m = guest.memory.p2m();
    let mut last = None;
    let neighbours = p2m.frames(run).any(|(_, mfn)| {
        let next = last.replace(mfn).and_then(|last: Mfn| last.checked_add(1));
        next == Some(mfn)
    });
    if neighbours {
        return Err(failure("memory-scatter", format!("{run:?} still has machine neighbours")));
    }
    match p2m.first_disagreement(run, guest.memory.xen()) {
        None => Ok(String::new()),
        Some(odd) => Err(disagreement(odd)),
    }
}

pub(super) fn exchange_64_kib(guest: &mut Guest) -> Finding {
    exchange(guest, 4, 32)
}

pub(super) fn exchange_2_mib(guest: &mut Guest) -> Finding {
    exchange(guest, 9, 32)
}

pub(super) fn exchange_16_mib(guest: &mut Guest) -> Finding {
    exchange(guest, 12, 32)
}

pub(super) fn exchange_below_16_mib(guest: &mut Guest) -> Finding {
    exchange(guest, 0, 24)
}

/// Trades for `2^order` frames below `2^bits`, checks where they lie, and gives them back.
fn exchange(guest: &Guest, order: u8, bits: u32) -> Finding {
    let (Some(order), Some(mask)) = (Order::new(order), DmaMask::from_bits(bits)) else {
        return Err(skip("memory-exchange", "no such order or width"));
    };
    let region = guest.memory.acquire(order, mask).map_err(refused)?;
    let bus = region.bus();
    let placed = check_region(guest, &region, mask);
    guest.memory.release(region).map_err(|error| failure("memory-release", error.to_string()))?;
    placed.map(|()| format!("{order} at {bus}"))
}

/// A refusal is the machine's answer, not a fault: the order is above the caller's limit, or none is left.
pub(in crate::suites) fn refused(error: AcquireError) -> Outcome {
    match error {
        AcquireError::Refused { .. } | AcquireError::NoFreePages { .. } => {
            skip("memory-refused", error.to_string())
        }
        AcquireError::Misplaced { .. }
        | AcquireError::Lost { .. }
        | AcquireError::Mapping(_)
        | AcquireError::StillMapped(_) => failure("memory-exchange", error.to_string()),
    }
}

fn check_region(guest: &Guest, region: &Region, mask: DmaMask) -> Result<(), Outcome> {
    if !mask.covers(region.bus(), region.len()) {
        let detail = format!("{} bytes at {} are beyond a {mask}", region.len(), region.bus());
        return Err(failure("memory-exchange", detail));
    }
    let run = PfnRange { start: region.pfn(), count: region.order().pages() as u64 };
    let p2m = guest.memory.p2m();
    let strays =
        (0..).zip(run.iter()).find(|(i, pfn)| p2m.get(*pfn) != region.mfn().checked_add(*i));
    if let Some((i, pfn)) = strays {
        let detail = format!("page {i}: {pfn} is {:?}, not the next frame", p2m.get(pfn));
        return Err(failure("memory-not-contiguous", detail));
    }
    match p2m.first_disagreement(run, guest.memory.xen()) {
        None => Ok(()),
        Some(odd) => Err(disagreement(odd)),
    }
}

pub(super) fn exchanged_frames_come_zeroed(guest: &mut Guest) -> Finding {
    let Some(order) = Order::new(4) else {
        return Err(skip("memory-exchange", "no such order"));
    };
    for round in 0..2 {
        let region = guest.memory.acquire(order, DmaMask::BITS_32).map_err(refused)?;
        let window = region.window();
        if window.len() != order.bytes() {
            let detail = format!("{order} of {} bytes", window.len());
            return Err(failure("memory-not-contiguous", detail));
        }
        let dirty = (0..window.len()).step_by(8).find(|offset| window.read_u64(*offset) != 0);
        (0..window.len()).step_by(8).for_each(|offset| window.write_u64(offset, u64::MAX));
        guest
            .memory
            .release(region)
            .map_err(|error| failure("memory-release", error.to_string()))?;
        if let Some(offset) = dirty {
            let detail = format!("round {round}: bytes at {offset:#x} are not zero");
            return Err(failure("memory-not-zeroed", detail));
        }
    }
    Ok(String::new())
}

/// How many frames come to be looked at beside those of the checks before, as an order: 4 MiB.
const MANY: Option<Order> = Order::new(10);

/// What we gave back was wiped, so what is in a frame that comes is another's. None of it is kept or shown.
pub(super) fn frames_come_without_others_bytes(guest: &mut Guest) -> Finding {
    let mut acquired = Err(skip("memory-exchange", "no such order"));
    for order in successors(MANY, |order| order.smaller()) {
        acquired = guest.memory.acquire(order, DmaMask::BITS_32).map_err(refused);
        // Less may be had where Xen refuses. What is no refusal is told.
        if !matches!(acquired, Err(Outcome::Skip(_))) {
            break;
        }
    }
    let region = acquired?;
    let released = guest.memory.release(region);
    released.map_err(|error| failure("memory-release", error.to_string()))?;
    match guest.memory.arrived() {
        Arrived { frames, soiled: 0 } => Ok(format!("{frames} frames, all empty")),
        Arrived { frames, soiled } => {
            let detail = format!("{soiled} of {frames} frames held what another left in them");
            let remedy = "what firmware left Xen clears with `bootscrub=1`, and what a domain gave back while it ran with \
                          `scrub-domheap`, on its command line";
            Err(Outcome::Skip(Reason::new("memory-not-scrubbed", detail).remedy(remedy)))
        }
    }
}

pub(super) fn take(guest: &Guest, pages: u64) -> Result<Pages<'static>, Outcome> {
    Pages::new(guest.memory, pages).map_err(of_memory)
}

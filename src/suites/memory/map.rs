//! The memory map against the pages in use and the device's registers.

use super::frames;
use crate::{
    addr::{PAGE_SHIFT, Pfn},
    guest::Guest,
    mm::p2m::PfnRange,
    pci::place,
    report::verdict::{Outcome, Reason},
    suites::check::{Finding, failure, skip},
};
use alloc::{format, string::ToString, vec::Vec};

/// No page is handed out whose name the map gives to something else than RAM.
pub(super) fn free_pages_are_ram(guest: &mut Guest) -> Finding {
    let map = guest.map.as_ref().map_err(|error| skip("memory-map", error.to_string()))?;
    let mut astray = None;
    guest.memory.each_free(&mut |run| astray = astray.or_else(|| map.first_gap(run)));
    if let Some(run) = astray {
        return Err(failure("memory-reserved-page", format!("{run:?} is no RAM by the map")));
    }
    Ok(format!("{} pages", guest.memory.free_pages()))
}

/// No frame, free or not, has a name that the map gives to something else than RAM.
///
/// Xen's table learns all names here, those of free frames too, which had not been worth the time at boot.
pub(super) fn hole_below_4_gib(guest: &mut Guest) -> Finding {
    let map = guest.map.as_ref().map_err(|error| skip("memory-map", error.to_string()))?;
    let (memory, hole) = (guest.memory, &guest.hole);
    let p2m = memory.p2m();
    let names = PfnRange::between(Pfn(0), Pfn(p2m.len()));
    let wrong = match map.gaps_in(names).find_map(|gap| p2m.frames(gap).next()) {
        Some((pfn, mfn)) => Some(format!("{pfn} is {mfn}, and no RAM by the map: {hole}")),
        None => memory.sync_m2p().err().map(|error| error.to_string()),
    };
    if let Some(detail) = wrong {
        let remedy = "less memory=, if the map has no names for more; else please report it";
        return Err(Outcome::Failure(Reason::new("memory-hole", detail).remedy(remedy)));
    }
    match hole.moved {
        0 => Err(skip("memory-no-hole", "nothing had to move")),
        moved => Ok(format!("{hole}: {} MiB", moved >> (20 - PAGE_SHIFT))),
    }
}

/// Pages that moved are as good as others: all that are not are set aside meanwhile.
pub(super) fn moved_pages_serve(guest: &mut Guest) -> Finding {
    let (memory, hole) = (guest.memory, guest.hole);
    if hole.moved == 0 {
        return Err(skip("memory-no-hole", "nothing had to move"));
    }
    let mut others = Vec::new();
    memory.each_free(&mut |run| {
        if run.start < hole.to {
            others.push(PfnRange::between(run.start, run.end().min(hole.to)));
        }
    });
    let withheld: Vec<_> = others.into_iter().map_while(|run| memory.withhold(run)).collect();
    let served = serve(guest);
    drop(withheld);
    served
}

fn serve(guest: &mut Guest) -> Finding {
    let first = frames::take(guest, 1)?.pfn();
    if first < guest.hole.to {
        return Err(failure("memory-hole", format!("{first} is free, and did not move")));
    }
    frames::pages_come_zeroed(guest)?;
    frames::scattered_pages_have_no_neighbours(guest)?;
    frames::exchange_64_kib(guest)?;
    frames::exchange_2_mib(guest)
}

/// No register of the device lies where the map has RAM, nor where another of its registers lies.
pub(super) fn bars_are_apart(guest: &mut Guest) -> Finding {
    if guest.host().is_ok() && guest.front().is_err() {
        return Err(skip("memory-board", "as dom0 its names are no machine's: suite board looks"));
    }
    let resources = guest.device()?.resources.as_ref().map_err(Outcome::as_skip)?;
    let map = guest.map.as_ref().map_err(|error| skip("memory-map", error.to_string()))?;
    let ranges: Vec<_> = place::sized(resources).collect();
    if let Some((_, objection)) = place::objections(&ranges, &[], map).first() {
        let remedy = "add `e820_host=1` to the xl config and create the domain anew: the guest's RAM \
                      then leaves the host's holes free";
        let reason = Reason::new("memory-bar-conflict", objection.to_string()).remedy(remedy);
        return Err(Outcome::Failure(reason));
    }
    match ranges.len() {
        0 => Err(skip("pci-no-bar", "the device has no memory BAR")),
        count => Ok(format!("{count} of memory, none under RAM")),
    }
}

//! Suite `isolation`: what a device can reach that was not given to it.
//!
//! Harmless by construction: the device only reads, and only pages of the guest's own, which are held for it meanwhile
//! ([`Probe`]). A page of the pool has to come back byte for byte, else no other answer means anything. A frame that was
//! never mapped for the device is reached even behind an IOMMU: Xen maps all of a PV domain's writable memory there, so
//! what the IOMMU parts are domains, not a domain's buffers from the rest of its memory. A page table of the guest's Xen
//! takes out of the IOMMU's tables: a device that reaches it is behind none, and reaches Xen and other domains as well.

use super::{
    check::{Finding, Suite, attends, driven, failure, proof, skip},
    dma::{Start, bouncing_pages},
    reach::{self, FRAME, Seen},
    transfer::{Trip, send_and_poll},
};
use crate::{
    acpi::Tables,
    addr::{BusAddr, PAGE_SIZE, PAGE_SIZE_U64, to_usize},
    arch::time::Clock,
    device::{DmaRange, Sent, pattern::differs},
    dma::{OwnedSlice, Probe, Source},
    guest::{Guest, Running},
    mm::{
        contiguous::{AcquireError, Order},
        memory::Memory,
        pages::{LowPages, TablePage},
        translate::Translate,
    },
    options::SelfTest,
    pci::{Command, Function},
    report::{
        Outcome, Reason,
        ktap::{Answer, ISOLATION_SUITE, Tested, Tried},
    },
    xen::{
        command_line,
        hypercall::{self, Pte},
    },
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::ops::{Deref, Range};

pub(super) const SUITE: Suite = Suite {
    name: ISOLATION_SUITE,
    missing: driven,
    of_a_device: true,
    tidies: false,
    checks: &[
        attends("pool_is_reached", pool_is_reached),
        proof("frame_never_mapped_is_tried", frame_never_mapped_is_tried),
        proof("page_table_is_out_of_reach", page_table_is_out_of_reach),
        attends("device_works_afterwards", device_works_afterwards),
    ],
};

/// Bytes to read, if the device reads any number: each address that an IOMMU refuses may count, and Xen turns a device
/// off that has too many refused (`PT_FAULT_THRESHOLD` of ten).
const FEW: usize = 16;
/// How many frames are looked at for one that was never mapped for a device.
const TRIES: usize = 16;
/// Transfers until a device works again that was refused an address: the first may still end in what that left.
const RECOVERIES: usize = 3;

/// The positive control: bytes like those that are tried, from the pool.
fn pool_is_reached(guest: &mut Guest) -> Finding {
    let mover = guest.device_mut()?.running()?.mover();
    if let Some(reason) = mover.one_way() {
        return Err(Outcome::Skip(reason));
    }
    mover.prepare()?;
    let sent = from_pool(guest)?;
    note(guest, Tested::Pool, sent.dma, Answer::Reached)?;
    Ok(format!("{} bytes at {} came back", sent.len, sent.dma))
}

/// A frame of the guest's that no driver was ever given.
fn frame_never_mapped_is_tried(guest: &mut Guest) -> Finding {
    stands_on_the_pool(guest)?;
    let mask = guest.device_mut()?.running()?.limits.mask;
    let mut page = page_of_nobody(guest, |memory| LowPages::new(memory, Order::ZERO, mask))?;
    let range = fill(guest, &mut page)?;
    let (bus, seen) = tried(guest, Tested::Frame, Probe::from(page).select(range))?;
    Ok(match seen {
        Seen::Reached => {
            format!("reached at {bus}: a device reaches all that its domain may write")
        }
        Seen::Blocked(why) => format!("blocked at {bus}: {why}"),
    })
}

/// A frame that is a page table, which no device may reach.
fn page_table_is_out_of_reach(guest: &mut Guest) -> Finding {
    stands_on_the_pool(guest)?;
    let running = guest.device_mut()?.running()?;
    if let Some(reason) = running.mover().only_filled() {
        return Err(Outcome::Skip(reason));
    }
    let (mask, range) = (running.limits.mask, chosen(running));
    let seed = guest.shared.now().0;
    let table =
        page_of_nobody(guest, |memory| TablePage::new(memory, mask, |nth| reach::word(seed, nth)))?;
    let (bus, seen) = tried(guest, Tested::Table, Probe::from(table).select(range))?;
    match seen {
        Seen::Blocked(why) => Ok(format!("blocked at {bus}, so there is an IOMMU: {why}")),
        Seen::Reached if guest.info.is_dom0 => Err(reached_as_dom0(guest, bus)),
        Seen::Reached => {
            let detail = format!("{bus} was read: nothing keeps this device from memory of others");
            Err(failure("isolation-none", detail))
        }
    }
}

/// Xen's default has all of the machine's RAM mapped for dom0's devices, so that a device reaches it is wrong only where Xen
/// was told otherwise.
fn reached_as_dom0(guest: &Guest, bus: BusAddr) -> Outcome {
    const STRICT: &str = "dom0-iommu=strict";
    let detail = format!("{bus} was read: nothing keeps this device from any memory");
    let (detail, remedy) = match guest.firmware.as_ref().ok().and_then(Tables::iommus) {
        None => (
            format!("{detail}; firmware names no IOMMU (DMAR, IVRS)"),
            "look for an IOMMU in firmware's setup",
        ),
        Some(name) => (
            format!("{detail}; firmware names IOMMUs ({name})"),
            "Xen's default lets dom0's devices reach all RAM: `dom0-iommu=strict` on its command line",
        ),
    };
    match hypercall::command_line() {
        Ok(line) if command_line::keeps_devices_in(&line) => {
            let detail = format!("{detail}, and Xen was told {STRICT}");
            let remedy = "no IOMMU is before this device: see Xen's log for those it has; another slot, or update firmware";
            Outcome::Failure(Reason::new("isolation-none", detail).remedy(remedy))
        }
        _ => Outcome::Skip(Reason::new("isolation-none", detail).remedy(remedy)),
    }
}

/// After what was refused the device is brought back, and what follows finds it as it was.
fn device_works_afterwards(guest: &mut Guest) -> Finding {
    stands_on_the_pool(guest)?;
    let turned_off = master_again(guest)?;
    let mut last = None;
    for nth in 0..RECOVERIES {
        match from_pool(guest) {
            Ok(_) => return Ok(recovered(nth, turned_off)),
            Err(outcome) => last = Some(outcome),
        }
    }
    let why = last.map_or_else(String::new, |outcome| outcome.reason().to_string());
    Err(failure("isolation-not-back", why))
}

fn recovered(errors: usize, turned_off: bool) -> String {
    let master = match turned_off {
        true => "Xen had turned its bus mastering off",
        false => "its bus mastering stayed on",
    };
    format!("{master}; {errors} transfers failed before it did again")
}

/// Turns bus mastering on again if it is off; whether it was.
fn master_again(guest: &Guest) -> Result<bool, Outcome> {
    let (host, bdf) = (guest.host()?, guest.device()?.bdf);
    let gone = || failure("pci-gone", format!("nothing answers at {bdf}"));
    let function = Function::probe(host, bdf)?.ok_or_else(gone)?;
    let off = !function.command()?.contains(Command::MASTER);
    if off {
        function.enable(Command::MASTER)?;
    }
    Ok(off)
}

/// Has the device bring bytes back that lie in the pool.
fn from_pool(guest: &mut Guest) -> Result<Sent, Outcome> {
    let range = chosen(guest.device_mut()?.running()?);
    let (mut pages, start) = bouncing_pages(guest, range.len())?;
    let start = match start {
        Start::Slot(behind) => behind,
        Start::At(start) => start,
    };
    let end = start + range.len();
    let content = content(guest, range)?;
    pages[start..end].copy_from_slice(&content);
    let mut bytes = OwnedSlice::from(pages);
    bytes.select(start..end);
    let now = guest.shared.now();
    let running = guest.device_mut()?.running()?;
    let deadline = now.after(running.mover().patience());
    let came = send_and_poll(running, Source::from(bytes), deadline);
    running.acknowledge();
    running.interrupt.take();
    let Trip { record, sent, back } = came.map_err(unreached)?;
    match (differs(&back, &sent), record.bounced) {
        (None, Some(_)) => Ok(record),
        (None, None) => {
            Err(failure("isolation-control", format!("{} is not the pool's", record.dma)))
        }
        (Some(at), _) => {
            let (sent, got) = (sent.get(at), back.get(at));
            let detail = format!("byte {at} of {}: sent {sent:02x?}, got {got:02x?}", record.dma);
            Err(failure("isolation-control", detail))
        }
    }
}

/// What a device did not bring back from the pool is this suite's to tell; why it can't be asked is as it was.
fn unreached(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failure(reason) => failure("isolation-control", reason.to_string()),
        other => other,
    }
}

/// Which bytes of a page are read: few, from where a card's frame may start.
fn chosen(running: &mut Running<'_>) -> Range<usize> {
    let start = if running.is_card() { FRAME } else { 0 };
    start..start + running.mover().lengths().near(FEW).min(PAGE_SIZE - start)
}

/// What bytes in that range of a page are to be: what the device was made to read if it reads nothing else, else words
/// as a page table has them.
fn content(guest: &mut Guest, range: Range<usize>) -> Result<Vec<u8>, Outcome> {
    let seed = guest.shared.now().0;
    let mover = guest.device_mut()?.running()?.mover();
    if mover.only_filled().is_some() {
        let mut bytes = alloc::vec![0; range.len()];
        mover.fill(&mut bytes, to_usize(seed))?;
        return Ok(bytes);
    }
    let words = (0..range.end.div_ceil(8)).map(|nth| Pte::absent(reach::word(seed, nth)).0);
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    Ok(bytes[range].to_vec())
}

/// Fills a page that the device is to be tried on; where.
fn fill(guest: &mut Guest, page: &mut LowPages<'_>) -> Result<Range<usize>, Outcome> {
    let range = chosen(guest.device_mut()?.running()?);
    let content = content(guest, range.clone())?;
    page[range.clone()].copy_from_slice(&content);
    Ok(range)
}

/// A page that is in no driver's evidence, and that no device was tried on: what Xen or QEMU say of its address could be
/// about the other try.
fn page_of_nobody<P: Deref<Target = [u8]>>(
    guest: &Guest,
    take: impl Fn(&'static Memory<'static>) -> Result<P, AcquireError>,
) -> Result<P, Outcome> {
    let mut known = Vec::new();
    for _ in 0..TRIES {
        let page = take(guest.memory).map_err(super::memory::refused)?;
        if !is_known(guest, place(guest, &page)?) {
            return Ok(page);
        }
        known.push(page);
    }
    let detail = format!("each of {TRIES} frames that Xen gave was a device's before");
    Err(skip("isolation-no-frame", detail))
}

fn is_known(guest: &Guest, bus: BusAddr) -> bool {
    let given = |range: &DmaRange| range.covers(bus, PAGE_SIZE);
    let mut running = guest.assigned.iter().filter_map(|device| device.running.as_ref().ok());
    running.any(|running| running.driver().dma_ranges().iter().any(given))
        || guest.tried.iter().any(|tried| tried.page == bus.0)
}

/// Has the device read a page, and says in the report what came of it.
fn tried(guest: &mut Guest, what: Tested, probe: Probe) -> Result<(BusAddr, Seen), Outcome> {
    let source = Source::from(probe);
    let bus = place(guest, &source)?;
    let now = guest.shared.now();
    let fault = guest.options.selftest;
    let running = guest.device_mut()?.running()?;
    let deadline = now.after(running.mover().patience());
    let wait = running.until(deadline);
    let seen = reach::read_by(running.mover(), source, bus, &wait);
    running.acknowledge();
    running.interrupt.take();
    let seen = match (seen?, fault) {
        (Seen::Reached, Some(SelfTest::Isolation)) => Seen::Blocked("selftest".into()),
        (Seen::Blocked(_), Some(SelfTest::Isolation)) => Seen::Reached,
        (seen, _) => seen,
    };
    let answer = if seen == Seen::Reached { Answer::Reached } else { Answer::Blocked };
    note(guest, what, bus, answer)?;
    Ok((bus, seen))
}

fn place(guest: &Guest, bytes: &[u8]) -> Result<BusAddr, Outcome> {
    let place = guest.memory.place_of(bytes.as_ptr());
    place
        .map(|place| place.bus)
        .ok_or_else(|| failure("memory-p2m", "a page of the guest's has no frame"))
}

/// Adds a line to the report.
fn note(guest: &mut Guest, what: Tested, bus: BusAddr, answer: Answer) -> Result<(), Outcome> {
    let device = guest.device()?.bdf.to_string();
    let page = bus.0 & !(PAGE_SIZE_U64 - 1);
    guest.tried.push(Tried { device, what, page, answer });
    Ok(())
}

/// Without the pool nothing that does not come back means anything.
fn stands_on_the_pool(guest: &Guest) -> Result<(), Outcome> {
    let device = guest.device()?.bdf.to_string();
    let reached = |tried: &Tried| (&tried.device, tried.what) == (&device, Tested::Pool);
    match guest.tried.iter().any(reached) {
        true => Ok(()),
        false => Err(skip("isolation-no-control", "the device was not seen to reach the pool")),
    }
}

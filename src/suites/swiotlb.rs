//! Suite `swiotlb`: the bounce pool lies low, copies what it should, and gets every slot back.

use super::guest::Guest;
use super::pattern::{differs, fill};
use super::runner::{Finding, Suite, failure, nothing, skip};
use super::verdict::{Outcome, Reason};
use crate::{
    addr::{DmaMask, GIB_4, PAGE_SIZE, Pfn},
    dma::{self, Bidirectional, FromDevice, Limits, Mapping, Policy, Pool, ToDevice},
    mm::pages::Pages,
    options::{PoolStart, SelfTest},
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

pub(super) const SUITE: Suite = Suite {
    name: "swiotlb",
    missing: nothing,
    tidies: false,
    checks: &[
        ("pool_is_started", pool_is_started),
        ("pool_is_low_and_contiguous", pool_is_low_and_contiguous),
        ("high_buffer_bounces", high_buffer_bounces),
        ("straddling_buffer_bounces", straddling_buffer_bounces),
        ("low_buffer_goes_direct", low_buffer_goes_direct),
        ("every_length_and_offset_survives", every_length_and_offset_survives),
        ("only_reported_bytes_come_back", only_reported_bytes_come_back),
        ("partial_sync", partial_sync),
        ("a_full_pool_says_so", a_full_pool_says_so),
        ("all_slots_are_back", all_slots_are_back),
    ],
};

/// A 32-bit device.
fn device(guest: &Guest, policy: Policy) -> dma::Device<'static> {
    dma::Device::new(guest.pool.pool, guest.memory, Limits::new(DmaMask::BITS_32), policy)
}

/// A device that reaches everything.
fn wide_device(guest: &Guest) -> dma::Device<'static> {
    dma::Device::new(guest.pool.pool, guest.memory, Limits::new(DmaMask::BITS_64), Policy::Auto)
}

/// The pool, or the reason why there is none.
fn pool(guest: &Guest) -> Result<&'static Pool<'static>, Outcome> {
    match &guest.pool.started {
        Some(Ok(_)) => Ok(guest.pool.pool),
        Some(Err(error)) => Err({
            Outcome::Failure(Reason::new(error.code(), error.to_string()).remedy(error.remedy()))
        }),
        None if guest.pool.when == PoolStart::Off => {
            Err(skip("swiotlb-off", "the command line says swiotlb=off"))
        }
        None => Err(skip("swiotlb-not-needed", "no device has asked for it")),
    }
}

fn pool_is_started(guest: &mut Guest) -> Finding {
    // Where nobody else needs one, this suite does.
    guest.pool.start_late(&guest.clock);
    pool(guest)?;
    let when = match guest.pool.when {
        PoolStart::Early => "early",
        PoolStart::Late => "late",
        PoolStart::Reserve => "reserve",
        PoolStart::Off => "off",
    };
    let stats = guest.pool.pool.stats();
    let asked = guest.pool.plan.bytes;
    let halved =
        if stats.bytes < asked { format!(" of {} asked for", asked >> 10) } else { String::new() };
    Ok(format!("{when}, {} KiB{halved} in {} segments", stats.bytes >> 10, stats.segments))
}

fn pool_is_low_and_contiguous(guest: &mut Guest) -> Finding {
    let mut wrong = None;
    let (mut count, mut lowest, mut highest) = (0, u64::MAX, 0);
    let xen = guest.memory.xen();
    let p2m = guest.memory.p2m();
    pool(guest)?.for_each_segment(&mut |segment| {
        count += 1;
        lowest = lowest.min(segment.bus.0);
        highest = highest.max(segment.bus.0 + segment.len as u64);
        let mut previous: Option<Pfn> = None;
        for page in 0..(segment.len / PAGE_SIZE) as u64 {
            let pfn = segment.bus.frame().checked_add(page).and_then(|mfn| p2m.pfn_of(mfn, xen));
            let follows = match (previous, pfn) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(last), Some(next)) => last.checked_add(1) == Some(next),
            };
            if !follows && wrong.is_none() {
                wrong = Some(format!("page {page} of the segment at {}: {pfn:?}", segment.bus));
            }
            previous = pfn;
        }
    });
    if let Some(detail) = wrong {
        return Err(failure("swiotlb-not-contiguous", detail));
    }
    if highest > GIB_4 {
        return Err(failure("swiotlb-not-low", format!("ends at {highest:#x}")));
    }
    Ok(format!("{count} segments in {lowest:#x}..{highest:#x}"))
}

fn high_buffer_bounces(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let mut page = high_page(guest)?;
    page[..1514].fill(0x3c);
    let mapping = map_for::<ToDevice, _>(device(guest, Policy::Auto), &page[..1514])?;
    let (bus, place) = (mapping.bus(), mapping.place());
    let bounced = mapping.bounced() && in_pool(guest.pool.pool, bus.0);
    finish(mapping, 0)?;
    if !bounced {
        return Err(failure(
            "swiotlb-not-bounced",
            format!("buffer at {place:?}, mapped at {bus}"),
        ));
    }
    Ok(format!("{} -> {bus}", place.map_or_else(String::new, |p| p.bus.to_string())))
}

fn straddling_buffer_bounces(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let mut pages =
        Pages::scattered(guest.memory, 2).map_err(|e| failure("no-memory", e.to_string()))?;
    let range = PAGE_SIZE - 700..PAGE_SIZE + 814;
    fill(&mut pages[range.clone()], 7);
    let device = wide_device(guest);
    let mapping = map_for::<ToDevice, _>(device, &pages[range])?;
    let why = mapping.why();
    finish(mapping, 0)?;
    match why {
        Some(why @ dma::Why::NotContiguous { .. }) => Ok(why.to_string()),
        other => Err(failure("swiotlb-not-bounced", format!("a 64-bit device got {other:?}"))),
    }
}

fn low_buffer_goes_direct(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let device = wide_device(guest);
    let page = high_page(guest)?;
    let mapping = map_for::<ToDevice, _>(device, &page[..1514])?;
    let (bounced, bus, place) = (mapping.bounced(), mapping.bus(), mapping.place());
    finish(mapping, 0)?;
    if bounced || place.map(|p| p.bus) != Some(bus) {
        return Err(failure(
            "swiotlb-bounced",
            format!("within reach at {place:?}, mapped at {bus}"),
        ));
    }
    Ok(format!("{bus}"))
}

fn every_length_and_offset_survives(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let corrupt = guest.options.selftest == Some(SelfTest::Corrupt);
    let mut count = 0;
    for len in 60..=1514 {
        let offset = len % 61;
        let mut buffer = vec![0; offset + len];
        fill(&mut buffer[offset..], len);
        let expected = buffer.clone();
        let mut mapping = map::<Bidirectional, _>(guest, &mut buffer[offset..])?;
        if corrupt && len == 777 {
            mapping.write(123, &[!expected[offset + 123]]);
        }
        let mut device_sees = vec![0; len];
        mapping.read(0, &mut device_sees);
        if let Some(at) = differs(&device_sees, &expected[offset..]) {
            let detail = format!(
                "length {len}, byte {at}: wrote {:#04x}, the device would see {:#04x}",
                expected[offset + at],
                device_sees[at]
            );
            return Err(failure("swiotlb-byte-mismatch", detail));
        }
        finish(mapping, len)?;
        if let Some(at) = differs(&buffer, &expected) {
            return Err(failure(
                "swiotlb-byte-mismatch",
                format!("length {len}, byte {at} changed"),
            ));
        }
        count += 1;
    }
    Ok(format!("{count} mappings, lengths 60 to 1514"))
}

fn only_reported_bytes_come_back(guest: &mut Guest) -> Finding {
    pool(guest)?;
    // What an earlier mapping left in the slots must not show up in a later buffer.
    let mut secret = vec![0xee; 1500];
    let mapping = map::<Bidirectional, _>(guest, &mut secret[..])?;
    finish(mapping, 0)?;
    let mut buffer = vec![0x11; 1500];
    let mapping = map::<FromDevice, _>(guest, &mut buffer[..])?;
    finish(mapping, 10)?;
    match buffer[10..].iter().position(|byte| *byte != 0x11) {
        None => Ok(String::new()),
        Some(at) => {
            let detail =
                format!("byte {}: {:#04x} where nothing was reported", at + 10, buffer[at + 10]);
            Err(failure("swiotlb-leaks-old-bytes", detail))
        }
    }
}

fn partial_sync(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let mut buffer = vec![1u8; 1024];
    let mut mapping = map::<Bidirectional, _>(guest, &mut buffer[..])?;
    mapping.buffer_mut().into_iter().for_each(|bytes| bytes.fill(2));
    mapping.sync_for_device(256..512);
    let mut seen = [0; 1024];
    mapping.read(0, &mut seen);
    finish(mapping, 0)?;
    let expected: Vec<u8> =
        (0..1024).map(|i| if (256..512).contains(&i) { 2 } else { 1 }).collect();
    match differs(&seen, &expected) {
        None => Ok(String::new()),
        Some(at) => {
            let detail = format!("byte {at}: the device sees {}, not {}", seen[at], expected[at]);
            Err(failure("swiotlb-sync", detail))
        }
    }
}

fn a_full_pool_says_so(guest: &mut Guest) -> Finding {
    pool(guest)?;
    // Forced: what lies low by chance would go direct, for ever.
    let device = device(guest, Policy::Force);
    let chunk = device.max_mapping().min(256 << 10);
    let buffer = vec![0u8; chunk];
    // The same source may be mapped often, for reading.
    let source: &[u8] = &buffer;
    let mut held = Vec::new();
    let error = loop {
        match device.map::<ToDevice, _>(source) {
            Ok(mapping) => held.push(mapping),
            Err(error) => break error,
        }
    };
    let count = held.len();
    drop(held);
    match error {
        dma::MapError::Exhausted { .. } => {
            Ok(format!("after {count} x {} KiB: {error}", chunk >> 10))
        }
        other => Err(failure(other.code(), other.to_string())),
    }
}

fn all_slots_are_back(guest: &mut Guest) -> Finding {
    let stats = pool(guest)?.stats();
    if stats.in_use != guest.pool.held || stats.bad_frees != 0 {
        return Err(failure("swiotlb-slots-lost", format!("{stats:?}")));
    }
    Ok(format!(
        "{} maps, {} bounced, high water {} of {} slots",
        stats.maps, stats.bounces, stats.high_water, stats.slots
    ))
}

/// A page beyond 4 GiB, where a 32-bit device can't reach.
fn high_page(guest: &Guest) -> Result<Pages<'static>, Outcome> {
    let page = Pages::new(guest.memory, 1).map_err(|e| failure("no-memory", e.to_string()))?;
    match page.mfn() {
        Some(mfn) if mfn.addr().0 >= GIB_4 => Ok(page),
        mfn => Err(skip("memory-all-low", format!("the page is {mfn:?}, within reach"))),
    }
}

/// Maps through the pool, whatever the buffer's place.
fn map<D: dma::Direction, B: dma::Buffer<D>>(
    guest: &Guest,
    buffer: B,
) -> Result<Mapping<'static, D, B>, Outcome> {
    map_for(device(guest, Policy::Force), buffer)
}

fn map_for<D: dma::Direction, B: dma::Buffer<D>>(
    device: dma::Device<'static>,
    buffer: B,
) -> Result<Mapping<'static, D, B>, Outcome> {
    device.map(buffer).map_err(|error| failure(error.code(), error.to_string()))
}

fn finish<D: dma::Direction, B: dma::Buffer<D>>(
    mapping: Mapping<'_, D, B>,
    written: usize,
) -> Result<(), Outcome> {
    mapping.finish(written).map(drop).map_err(|error| failure(error.code(), error.to_string()))
}

fn in_pool(pool: &Pool<'_>, bus: u64) -> bool {
    let mut inside = false;
    pool.for_each_segment(&mut |segment| {
        inside |= (segment.bus.0..segment.bus.0 + segment.len as u64).contains(&bus);
    });
    inside
}

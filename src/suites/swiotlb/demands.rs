//! What devices demand of addresses beyond 32 bits, each met on a pool made for the check.

use super::own::{bits, device, finish, map_out, not_mapped, on_own_pool, on_started_pool};
use crate::{
    addr::{PAGE_SIZE, to_usize},
    dma::{
        Coherent, CoherentError, Device, Limits, MapError, Plan, Policy, Pool, PowerOfTwo, ToDevice,
    },
    guest::Guest,
    mm::{contiguous::Order, pages::Pages},
    report::verdict::Outcome,
    suites::check::{Finding, all_hold, failure, skip},
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

const MIB: usize = 1 << 20;

fn power(bytes: usize) -> PowerOfTwo {
    PowerOfTwo::new(bytes).unwrap_or(PowerOfTwo::ONE)
}

/// Ring memory from a pool is slots; without one it is a region of its own, exchanged and exchanged back.
pub(super) fn coherent_memory(guest: &mut Guest) -> Finding {
    on_own_pool(guest, guest.memory, &mut |own| {
        let device = device(guest, own, bits(32), Policy::Auto);
        let alone = share(&device, false)?;
        own.start(&Plan::new(MIB), &mut |_| {})
            .map_err(|error| skip(error.code(), error.to_string()))?;
        let pooled = share(&device, true)?;
        let stats = own.stats();
        if stats.acquired != stats.released + stats.segments as u64 {
            return Err(failure("swiotlb-coherent", format!("not exchanged back: {stats:?}")));
        }
        Ok(format!("exchanged at {alone:#x}, from the pool at {pooled:#x}"))
    })
}

/// Takes shared memory, looks at it, gives it back; returns where it was.
fn share(device: &Device<'_>, from_pool: bool) -> Result<u64, Outcome> {
    let wrong = |error: CoherentError| failure(error.code(), error.to_string());
    let closed = |ring: Coherent<'_>| {
        ring.close().map_err(|error| failure("memory-release", error.to_string()))
    };
    // What was there before may not be there again: it is zeroed each time.
    let mut soiled = device.coherent(2 * PAGE_SIZE).map_err(wrong)?;
    soiled.write(0, &vec![0xff; 2 * PAGE_SIZE]);
    closed(soiled)?;
    let mut ring = device.coherent(2 * PAGE_SIZE).map_err(wrong)?;
    let bus = ring.bus();
    let mut bytes = vec![1; 2 * PAGE_SIZE];
    ring.read(0, &mut bytes);
    let zeroed = bytes.iter().all(|byte| *byte == 0);
    ring.write(PAGE_SIZE - 1, &[0x11, 0x22]);
    let kept = [PAGE_SIZE - 1, PAGE_SIZE].map(|at| ring.read_u8(at));
    let parts = [
        ("zeroed", zeroed),
        ("low", device.limits().mask.covers(bus, ring.len())),
        ("a page", bus.page_offset() == 0),
        ("kept", kept == [0x11, 0x22]),
        ("pool as expected", ring.from_pool() == from_pool),
    ];
    closed(ring)?;
    all_hold("swiotlb-coherent", &parts, || format!("at {bus}"))?;
    Ok(bus.0)
}

/// Many mappings at once for a device that can't cross 64 KiB: none does, and longer ones are refused.
pub(super) fn boundary(guest: &mut Guest) -> Finding {
    const BOUNDARY: usize = 64 << 10;
    on_started_pool(guest, &Plan::new(MIB), &mut |own| {
        let device = device(guest, own, bits(32).within(power(BOUNDARY)), Policy::Force);
        let buffer = vec![0; BOUNDARY + 1];
        let mut held = Vec::new();
        for len in [40_000, 3000, BOUNDARY, 30_000, 20_000, 5000, 60_000] {
            let mapping = map_out(device, &buffer[..len])?;
            let inside = mapping.bus().0 % BOUNDARY as u64;
            if inside + len as u64 > BOUNDARY as u64 {
                let detail = format!("{len} bytes at {} cross 64 KiB", mapping.bus());
                return Err(failure("swiotlb-boundary", detail));
            }
            held.push(mapping);
        }
        let (count, beyond) = (held.len(), device.map::<ToDevice, _>(&buffer[..]));
        held.into_iter().try_for_each(|mapping| finish(mapping, 0))?;
        match beyond {
            Err(error @ MapError::TooLarge { limit: BOUNDARY, .. }) => {
                Ok(format!("{count} mappings; {}: {error}", error.code()))
            }
            other => Err(failure("swiotlb-boundary", format!("64 KiB + 1: {other:?}"))),
        }
    })
}

/// For a device that wants the page offset kept, the address ends in the same 12 bits as the buffer's.
pub(super) fn offset_in_page(guest: &mut Guest) -> Finding {
    on_started_pool(guest, &Plan::new(MIB), &mut |own| {
        let limits = bits(32).keeping_offset(power(PAGE_SIZE));
        let device = device(guest, own, limits, Policy::Force);
        let buffer = vec![0; 3 * PAGE_SIZE];
        for start in [0, 1, 511, 2048, 2049, 4095] {
            let part = &buffer[start..start + 5000];
            let mapping = map_out(device, part)?;
            let (wanted, got) = (part.as_ptr().addr() % PAGE_SIZE, mapping.bus().page_offset());
            finish(mapping, 0)?;
            if wanted != got {
                let detail = format!("offset {wanted:#x} in its page, mapped at {got:#x}");
                return Err(failure("swiotlb-offset", detail));
            }
        }
        Ok(String::new())
    })
}

/// For a device that wants its buffers aligned, each is, from 4 bytes to 64 KiB.
pub(super) fn alignment(guest: &mut Guest) -> Finding {
    on_started_pool(guest, &Plan::new(MIB), &mut |own| {
        let buffer = vec![0; 3001];
        for wanted in [4, 256, PAGE_SIZE, 64 << 10] {
            let limits = bits(32).aligned_to(power(wanted));
            let mapping = map_out(device(guest, own, limits, Policy::Force), &buffer[1..])?;
            let bus = mapping.bus();
            finish(mapping, 0)?;
            if bus.0 % wanted as u64 != 0 {
                let detail = format!("{bus} is no multiple of {wanted:#x}");
                return Err(failure("swiotlb-alignment", detail));
            }
        }
        Ok(String::new())
    })
}

/// One mapping as large as the largest segment: 16 MiB where Xen allows order 12.
pub(super) fn largest_mapping(guest: &mut Guest) -> Finding {
    // Half for the pool and half for the buffer, and some to spare.
    let room = (to_usize(guest.memory.free_pages()) / 3).max(256) * PAGE_SIZE;
    let bytes = Order::within(room).unwrap_or(Order::ZERO).bytes();
    on_started_pool(guest, &Plan::new(bytes), &mut |own| {
        let device = device(guest, own, bits(32), Policy::Force);
        let limit = device.max_mapping();
        let pages = (limit / PAGE_SIZE) as u64 + 1;
        let source = Pages::new(guest.memory, pages)
            .map_err(|error| skip("memory-short", error.to_string()))?;
        let segment = own.largest_segment(device.limits().mask);
        let mapping = map_out(device, &source[..limit])?;
        let bus = mapping.bus();
        finish(mapping, 0)?;
        let beyond = device.map::<ToDevice, _>(&source[..=limit]).err();
        let refused = matches!(beyond, Some(MapError::TooLarge { limit: l, .. }) if l == limit);
        let parts =
            [("the limit is a segment", limit == segment), ("one more is refused", refused)];
        let measured = || format!("limit {limit}, segment {segment}, one more byte: {beyond:?}");
        all_hold("swiotlb-largest", &parts, measured)?;
        Ok(format!("{} KiB at {bus}; one byte more is dma-too-large", limit >> 10))
    })
}

pub(super) fn device_of_28_bits(guest: &mut Guest) -> Finding {
    narrow_device(guest, 28)
}

pub(super) fn device_of_24_bits(guest: &mut Guest) -> Finding {
    narrow_device(guest, 24)
}

/// A device narrower than the pool gets a segment of its own width, if the pool may grow.
fn narrow_device(guest: &Guest, width: u32) -> Finding {
    let page = Order::ZERO;
    let plan = Plan::new(MIB).growing_by(page);
    on_started_pool(guest, &plan, &mut |own| {
        let before = own.stats();
        let device = device(guest, own, bits(width), Policy::Force);
        let buffer = [0; 1514];
        match device.map::<ToDevice, _>(&buffer[..]) {
            Ok(mapping) => {
                let bus = mapping.bus().0;
                finish(mapping, 0)?;
                placed(own, before.grown, bus, device.limits())
            }
            Err(error @ MapError::OutOfMask { .. }) => Err(skip(error.code(), error.to_string())),
            Err(error) => Err(not_mapped(error)),
        }
    })
}

fn placed(own: &Pool<'_>, grown: u64, bus: u64, limits: &Limits) -> Finding {
    let (mask, grown) = (limits.mask, own.stats().grown - grown);
    if bus > mask.highest().0 {
        return Err(failure("swiotlb-not-low", format!("{bus:#x} is beyond a {mask}")));
    }
    Ok(format!("at {bus:#x}, segments added: {grown}"))
}

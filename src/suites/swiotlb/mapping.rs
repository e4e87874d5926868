//! Which buffers bounce, and whether the bytes get where they should: on the guest's own pool.

use super::own::{
    bits, device, finish, high_page, map_both, map_out, not_mapped, on_started_pool, played, pool,
};
use crate::{
    addr::{DmaMask, PAGE_SIZE},
    device::pattern::{differs, fill},
    dma::{self, Bidirectional, FinishError, FromDevice, Mapping, Plan, Policy, Pool},
    guest::{Guest, blame::of_memory},
    mm::{
        contiguous::{ContiguousMemory, Order},
        memory::Memory,
        pages::{LowPages, Pages},
        translate::{Offset, Place, Translate},
    },
    options::SelfTest,
    report::verdict::Outcome,
    suites::{
        check::{Finding, failure},
        memory::xen_agrees,
    },
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::ptr;

/// A 32-bit device.
fn narrow(guest: &Guest, policy: Policy) -> dma::Device<'static> {
    device(guest, guest.pool.pool, bits(32), policy)
}

/// A device that reaches everything.
fn wide(guest: &Guest) -> dma::Device<'static> {
    device(guest, guest.pool.pool, bits(64), Policy::Auto)
}

/// Maps through the pool, whatever the buffer's place.
fn map<'b>(
    guest: &Guest,
    buffer: &'b mut [u8],
) -> Result<Mapping<'static, Bidirectional, &'b mut [u8]>, Outcome> {
    map_both(narrow(guest, Policy::Force), buffer)
}

pub(super) fn high_buffer_bounces(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let mut page = high_page(guest)?;
    page[..1514].fill(0x3c);
    let mapping = map_out(narrow(guest, Policy::Auto), &page[..1514])?;
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

pub(super) fn straddling_buffer_bounces(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let mut pages = Pages::scattered(guest.memory, 2).map_err(of_memory)?;
    let range = PAGE_SIZE - 700..PAGE_SIZE + 814;
    fill(&mut pages[range.clone()], 7);
    let mapping = map_out(wide(guest), &pages[range])?;
    let why = mapping.why();
    finish(mapping, 0)?;
    match why {
        Some(why @ dma::Why::NotContiguous { .. }) => Ok(why.to_string()),
        other => Err(failure("swiotlb-not-bounced", format!("a 64-bit device got {other:?}"))),
    }
}

pub(super) fn low_buffer_goes_direct(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let page = LowPages::new(guest.memory, Order::ZERO, DmaMask::BITS_32)
        .map_err(crate::suites::memory::refused)?;
    let mapping = map_out(narrow(guest, Policy::Auto), &page[..1514])?;
    let (bounced, bus, place) = (mapping.bounced(), mapping.bus(), mapping.place());
    finish(mapping, 0)?;
    let in_place = place.is_some_and(|place| place.bus == bus && xen_agrees(guest, place));
    if bounced || !in_place {
        return Err(failure(
            "swiotlb-bounced",
            format!("within reach at {place:?}, mapped at {bus}"),
        ));
    }
    Ok(format!("{bus}"))
}

/// Out: what the device has under its address is what the buffer held. Back: what it writes there is what the
/// buffer holds then, and not a byte around it. Neither way starts with the bytes that it has to end with.
pub(super) fn every_length_and_offset_survives(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let player = Player { memory: guest.memory, fault: guest.options.selftest };
    let mut count = 0;
    for len in 60..=1514 {
        let offset = len % 61;
        let mut buffer = vec![0; offset + len + 1];
        fill(&mut buffer[offset..offset + len], len);
        let sent = buffer[offset..offset + len].to_vec();
        let answer: Vec<u8> = sent.iter().map(|byte| !byte).collect();
        let mapping = map(guest, &mut buffer[offset..offset + len])?;
        played(mapping, len, |mapping| player.answers(mapping, &sent, &answer))?;
        let expected = [&vec![0; offset][..], &answer, &[0]].concat();
        if let Some(at) = differs(&buffer, &expected) {
            let (wrote, holds) = (expected.get(at), buffer.get(at));
            let detail = format!(
                "length {len}, byte {at} from {offset} before: the device wrote {wrote:02x?}, the buffer holds {holds:02x?}"
            );
            return Err(failure("swiotlb-copy-back", detail));
        }
        count += 1;
    }
    Ok(format!("{count} mappings there and back, lengths 60 to 1514"))
}

/// A device, played by the CPU through the addresses that a device uses.
struct Player {
    memory: &'static Memory<'static>,
    fault: Option<SelfTest>,
}

impl Player {
    /// Which byte a fault on purpose changes.
    const FAULTY: usize = 40;

    /// Reads what has to be `sent`, then writes the answer.
    fn answers(
        &self,
        mapping: &Mapping<'_, Bidirectional, &mut [u8]>,
        sent: &[u8],
        answer: &[u8],
    ) -> Result<(), Outcome> {
        let seen = self.reads(mapping)?;
        let Some(at) = differs(&seen, sent) else {
            return self.writes(mapping, answer);
        };
        let (len, wrote, sees) = (sent.len(), sent.get(at), seen.get(at));
        let detail =
            format!("length {len}, byte {at}: wrote {wrote:02x?}, the device sees {sees:02x?}");
        Err(failure("swiotlb-byte-mismatch", detail))
    }

    fn reads(&self, mapping: &Mapping<'_, Bidirectional, &mut [u8]>) -> Result<Vec<u8>, Outcome> {
        let view = mapping.as_device(self.memory, 0).map_err(of_memory)?;
        let mut seen = vec![0; mapping.len()];
        view.window().read(0, &mut seen);
        if self.fault == Some(SelfTest::Corrupt) {
            seen[Self::FAULTY] ^= 1;
        }
        Ok(seen)
    }

    fn writes(
        &self,
        mapping: &Mapping<'_, Bidirectional, &mut [u8]>,
        bytes: &[u8],
    ) -> Result<(), Outcome> {
        let view = mapping.as_device(self.memory, 0).map_err(of_memory)?;
        let mut bytes = bytes.to_vec();
        if self.fault == Some(SelfTest::CopyBack) {
            bytes[Self::FAULTY] ^= 1;
        }
        view.window().write(0, &bytes);
        Ok(())
    }
}

pub(super) fn only_reported_bytes_come_back(guest: &mut Guest) -> Finding {
    pool(guest)?;
    // What an earlier mapping left in the slots must not show up in a later buffer.
    let mut secret = vec![0xee; 1500];
    let mapping = map(guest, &mut secret[..])?;
    finish(mapping, 0)?;
    let mut buffer = vec![0x11; 1500];
    let mapping: Mapping<'_, FromDevice, _> =
        narrow(guest, Policy::Force).map(&mut buffer[..]).map_err(not_mapped)?;
    device_writes(guest, &mapping, &[0x22; 10])?;
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

pub(super) fn partial_sync(guest: &mut Guest) -> Finding {
    pool(guest)?;
    let mut buffer = vec![1u8; 1024];
    let mut mapping = map(guest, &mut buffer[..])?;
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

/// Buffers anywhere become one list: in order, each byte where the device looks for it.
pub(super) fn scatter_list(guest: &mut Guest) -> Finding {
    const LENGTHS: [usize; 5] = [1, 700, 4096, 10_000, 60];
    pool(guest)?;
    let device = narrow(guest, Policy::Force);
    let buffers: Vec<Vec<u8>> = LENGTHS
        .iter()
        .map(|len| {
            let mut buffer = vec![0; *len];
            fill(&mut buffer, *len);
            buffer
        })
        .collect();
    let list = device.map_list::<Bidirectional, _>(buffers.clone()).map_err(not_mapped)?;
    let (spans, len) = (list.spans(), list.len());
    let total: usize = spans.iter().map(|span| span.len).sum();
    for (part, expected) in list.parts().iter().zip(&buffers) {
        let mut seen = vec![0; expected.len()];
        part.read(0, &mut seen);
        if let Some(at) = differs(&seen, expected) {
            let detail = format!("byte {at} of {}: the device sees {}", seen.len(), seen[at]);
            return Err(failure("swiotlb-list", detail));
        }
    }
    let back = list.finish(len).map_err(|error| failure(error.code(), error.to_string()))?;
    if back != buffers || total != LENGTHS.iter().sum() {
        return Err(failure("swiotlb-list", format!("{len} bytes out, {total} in {spans:?}")));
    }
    Ok(format!("{} buffers, {len} bytes, {} spans", buffers.len(), spans.len()))
}

fn in_pool(pool: &Pool<'_>, bus: u64) -> bool {
    let mut inside = false;
    pool.for_each_segment(&mut |segment| {
        inside |= (segment.bus.0..segment.bus.0 + segment.len as u64).contains(&bus);
    });
    inside
}

/// A device that writes one byte outside of what it was given is found out, with the byte's place.
pub(super) fn overrun_is_caught(guest: &mut Guest) -> Finding {
    const STRAYS: [(usize, isize); 4] = [(64, -1), (1514, 1514), (1514, -16), (4096, 4096 + 15)];
    on_started_pool(guest, &Plan::new(1 << 20), &mut |own| {
        for (len, stray) in STRAYS {
            let mut buffer = vec![0; len];
            let mapping = map_both(device(guest, own, bits(32), Policy::Force), &mut buffer)?;
            flip(guest, &mapping, stray)?;
            let seen = match mapping.end(len) {
                Err(FinishError::Overrun { offset, .. }) => Some(offset),
                _ => None,
            };
            if seen != Some(stray) {
                let detail = format!("byte {stray} of {len} was changed, found at {seen:?}");
                return Err(failure("swiotlb-overrun-missed", detail));
            }
        }
        Ok(format!("{} stray bytes", STRAYS.len()))
    })
}

/// Changes a byte as a device does, by its address.
fn flip(
    guest: &Guest,
    mapping: &Mapping<'_, Bidirectional, &mut [u8]>,
    offset: isize,
) -> Result<(), Outcome> {
    let view = mapping.as_device(guest.memory, offset).map_err(of_memory)?;
    let window = view.window();
    window.write_u8(0, !window.read_u8(0));
    Ok(())
}

/// Writes to the start of a mapping as a device does, through another mapping of the same memory.
fn device_writes<D: dma::Writable, B: dma::Buffer<D>>(
    guest: &Guest,
    mapping: &Mapping<'_, D, B>,
    bytes: &[u8],
) -> Result<(), Outcome> {
    let view = mapping.as_device(guest.memory, 0).map_err(of_memory)?;
    view.window().write(0, bytes);
    Ok(())
}

/// A device that reports more than it wrote is found out, with the first byte it did not write.
pub(super) fn overreport_is_caught(guest: &mut Guest) -> Finding {
    const LENGTHS: [(usize, usize); 4] = [(64, 0), (1514, 60), (1514, 1506), (4096, 777)];
    on_started_pool(guest, &Plan::new(1 << 20), &mut |own| {
        let device = device(guest, own, bits(32), Policy::Force);
        for (len, written) in LENGTHS {
            let mapping: Mapping<'_, FromDevice, _> =
                device.map(vec![0; len]).map_err(not_mapped)?;
            device_writes(guest, &mapping, &vec![0x5a; written])?;
            let seen = match mapping.end(len) {
                Err(FinishError::Overreported { first, .. }) => Some(first),
                _ => None,
            };
            // The byte before may be the pattern's by chance.
            if !seen.is_some_and(|first| first <= written && written - first < 4) {
                let detail = format!("{written} of {len} bytes were written, found {seen:?}");
                return Err(failure("swiotlb-overreport-missed", detail));
            }
        }
        Ok(format!("{} reports", LENGTHS.len()))
    })
}

/// Inside a segment bus addresses are CPU addresses plus a constant: it says the same as the P2M, page by page,
/// and nothing beyond the segment's ends.
pub(super) fn one_offset_serves_a_segment(guest: &mut Guest) -> Finding {
    let (memory, order) = (guest.memory, Order::new(4).unwrap_or(Order::ZERO));
    let region = memory.acquire(order, DmaMask::BITS_32).map_err(crate::suites::memory::refused)?;
    let place = Place { phys: region.pfn().addr(), bus: region.bus() };
    let offset = Offset { cpu: region.cpu().addr().get(), len: region.len(), place };
    let at = |byte: usize| ptr::without_provenance::<u8>(offset.cpu.wrapping_add(byte));
    let inside = (0..region.len()).step_by(PAGE_SIZE / 2);
    let differing = inside
        .map(|byte| (byte, offset.place_of(at(byte)), memory.place_of(at(byte))))
        .find(|(_, constant, table)| constant.is_none() || constant != table);
    let beyond = [region.len(), usize::MAX].map(|byte| offset.place_of(at(byte)));
    let bus = region.bus();
    memory.release(region).map_err(|error| failure("memory-release", error.to_string()))?;
    if differing.is_some() || beyond != [None; 2] {
        let detail = format!("{order} at {bus}: {differing:?}, beyond {beyond:?}");
        return Err(failure("swiotlb-offset", detail));
    }
    Ok(format!("{} KiB at {bus}", order.bytes() >> 10))
}

//! A pool over time: full, growing, shrinking, used at random, and empty again.

use super::own::{bits, device, finish, map_out, not_mapped, on_started_pool, pool};
use crate::{
    arch::time::{Clock, millis},
    dma::{Bidirectional, Device, Limits, MapError, Mapping, Plan, Policy, ToDevice},
    guest::Guest,
    mm::contiguous::Order,
    report::verdict::Outcome,
    suites::check::{Finding, all_hold, failure, skip},
};
use alloc::{format, string::ToString, vec, vec::Vec};

const MIB: usize = 1 << 20;
/// Steps of the random life.
const STEPS: u32 = 10_000;
/// As many mappings as that many steps make at least, unless most of them were refused.
const ENOUGH: u64 = 2_500;
/// Mappings at once, at most.
const LIVE: usize = 40;

pub(super) fn a_full_pool_says_so(guest: &mut Guest) -> Finding {
    on_started_pool(guest, &Plan::new(MIB), &mut |own| {
        let device = device(guest, own, bits(32), Policy::Force);
        let buffer = vec![0; 64 << 10];
        let mut held = Vec::new();
        let error = loop {
            match device.map::<ToDevice, _>(&buffer[..]) {
                Ok(mapping) => held.push(mapping),
                Err(error) => break error,
            }
        };
        let note = format!("after {} x 64 KiB: {error}", held.len());
        let exhausted = matches!(error, MapError::Exhausted { .. });
        let parts = [("exhausted", exhausted), ("all used", held.len() == MIB / buffer.len())];
        all_hold("swiotlb-full", &parts, || note.clone())?;
        held.into_iter().try_for_each(|mapping| finish(mapping, 0))?;
        Ok(note)
    })
}

/// A full pool adds a segment, serves from it, and gives it back when idle; the watermarks tell.
pub(super) fn grows_and_shrinks(guest: &mut Guest) -> Finding {
    let order = Order::new(6).unwrap_or(Order::ZERO);
    on_started_pool(guest, &Plan::new(MIB).growing_by(order), &mut |own| {
        let device = device(guest, own, bits(32), Policy::Force);
        let buffer = vec![0; 64 << 10];
        let mut held = Vec::new();
        for _ in 0..MIB / buffer.len() + 1 {
            held.push(map_out(device, &buffer)?);
        }
        let full = own.stats();
        let busy = own.shrink();
        held.into_iter().try_for_each(|mapping| finish(mapping, 0))?;
        let back = own.shrink();
        let idle = own.stats();
        let slots = (MIB >> 11) + (64 << 10 >> 11);
        let parts = [
            ("grew", (full.grown, full.bytes) == (1, MIB + order.bytes())),
            ("shrank", (busy, back, idle.bytes, idle.shrunk) == (0, order.bytes(), MIB, 1)),
            ("high water", full.high_water == slots),
        ];
        all_hold("swiotlb-growth", &parts, || format!("{busy}, {back}: {full:?}; {idle:?}"))?;
        let (high, low) = (full.high_water, full.low_water);
        Ok(format!(
            "{} KiB added and back; at most {high} slots taken, at least {low} free",
            back >> 10
        ))
    })
}

/// 10,000 random steps of mapping, device access, finishing and abandoning; each byte is compared.
pub(super) fn random_mappings(guest: &mut Guest) -> Finding {
    let start = guest.shared.now();
    let plan = Plan::new(MIB).growing_by(Order::ZERO);
    let note = on_started_pool(guest, &plan, &mut |own| {
        let device = device(guest, own, bits(32), Policy::Force);
        let mut life = Life { device, random: Random(0x9e37_79b9), live: Vec::new(), full: 0 };
        for _ in 0..STEPS {
            life.step()?;
        }
        life.end()?;
        let stats = own.stats();
        let parts = [
            ("none in use", stats.in_use == 0),
            ("none overrun", stats.overruns == 0),
            ("enough mapped", stats.maps >= ENOUGH),
        ];
        all_hold("swiotlb-slots-lost", &parts, || format!("{stats:?}"))?;
        Ok(format!("{STEPS} steps, {} mappings, {} times full", stats.maps, life.full))
    })?;
    Ok(format!("{note}, {} ms", millis(guest.shared.now().since(start))))
}

/// A xorshift generator: the same life each time.
struct Random(u32);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % end
    }
}

/// A mapping and the byte its buffer was filled with.
struct Live<'m> {
    mapping: Mapping<'m, Bidirectional, Vec<u8>>,
    byte: u8,
}

struct Life<'m> {
    device: Device<'m>,
    random: Random,
    live: Vec<Live<'m>>,
    full: u32,
}

impl Life<'_> {
    fn step(&mut self) -> Result<(), Outcome> {
        let choice = self.random.below(16);
        if self.live.is_empty() || (choice < 8 && self.live.len() < LIVE) {
            return self.map();
        }
        let which = self.random.below(self.live.len());
        let live = self.live.swap_remove(which);
        // One in sixteen is abandoned, as by a driver that stopped its device.
        if choice == 15 {
            live.mapping.abandon();
            return Ok(());
        }
        self.finish(live)
    }

    fn map(&mut self) -> Result<(), Outcome> {
        let most = [64, 2048, 6000, 30_000][self.random.below(4)];
        let len = self.random.below(most) + 1;
        let byte = self.random.below(256).to_le_bytes()[0];
        match self.device.map(vec![byte; len]) {
            Ok(mapping) => self.live.push(Live { mapping, byte }),
            Err(MapError::Exhausted { .. }) => self.full += 1,
            Err(error) => return Err(not_mapped(error)),
        }
        Ok(())
    }

    /// The device reads all, writes a part, and reports that part.
    fn finish(&mut self, Live { mut mapping, byte }: Live<'_>) -> Result<(), Outcome> {
        let len = mapping.len();
        let written = self.random.below(len + 1);
        let mut seen = vec![0; len];
        mapping.read(0, &mut seen);
        let (old, new) = (vec![byte; len], vec![!byte; written]);
        mapping.write(0, &new);
        let buffer = mapping.end(written).map_err(|e| failure(e.code(), e.to_string()))?;
        let parts = [
            ("seen by the device", seen == old),
            ("what it wrote", buffer[..written] == new),
            ("what it did not", buffer[written..] == old[written..]),
        ];
        let measured = || format!("{written} of {len} bytes written");
        all_hold("swiotlb-byte-mismatch", &parts, measured)
    }

    fn end(&mut self) -> Result<(), Outcome> {
        while let Some(live) = self.live.pop() {
            self.finish(live)?;
        }
        Ok(())
    }
}

pub(super) fn all_slots_are_back(guest: &mut Guest) -> Finding {
    let stats = pool(guest)?.stats();
    let parts = [
        ("in use by drivers alone", stats.in_use == guest.pool.held),
        ("no bad frees", stats.bad_frees == 0),
        ("none stuck", stats.stuck_bytes == 0),
    ];
    all_hold("swiotlb-slots-lost", &parts, || format!("{stats:?}"))?;
    Ok(format!(
        "{} maps, {} bounced; of {} slots at most {} taken, at least {} free",
        stats.maps, stats.bounces, stats.slots, stats.high_water, stats.low_water
    ))
}

/// The guest's own pool, filled: it grows if the command line says `grow`, else it says that it is full.
pub(super) fn own_pool_grows_as_told(guest: &mut Guest) -> Finding {
    let (own, mask) = (pool(guest)?, guest.pool.plan.mask);
    let device = device(guest, own, Limits::new(mask), Policy::Force);
    let buffer = vec![0; own.largest_segment(mask).min(64 << 10)];
    let before = own.stats();
    let mut held = Vec::new();
    let refusal = loop {
        if own.stats().grown > before.grown {
            break None;
        }
        match device.map::<ToDevice, _>(&buffer[..]) {
            Ok(mapping) => held.push(mapping),
            Err(error @ MapError::Exhausted { .. }) => break Some(error),
            Err(error) => return Err(not_mapped(error)),
        }
    };
    let (full, count) = (own.stats(), held.len());
    held.into_iter().try_for_each(|mapping| finish(mapping, 0))?;
    let back = own.shrink();
    let after = own.stats();
    let same = (after.bytes, after.in_use) == (before.bytes, before.in_use);
    let kib = buffer.len() >> 10;
    match (refusal, guest.options.grow) {
        (None, true) if same && back == full.bytes - before.bytes => {
            Ok(format!("after {count} x {kib} KiB: {} KiB added and back", back >> 10))
        }
        (Some(error), false) if same => Ok(format!("after {count} x {kib} KiB: {error}")),
        (Some(error), true) if same => {
            Err(skip("memory-refused", format!("nothing to grow by: {error}")))
        }
        _ => Err(failure("swiotlb-growth", format!("{before:?}; {full:?}; {after:?}"))),
    }
}

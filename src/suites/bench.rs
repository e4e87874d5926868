//! Suite `bench`: what a mapping, a slot and a pool cost here. Figures, not verdicts.
//!
//! Each figure is the best of several rounds: what disturbs a measurement only ever makes it longer. What
//! belongs in one comparison is measured in turns, so that a disturbance meets all of it. The tables go to
//! the console as [`FigureLine`]s.

use super::{
    check::{Finding, Suite, failure, nothing, proof, skip},
    cost::Cost,
};
use crate::{
    addr::{DmaMask, PAGE_SIZE},
    arch::{
        copy::{self, CopyKind, copy_slice},
        time::{self, Clock},
    },
    dma::{
        Buffer, Device, Direction, FromDevice, Limits, Mapping, Policy, ToDevice, Want,
        run::{Run, SLOT_SIZE},
        slots::Slots,
    },
    guest::Guest,
    mm::{contiguous::Order, pages::Pages},
    println,
    report::{ktap::FigureLine, verdict::Outcome},
    xen::shared_info::SharedInfo,
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{cell::RefCell, fmt::Display, hint::black_box};

pub(super) const SUITE: Suite = Suite {
    name: "bench",
    missing: nothing,
    of_a_device: false,
    tidies: false,
    checks: &[
        proof("copies", copies),
        proof("mappings", mappings),
        proof("slots", slots),
        proof("pool_comes_and_goes", pool_comes_and_goes),
        proof("pages_come_and_go", pages_come_and_go),
    ],
};

/// Rounds of which the best counts.
const ROUNDS: usize = 21;
/// Nanoseconds that a round takes at least, so that reading the clock does not matter.
const ROUND: u64 = 400_000;
/// Sizes of the mappings, in bytes.
const SIZES: [usize; 7] = [64, 1514, 4096, 16384, 65536, 262_144, 1 << 20];
/// The largest mapping of which one more is held in each round, in bytes: they all fit into the pool.
const HELD: usize = 4096;
/// Bytes of the pool that is built.
const POOL: usize = 64 << 20;

/// Something to measure: does its work so many times, in the round of that number.
type Work<'a> = &'a mut dyn FnMut(u32, usize);

/// Prints a line of a table.
fn line<T: Display>(table: &str, cells: &[T]) {
    println!("  {}", FigureLine { table, cells });
}

/// What each work costs, in nanoseconds: the best of several rounds, taken in turns.
fn race<const N: usize>(clock: &SharedInfo, mut works: [Work<'_>; N]) -> [Cost; N] {
    let (mut counts, mut best) = ([1_u32; N], [Cost::MAX; N]);
    for round in 0..ROUNDS {
        for ((work, count), best) in works.iter_mut().zip(&mut counts).zip(&mut best) {
            let start = clock.now();
            work(*count, round);
            let mut took = clock.now().0 - start.0;
            while took < ROUND && *count < 1 << 20 {
                *count *= 2;
                let start = clock.now();
                work(*count, round);
                took = clock.now().0 - start.0;
            }
            *best = best.best(Cost { total: took, count: u64::from(*count) });
        }
    }
    best
}

fn copies(guest: &mut Guest) -> Finding {
    let before = copy::selected();
    let (mut to, from) = (pages(guest, 65536)?, pages(guest, 65536)?);
    let costs = copy::measure(&mut to, &from, &mut time::tsc);
    copy::select(before);
    line("copy", &["kind", "64x64B-cy", "64KiB-cy"]);
    for cost in costs {
        let kind = cost.kind.to_string().replace(' ', "-");
        line("copy", &[kind, cost.short.to_string(), cost.long.to_string()]);
    }
    let [words, bytes, unrolled] = costs.map(|cost| cost.long);
    let chosen = kind_of(before.long, [words, bytes, unrolled]);
    let copy::Choice { short, long } = before;
    Ok(format!(
        "{short} below {} bytes, else {long}: {}x rep movsb",
        copy::SHORT,
        Cost { total: bytes, count: 1 }.over(Cost { total: chosen, count: 1 })
    ))
}

/// The entry for `kind` of a list in the order of [`CopyKind::ALL`].
fn kind_of(kind: CopyKind, costs: [u64; 3]) -> u64 {
    let index = CopyKind::ALL.iter().position(|known| *known == kind);
    index.map_or(0, |index| costs[index])
}

fn mappings(guest: &mut Guest) -> Finding {
    let largest = SIZES.into_iter().max().unwrap_or(0);
    let added = add_segment(guest, largest * 2)?;
    let device =
        Device::new(guest.pool.pool, guest.memory, Limits::new(DmaMask::BITS_32), Policy::Force);
    let mut buffers = Buffers::new(guest, largest)?;
    let fitting = SIZES.into_iter().filter(|&size| size <= device.max_mapping());
    line(
        "map",
        &[
            "bytes",
            "to-ns",
            "from-ns",
            "fill-ns",
            "memcpy-ns",
            "movsb-ns",
            "to/memcpy",
            "from/memcpy",
            "fill/memcpy",
        ],
    );
    let mut note = String::new();
    for size in fitting {
        buffers.size = size;
        let figures = one_size(guest, &device, &buffers)?;
        let [to, from, fill, memcpy, _] = figures;
        let ratios = [to, from, fill].map(|cost| cost.over(memcpy).to_string());
        let cells = [size.to_string()].into_iter().chain(figures.map(|cost| cost.to_string()));
        line("map", &cells.chain(ratios.clone()).collect::<Vec<_>>());
        if size == 65536 {
            note = format!("64 KiB at {} and {} times one copy", ratios[0], ratios[1]);
        }
    }
    if added {
        guest.pool.pool.shrink();
    }
    Ok(note)
}

/// Makes sure of a segment that holds `bytes`; whether one was added for it.
fn add_segment(guest: &Guest, bytes: usize) -> Result<bool, Outcome> {
    if guest.pool.pool.largest_segment(DmaMask::BITS_32) >= bytes {
        return Ok(false);
    }
    let order = Order::holding(bytes).unwrap_or(Order::MAX);
    match grow(guest, order) {
        Some(_) => Ok(true),
        None => Err(skip("bench-no-memory", "not even one low page was to be had")),
    }
}

/// Adds a segment of this order, or the largest below that there is.
fn grow(guest: &Guest, order: Order) -> Option<Order> {
    let mut order = Some(order);
    while let Some(wanted) = order {
        if guest.pool.pool.grow(wanted, DmaMask::BITS_32).is_ok() {
            return Some(wanted);
        }
        order = wanted.smaller();
    }
    None
}

/// Two buffers of one size that lie elsewhere in each round: where both happen to share places in the CPU's
/// look-up tables everything takes longer, most of all on an emulated CPU.
struct Buffers {
    from: RefCell<Pages<'static>>,
    to: RefCell<Pages<'static>>,
    size: usize,
}

impl Buffers {
    fn new(guest: &Guest, largest: usize) -> Result<Self, Outcome> {
        let bytes = largest + ROUNDS * 7 * PAGE_SIZE;
        let (from, to) = (pages(guest, bytes)?.into(), pages(guest, bytes)?.into());
        Ok(Self { from, to, size: 0 })
    }

    /// Runs `work` on the buffers of a round, `count` times.
    fn each(&self, count: u32, round: usize, mut work: impl FnMut(&mut [u8], &mut [u8])) {
        let (mut from, mut to) = (self.from.borrow_mut(), self.to.borrow_mut());
        let from = &mut from[round * 7 * PAGE_SIZE..][..self.size];
        let to = &mut to[round * 3 * PAGE_SIZE..][..self.size];
        (0..count).for_each(|_| work(black_box(from), black_box(to)));
    }
}

/// What it costs to map and finish towards the device, from it, to fill the slots before the latter, and to copy as
/// much in two ways.
///
/// No device writes here, so the mappings from it are those that don't mind: the fill is measured by itself.
fn one_size(guest: &Guest, device: &Device<'_>, buffers: &Buffers) -> Result<[Cost; 5], Outcome> {
    let (size, kind) = (buffers.size, copy::kind_for(buffers.size));
    let mapping = device.map::<FromDevice, _>(alloc::vec![0; size]);
    let mut filled = mapping.map_err(|error| failure(error.code(), error.to_string()))?;
    let fill: Work<'_> =
        &mut |count, _| (0..count).for_each(|_| black_box(&mut filled).rearm(0..size));
    let [fill] = race(guest.shared, [fill]);
    // The largest mapping leaves no room for another.
    filled.abandon();
    let device = &device.without_fill();
    // As the buffers, the slots are others in each round: those of the round before are held.
    let (mut held_to, mut held_from) = (Vec::new(), Vec::new());
    let (mut bad_to, mut bad_from) = (0_u64, 0_u64);
    let works: [Work<'_>; 4] = [
        &mut |count, round| {
            hold::<ToDevice>(device, size, &mut held_to);
            buffers.each(count, round, |buffer, _| {
                let mapping = device.try_map::<ToDevice, _>(&*buffer);
                let ended = black_box(mapping.map(|mapping| mapping.finish(0)));
                bad_to += u64::from(!matches!(ended, Ok(Ok(_))));
            });
        },
        &mut |count, round| {
            hold::<FromDevice>(device, size, &mut held_from);
            buffers.each(count, round, |buffer, _| {
                let mapping = device.try_map::<FromDevice, _>(buffer);
                let ended = black_box(mapping.map(|mapping| mapping.finish(size)));
                bad_from += u64::from(!matches!(ended, Ok(Ok(_))));
            });
        },
        &mut |count, round| buffers.each(count, round, |from, to| copy_slice(kind, to, from)),
        &mut |count, round| {
            buffers.each(count, round, |from, to| copy_slice(CopyKind::Bytes, to, from));
        },
    ];
    let [to, from, memcpy, bytes] = race(guest.shared, works);
    held_to.into_iter().for_each(|mapping| drop(mapping.abandon()));
    held_from.into_iter().for_each(|mapping| drop(mapping.abandon()));
    match bad_to + bad_from {
        0 => Ok([to, from, fill, memcpy, bytes]),
        bad => Err(failure("bench-refused", format!("{bad} mappings of {size} bytes failed"))),
    }
}

/// Maps one more buffer that is not given back for now. Not inlined into what is measured.
#[inline(never)]
fn hold<'m, D: Direction>(device: &Device<'m>, size: usize, held: &mut Vec<Held<'m, D>>)
where
    Vec<u8>: Buffer<D>,
{
    if size <= HELD {
        // Where the pool is full the slots stay the same ones.
        held.extend(device.map(alloc::vec![0; size]).ok());
    }
}

type Held<'m, D> = Mapping<'m, D, Vec<u8>>;

fn pages(guest: &Guest, bytes: usize) -> Result<Pages<'static>, Outcome> {
    Pages::new(guest.memory, (bytes / PAGE_SIZE) as u64)
        .map_err(|error| skip("bench-no-memory", error.to_string()))
}

fn slots(guest: &mut Guest) -> Finding {
    let mut slots = Box::new(Slots::NONE);
    line("slots", &["MiB", "full-%", "same-ns", "mixed-ns"]);
    for order in [8, 10, 12].into_iter().filter_map(Order::new) {
        for full in [1, 50, 95] {
            let taken = fill(&mut slots, order, full);
            let [same, mixed] = one_fill(guest, &mut slots);
            let mib = order.bytes() >> 20;
            let mixed = mixed.split(MIXED.len() as u64);
            line(
                "slots",
                &[mib.to_string(), full.to_string(), same.to_string(), mixed.to_string()],
            );
            give_all(&mut slots, taken);
        }
    }
    Ok(String::new())
}

/// Lengths of runs that are alive at once, in slots.
const MIXED: [usize; 8] = [1, 3, 2, 1, 9, 1, 4, 2];

/// Takes `full` per cent of the slots, in runs of all the lengths, with scattered holes.
fn fill(slots: &mut Slots, order: Order, full: usize) -> Vec<Run> {
    slots.reset(order);
    let wanted = slots.total() * full / 100;
    let lengths = MIXED.into_iter().cycle();
    let mut runs: Vec<Run> = lengths.map_while(|length| slots.take(Want::slots(length)?)).collect();
    let mut state = 1_usize;
    while slots.in_use() > wanted {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let run = runs.swap_remove((state >> 33) % runs.len());
        let _ = slots.give(run);
    }
    runs
}

fn take(slots: &mut Slots, count: usize) -> Option<Run> {
    slots.take(Want::slots(count)?)
}

fn give_all(slots: &mut Slots, runs: impl IntoIterator<Item = Run>) {
    for run in runs {
        // They were taken from here, which the host tests look into.
        let _ = slots.give(run);
    }
}

/// What it costs to take and give one slot, and several runs that differ.
fn one_fill(guest: &Guest, slots: &mut Slots) -> [Cost; 2] {
    let slots = RefCell::new(slots);
    race(
        guest.shared,
        [
            &mut |count, _| {
                let mut slots = slots.borrow_mut();
                for _ in 0..count {
                    let run = black_box(take(&mut slots, 1));
                    give_all(&mut slots, run);
                }
            },
            &mut |count, _| {
                let mut slots = slots.borrow_mut();
                for _ in 0..count {
                    let runs = MIXED.map(|length| take(&mut slots, length));
                    give_all(&mut slots, black_box(runs).into_iter().flatten());
                }
            },
        ],
    )
}

fn pool_comes_and_goes(guest: &mut Guest) -> Finding {
    let xen = guest.memory.xen();
    line("pool", &["KiB", "segments", "calls", "build-us", "calls-back", "back-us"]);
    let mut note = String::new();
    for _ in 0..2 {
        let (calls, start) = (xen.calls(), guest.shared.now());
        let (bytes, segments) = build(guest);
        let (built, between) = (xen.calls(), guest.shared.now());
        let back = guest.pool.pool.shrink();
        let (gone, end) = (xen.calls(), guest.shared.now());
        if back != bytes {
            let detail = format!("{back} of {bytes} bytes went back");
            return Err(failure("bench-pool", detail));
        }
        let micros = |from: time::Instant, to: time::Instant| (to.0 - from.0) / 1000;
        let (build, away) = (micros(start, between), micros(between, end));
        line("pool", &[(bytes >> 10) as u64, segments, built - calls, build, gone - built, away]);
        note = format!("{} KiB in {build} us, back in {away} us", bytes >> 10);
    }
    Ok(note)
}

/// Grows the pool by as much of 64 MiB as there is; bytes and segments.
fn build(guest: &Guest) -> (usize, u64) {
    let (mut bytes, mut segments) = (0, 0);
    while let Some(order) = Order::within(POOL - bytes).and_then(|order| grow(guest, order)) {
        bytes += order.bytes();
        segments += 1;
    }
    (bytes, segments)
}

fn pages_come_and_go(guest: &mut Guest) -> Finding {
    let xen = guest.memory.xen();
    line("pages", &["KiB", "calls", "take-us", "calls-back", "give-us"]);
    for bytes in [SLOT_SIZE * 2, 1 << 20, 16 << 20] {
        let (calls, start) = (xen.calls(), guest.shared.now());
        let Ok(run) = Pages::new(guest.memory, (bytes / PAGE_SIZE) as u64) else { break };
        let (taken, between) = (xen.calls(), guest.shared.now());
        drop(run);
        let (given, end) = (xen.calls(), guest.shared.now());
        let (take, give) = ((between.0 - start.0) / 1000, (end.0 - between.0) / 1000);
        line("pages", &[(bytes >> 10) as u64, taken - calls, take, given - taken, give]);
    }
    Ok(String::new())
}

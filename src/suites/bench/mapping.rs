//! What a copy costs, and a mapping beside it.

use super::{
    pool::{grow, pages},
    race::{ROUNDS, Work, line, race},
};
use crate::{
    addr::{DmaMask, PAGE_SIZE},
    arch::{
        copy::{self, CopyKind, copy_slice},
        time,
    },
    dma::{Buffer, Device, Direction, FromDevice, Limits, Mapping, Policy, ToDevice},
    guest::Guest,
    mm::{
        contiguous::Order,
        pages::{LowPages, Pages},
    },
    report::verdict::Outcome,
    suites::{
        check::{Finding, failure, skip},
        cost::Cost,
    },
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{cell::RefCell, hint::black_box};

/// Sizes of the mappings, in bytes.
const SIZES: [usize; 7] = [64, 1514, 4096, 16384, 65536, 262_144, 1 << 20];
/// The largest mapping of which one more is held in each round, in bytes: they all fit into the pool.
const HELD: usize = 4096;

pub(super) fn copies(guest: &mut Guest) -> Finding {
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

pub(super) fn mappings(guest: &mut Guest) -> Finding {
    let largest = SIZES.into_iter().max().unwrap_or(0);
    let added = add_segment(guest, largest * 2)?;
    let device =
        |policy| Device::new(guest.pool.pool, guest.memory, Limits::new(DmaMask::BITS_32), policy);
    let (forced, in_place) = (device(Policy::Force), device(Policy::Direct));
    let low = Order::holding(largest)
        .and_then(|order| LowPages::new(guest.memory, order, DmaMask::BITS_32).ok());
    let mut buffers = Buffers::new(guest, largest)?;
    let fitting = SIZES.into_iter().filter(|&size| size <= forced.max_mapping());
    line(
        "map",
        &[
            "bytes",
            "to-ns",
            "from-ns",
            "direct-ns",
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
        let [to, from, fill, memcpy, bytes] = one_size(guest, &forced, &buffers)?;
        let direct =
            low.as_deref().map(|low| direct(guest, &in_place, &low[..size])).transpose()?;
        let ratios = [to, from, fill].map(|cost| cost.over(memcpy).to_string());
        let costs = [Some(to), Some(from), direct, Some(fill), Some(memcpy), Some(bytes)];
        let costs = costs.map(|cost| cost.map_or_else(|| "-".into(), |cost| cost.to_string()));
        let cells = [size.to_string()].into_iter().chain(costs).chain(ratios.clone());
        line("map", &cells.collect::<Vec<_>>());
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

/// What it costs to map and finish bytes that the device reads where they lie: nothing is copied, each page is looked at.
fn direct(guest: &Guest, device: &Device<'_>, low: &[u8]) -> Result<Cost, Outcome> {
    let mut bad = None;
    let work: Work<'_> = &mut |count, _| {
        for _ in 0..count {
            let mapping = device.try_map::<ToDevice, _>(black_box(low));
            let ended = mapping.map(|mapping| black_box(mapping).finish(0).is_ok());
            bad = bad.take().or(ended.err().map(|(error, _)| error));
        }
    };
    let [cost] = race(guest.shared, [work]);
    bad.map_or(Ok(cost), |error| Err(failure("bench-refused", error.to_string())))
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

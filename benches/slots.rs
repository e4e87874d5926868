//! What a run of slots costs, by how full the segments are and how many there are: `cargo bench --bench slots`.
//!
//! Flat is what it has to be: neither the fill level nor the size may show. `same` takes and gives one slot,
//! which is most often the one given back last; `mixed` keeps eight runs of several lengths alive at once;
//! `churn` gives back whichever run, and takes one of another length, so that little is at hand.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on panics")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pvbounce::{
    dma::slots::{Run, Slots},
    mm::contiguous::Order,
};
use std::{hint::black_box, iter::from_fn};

/// Lengths of runs that are alive at once, in slots.
const MIXED: [usize; 8] = [1, 3, 2, 1, 9, 1, 4, 2];
/// A segment's order and how many there are: 1, 4, 16 and 64 MiB.
const POOLS: [(u8, usize); 4] = [(8, 1), (10, 1), (12, 1), (12, 4)];
/// Per cent.
const FULL: [usize; 5] = [1, 25, 50, 75, 95];

/// Segments of which `full` per cent is taken, in runs of several lengths, with scattered holes.
struct Pool {
    segments: Vec<Segment>,
}

impl Pool {
    fn new(order: u8, segments: usize, full: usize) -> Self {
        let order = Order::new(order).unwrap();
        Self { segments: (0..segments).map(|_| Segment::new(order, full)).collect() }
    }

    /// Takes and gives each of the lengths in every segment in turn.
    fn round<const N: usize>(&mut self, lengths: [usize; N]) {
        for Segment { slots, .. } in &mut self.segments {
            let runs = lengths.map(|length| slots.take(length, 0));
            black_box(runs).into_iter().flatten().for_each(|run| slots.give(run).unwrap());
        }
    }
}

struct Segment {
    slots: Slots,
    taken: Vec<Run>,
    wanted: usize,
    random: u64,
}

impl Segment {
    fn new(order: Order, full: usize) -> Self {
        let mut slots = Slots::NONE;
        slots.reset(order);
        let mut lengths = MIXED.into_iter().cycle();
        let taken = from_fn(|| slots.take(lengths.next()?, 0)).collect();
        let wanted = slots.total() * full / 100;
        let mut new = Self { slots, taken, wanted, random: 1 };
        new.give_some();
        new
    }

    fn random(&mut self) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.random >> 33).unwrap()
    }

    /// Gives back whichever runs until no more are taken than wanted.
    fn give_some(&mut self) {
        while self.slots.in_use() > self.wanted {
            let index = self.random() % self.taken.len();
            self.slots.give(self.taken.swap_remove(index)).unwrap();
        }
    }

    /// Takes a run of one of the lengths, and gives back as much.
    fn churn(&mut self) {
        let length = MIXED[self.random() % MIXED.len()];
        self.taken.extend(self.slots.take(length, 0));
        self.give_some();
    }
}

fn slots(criterion: &mut Criterion) {
    for (order, segments) in POOLS {
        let mib = segments << order >> 8;
        let mut group = criterion.benchmark_group(format!("{mib} MiB"));
        group.throughput(criterion::Throughput::Elements(segments as u64));
        for full in FULL {
            let mut pool = Pool::new(order, segments, full);
            group.bench_function(BenchmarkId::new("same", full), |b| b.iter(|| pool.round([1])));
            group.bench_function(BenchmarkId::new("mixed", full), |b| b.iter(|| pool.round(MIXED)));
            group.bench_function(BenchmarkId::new("churn", full), |b| {
                b.iter(|| pool.segments.iter_mut().for_each(Segment::churn));
            });
        }
    }
}

criterion_group!(benches, slots);
criterion_main!(benches);

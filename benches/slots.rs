//! What a run of slots costs, by how full the segments are and how many there are: `cargo bench --bench slots`.
//!
//! Flat is what it has to be: neither the fill level nor the size may show. `same` takes and gives one slot,
//! which is most often the one given back last; `mixed` keeps eight runs of several lengths alive at once.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on panics")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pvbounce::{
    dma::slots::{Run, Slots},
    mm::contiguous::Order,
};
use std::hint::black_box;

/// Lengths of runs that are alive at once, in slots.
const MIXED: [usize; 8] = [1, 3, 2, 1, 9, 1, 4, 2];
/// A segment's order and how many there are: 1, 4, 16 and 64 MiB.
const POOLS: [(u8, usize); 4] = [(8, 1), (10, 1), (12, 1), (12, 4)];
/// Per cent.
const FULL: [usize; 5] = [1, 25, 50, 75, 95];

/// Segments of which `full` per cent is taken, slot by slot and scattered.
struct Pool {
    segments: Vec<Slots>,
    _taken: Vec<Vec<Run>>,
}

impl Pool {
    fn new(order: u8, segments: usize, full: usize) -> Self {
        let order = Order::new(order).unwrap();
        let (segments, taken) = (0..segments).map(|_| Self::segment(order, full)).unzip();
        Self { segments, _taken: taken }
    }

    fn segment(order: Order, full: usize) -> (Slots, Vec<Run>) {
        let mut slots = Slots::NONE;
        slots.reset(order);
        let wanted = slots.total() * full / 100;
        let mut runs: Vec<_> = (0..slots.total()).map_while(|_| slots.take(1, 0)).collect();
        let mut state = 1_u64;
        while slots.in_use() > wanted {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let index = usize::try_from(state >> 33).unwrap() % runs.len();
            slots.give(runs.swap_remove(index)).unwrap();
        }
        (slots, runs)
    }

    /// Takes and gives each of the lengths in every segment in turn.
    fn round<const N: usize>(&mut self, lengths: [usize; N]) {
        for slots in &mut self.segments {
            let runs = lengths.map(|length| slots.take(length, 0));
            black_box(runs).into_iter().flatten().for_each(|run| slots.give(run).unwrap());
        }
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
        }
    }
}

criterion_group!(benches, slots);
criterion_main!(benches);

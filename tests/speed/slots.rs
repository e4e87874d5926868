//! What a run of slots costs, by how full the segments are and how many there are:
//! `cargo bench -p pvbounce-speed --bench slots`.
//!
//! Flat is what it has to be: neither the fill level nor the size may show. `same` takes and gives one slot,
//! which is most often the one given back last; `mixed` keeps eight runs of several lengths alive at once;
//! `churn` gives back whichever run, and takes one of another length, so that little is at hand.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on panics")]

mod pool;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pool::{MIXED, Pool, Segment};

/// A segment's order and how many there are: 1, 4, 16 and 64 MiB.
const POOLS: [(u8, usize); 4] = [(8, 1), (10, 1), (12, 1), (12, 4)];
/// Per cent.
const FULL: [usize; 5] = [1, 25, 50, 75, 95];

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

//! What a mapping that bounces costs, there and back: `cargo bench -p pvbounce-speed --bench mappings`. The image is built to be
//! small (`.cargo/config.toml`); docs/performance.md says how to have that here.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on panics")]

mod mapping;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// A frame's least length, its greatest, and a page.
const LENGTHS: [usize; 3] = [64, 1514, 4096];

fn mappings(criterion: &mut Criterion) {
    let device = mapping::device();
    let mut group = criterion.benchmark_group("mapping");
    for length in LENGTHS {
        let mut bytes = vec![0x5a; length];
        group.bench_function(BenchmarkId::new("to-device", length), |b| {
            b.iter(|| mapping::to_device(&device, &bytes));
        });
        group.bench_function(BenchmarkId::new("from-device", length), |b| {
            b.iter(|| mapping::from_device(&device, &mut bytes));
        });
    }
}

criterion_group!(benches, mappings);
criterion_main!(benches);

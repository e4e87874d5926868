//! Instructions for a run of slots, by how full a segment is and how large, and for a mapping: the same work as in `slots` and
//! `mappings`, but counted by callgrind, so that no other load on the machine shows.
//!
//! ```text
//! cargo install gungraun-runner --version 0.20.0    and valgrind, once
//! cargo bench -p pvbounce-speed --bench instructions
//! ```
//!
//! Each count is for [`TIMES`] rounds.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on panics")]
#![expect(missing_docs, unused_qualifications, reason = "written by the macros")]

mod mapping;
mod pool;

use gungraun::{library_benchmark, library_benchmark_group, main};
use pool::{MIXED, Pool, Segment};
use pvbounce::dma::Device;
use std::hint::black_box;

/// Rounds in each count: what is put aside and what is cut anew are both in it.
const TIMES: usize = 1000;

/// A segment of `order`, `full` per cent of it taken.
fn segment(order: u8, full: usize) -> Pool {
    Pool::new(order, 1, full)
}

#[library_benchmark(setup = segment)]
#[benches::of_1_mib((8, 1), (8, 50), (8, 95))]
#[benches::of_16_mib((12, 1), (12, 50), (12, 95))]
fn same(mut pool: Pool) -> Pool {
    (0..TIMES).for_each(|_| pool.round([1]));
    black_box(pool)
}

#[library_benchmark(setup = segment)]
#[benches::of_1_mib((8, 1), (8, 50), (8, 95))]
#[benches::of_16_mib((12, 1), (12, 50), (12, 95))]
fn mixed(mut pool: Pool) -> Pool {
    (0..TIMES).for_each(|_| pool.round(MIXED));
    black_box(pool)
}

#[library_benchmark(setup = segment)]
#[benches::of_1_mib((8, 1), (8, 50), (8, 95))]
#[benches::of_16_mib((12, 1), (12, 50), (12, 95))]
fn churn(mut pool: Pool) -> Pool {
    (0..TIMES).for_each(|_| pool.segments.iter_mut().for_each(Segment::churn));
    black_box(pool)
}

#[library_benchmark(setup = device)]
#[benches::of(64, 1514, 4096)]
fn to_device((device, bytes): (Device<'static>, Vec<u8>)) {
    (0..TIMES).for_each(|_| mapping::to_device(&device, &bytes));
}

#[library_benchmark(setup = device)]
#[benches::of(64, 1514, 4096)]
fn from_device((device, mut bytes): (Device<'static>, Vec<u8>)) {
    (0..TIMES).for_each(|_| mapping::from_device(&device, &mut bytes));
}

fn device(length: usize) -> (Device<'static>, Vec<u8>) {
    (mapping::device(), vec![0x5a; length])
}

library_benchmark_group!(name = slots; benchmarks = same, mixed, churn);
library_benchmark_group!(name = mappings; benchmarks = to_device, from_device);
main!(library_benchmark_groups = slots, mappings);

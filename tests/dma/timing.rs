//! Figures, not verdicts: `cargo test --release --test dma timing -- --ignored --nocapture`.

use super::*;
use pvbounce::{
    arch::copy,
    dma::{Want, run::Run, slots::Slots},
};
use std::{hint::black_box, time::Instant};

/// Nanoseconds for one `work`, best of nine rounds.
fn nanos(mut work: impl FnMut()) -> f64 {
    let rounds = 9;
    let mut count = 1_u32;
    let mut time = |count: u32| {
        let start = Instant::now();
        (0..count).for_each(|_| work());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
    };
    while time(count) * f64::from(count) < 1e6 {
        count *= 2;
    }
    (0..rounds).map(|_| time(count)).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "prints figures"]
fn map_and_finish_against_one_copy() {
    let (mut to, from) = (vec![0_u8; 65536], vec![1_u8; 65536]);
    let start = Instant::now();
    let mut clock = || u64::try_from(start.elapsed().as_nanos()).unwrap();
    for cost in copy::measure(&mut to, &from, &mut clock) {
        println!("{:>14}: 64 x 64 B {:>6} ns, 64 KiB {:>6} ns", cost.kind, cost.short, cost.long);
    }
    println!("chosen: {:?}", copy::selected());
    println!(
        "{:>8} {:>10} {:>10} {:>10} {:>10}",
        "bytes", "to ns", "from ns", "fill ns", "copy ns"
    );
    with_pool(Plan::new(16 * MIB), |machine, pool| {
        let device = forced(machine, pool);
        let bare = device.without_fill();
        for size in [64, 1514, 4096, 16384, 65536, 262_144, MIB] {
            let mut buffer = vec![0x5a; size];
            let mut other = vec![0; size];
            let copy = nanos(|| black_box(&mut other[..]).copy_from_slice(black_box(&buffer)));
            let to = nanos(|| {
                let mapping = device.map::<ToDevice, _>(black_box(&buffer[..])).unwrap();
                black_box(mapping.finish(0).unwrap());
            });
            let from = nanos(|| {
                let mapping = bare.map::<FromDevice, _>(black_box(&mut buffer[..])).unwrap();
                black_box(mapping.finish(size).unwrap());
            });
            let mut filled = device.map::<FromDevice, _>(vec![0; size]).unwrap();
            let fill = nanos(|| black_box(&mut filled).rearm(0..size));
            filled.abandon();
            println!("{size:>8} {to:>10.1} {from:>10.1} {fill:>10.1} {copy:>10.1}");
        }
    });
}

fn take(slots: &mut Slots, count: usize) -> Option<Run> {
    slots.take(Want::slots(count)?)
}

#[test]
#[ignore = "prints figures"]
fn one_allocation_at_every_fill_level() {
    println!("{:>6} {:>6} {:>8} {:>8}", "MiB", "full %", "1 ns", "3 ns");
    for (size, mib) in [(8, 1), (10, 4), (12, 16)] {
        for full in [1, 25, 50, 75, 95] {
            let mut slots = Box::new(Slots::NONE);
            slots.reset(order(size));
            let wanted = slots.total() * full / 100;
            let mut runs: Vec<_> = (0..slots.total()).map_while(|_| take(&mut slots, 1)).collect();
            // Free every n-th, so that what is free is scattered.
            let mut state = 1_u64;
            while slots.in_use() > wanted {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let index = usize::try_from(state >> 33).unwrap() % runs.len();
                slots.give(runs.swap_remove(index)).unwrap();
            }
            let one = nanos(|| {
                let run = take(&mut slots, 1).unwrap();
                slots.give(black_box(run)).unwrap();
            });
            let three = nanos(|| {
                let run = take(&mut slots, 3);
                black_box(run).into_iter().for_each(|run| slots.give(run).unwrap());
            });
            println!("{mib:>6} {full:>6} {one:>8.1} {three:>8.1}");
        }
    }
}

/// For an instruction count: run it under `perf stat` or callgrind and divide by 200,000.
#[test]
#[ignore = "a loop to count instructions in"]
fn a_hundred_thousand_short_mappings_each_way() {
    with_pool(Plan::new(16 * MIB), |machine, pool| {
        let device = forced(machine, pool).without_fill();
        let mut buffer = [0x5a; 64];
        for _ in 0..100_000 {
            let mapping = device.map::<ToDevice, _>(black_box(&buffer[..])).unwrap();
            black_box(mapping.finish(0).unwrap());
            let mapping = device.map::<FromDevice, _>(black_box(&mut buffer[..])).unwrap();
            black_box(mapping.finish(64).unwrap());
        }
    });
}

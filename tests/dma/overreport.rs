//! What a device reports and what it wrote: told apart, and nothing of another mapping's in either.

use super::*;
use proptest::prelude::*;

const OLD: u8 = 0x5e;
const NEW: u8 = 0xc3;

/// Runs `test` with a pool full of what an earlier mapping had in it.
fn with_soiled_pool(test: impl FnOnce(&FakeMachine, &Pool<'_>)) {
    with_pool(Plan { floor: PAGE_SIZE, ..Plan::new(16 * PAGE_SIZE) }, |machine, pool| {
        soil(machine, pool);
        test(machine, pool);
    });
}

fn soil(machine: &FakeMachine, pool: &Pool<'_>) {
    let old = vec![OLD; pool.stats().bytes];
    forced(machine, pool).map::<ToDevice, _>(old).unwrap().finish(0).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 200 }))]

    #[test]
    fn a_report_is_believed_as_far_as_bytes_were_written(
        len in prop_oneof![1..100usize, 1..5000usize],
        reported: prop::sample::Index,
        written: prop::sample::Index,
    ) {
        let reported = reported.index(len + 1);
        let written = written.index(reported + 1);
        with_soiled_pool(|machine, pool| {
            let mapping = forced(machine, pool).map::<FromDevice, _>(vec![0x11; len]).unwrap();
            machine.bus_write(mapping.bus(), &vec![NEW; written]);
            match mapping.finish(reported) {
                Ok(buffer) => {
                    assert!(reported - written < 8 || reported < 8, "{written} of {reported}");
                    assert!(buffer[..written].iter().all(|&b| b == NEW));
                    assert!(buffer[reported..].iter().all(|&b| b == 0x11));
                }
                Err(FinishError::Overreported { written: told, first, .. }) => {
                    assert!(reported - written >= 8, "{written} of {reported}");
                    assert_eq!(told, reported);
                    // A byte that the device wrote may be the pattern's by chance.
                    assert!(first <= written && written - first <= 2, "{first} for {written}");
                    assert_eq!(pool.stats().overreports, 1);
                }
                Err(error) => panic!("{error}"),
            }
        });
    }

    #[test]
    fn a_ring_is_looked_at_part_by_part(
        parts in prop::collection::vec((8..300usize, any::<bool>()), 1..12),
        skew in 0..17usize,
    ) {
        with_soiled_pool(|machine, pool| {
            let mut ring = forced(machine, pool).map::<FromDevice, _>(vec![0; 4096]).unwrap();
            for round in 0..2 {
                let mut at = skew;
                for &(len, honest) in &parts {
                    let range = at..at + len;
                    at += len;
                    let (written, first, bus) = (len, range.start, ring.bus());
                    let nothing = FinishError::Overreported { written, first, len: 4096, bus };
                    assert_eq!(ring.check_written(range.clone()), Err(nothing), "{round}");
                    let written = if honest { len } else { len - 8 };
                    let bus = BusAddr(ring.bus().0 + range.start as u64);
                    machine.bus_write(bus, &vec![NEW; written]);
                    assert_eq!(ring.check_written(range.clone()).is_ok(), honest, "{range:?}");
                    ring.rearm(range);
                }
            }
            ring.abandon();
        });
    }
}

#[test]
fn what_the_device_did_not_write_is_nothing_of_another_mapping() {
    with_soiled_pool(|machine, pool| {
        let device = forced(machine, pool);
        let first = device.map::<FromDevice, _>(vec![0; 1500]).unwrap();
        let mut before = vec![0; 1500];
        first.read(0, &mut before);
        assert!(before.iter().filter(|&&byte| byte == OLD).count() < 300);
        let (bus, error) = (first.bus(), first.finish(1500).unwrap_err());
        assert_eq!(error, FinishError::Overreported { written: 1500, first: 0, len: 1500, bus });
        assert_eq!(error.code(), "dma-overreported");
        let second = device.map::<FromDevice, _>(vec![0; 1500]).unwrap();
        assert_eq!(second.bus(), bus);
        let mut after = vec![0; 1500];
        second.read(0, &mut after);
        assert_ne!(before[..8], after[..8], "the pattern is another mapping's");
        machine.bus_write(bus, &before);
        assert_eq!(second.finish(1500).unwrap(), before, "an older pattern is data like any other");
        let short = device.map::<FromDevice, _>(vec![0; 7]).unwrap().finish(7).unwrap();
        assert!(!short.contains(&OLD));
    });
}

#[test]
fn no_byte_of_a_pattern_is_told_by_the_ones_before() {
    with_pool(Plan::new(MIB), |machine, pool| {
        const MAPPINGS: usize = 1000;
        let mut seen = [[0; 256]; 8];
        for _ in 0..MAPPINGS {
            let mapping = forced(machine, pool).map::<FromDevice, _>(vec![0; 8]).unwrap();
            let mut word = [0; 8];
            mapping.read(0, &mut word);
            seen.iter_mut().zip(word).for_each(|(seen, byte)| seen[usize::from(byte)] += 1);
            mapping.abandon();
        }
        for (at, seen) in seen.iter().enumerate() {
            let (kinds, most) = (seen.iter().filter(|n| **n > 0).count(), seen.iter().max());
            assert!(kinds > 200 && most < Some(&(MAPPINGS / 40)), "byte {at}: {kinds}, {most:?}");
        }
    });
}

#[test]
fn only_what_nobody_but_the_device_writes_is_filled() {
    with_soiled_pool(|machine, pool| {
        let device = forced(machine, pool);
        let mut both = device.map::<Bidirectional, _>(vec![3; 100]).unwrap();
        both.check_written(0..100).unwrap();
        both.rearm(0..100);
        assert_eq!(both.finish(100).unwrap(), [3; 100]);
        soil(machine, pool);
        let bare = device.without_fill();
        let mut bare = bare.map::<FromDevice, _>(vec![0; 100]).unwrap();
        bare.check_written(0..100).unwrap();
        bare.rearm(0..100);
        assert_eq!(bare.finish(100).unwrap(), [OLD; 100]);
        let pages = machine.pages(&[(Pfn(0x100), Mfn(0x4000))]);
        let mut direct = auto(machine, pool).map::<FromDevice, _>(pages).unwrap();
        direct.rearm(0..100);
        direct.check_written(0..100).unwrap();
        assert_eq!(direct.finish(100).unwrap()[..100], [0; 100]);
        assert_eq!(pool.stats().overreports, 0);
    });
}

#[test]
#[should_panic(expected = "101 bytes at 0x0 of a mapping of 0x64")]
fn no_more_than_the_mapping_is_armed() {
    with_soiled_pool(|machine, pool| {
        forced(machine, pool).map::<FromDevice, _>(vec![0; 100]).unwrap().rearm(0..101);
    });
}

#[test]
#[should_panic(expected = "1 bytes at 0x64 of a mapping of 0x64")]
fn no_more_than_the_mapping_is_looked_at() {
    with_soiled_pool(|machine, pool| {
        let mapping = forced(machine, pool).map::<FromDevice, _>(vec![0; 100]).unwrap();
        let _ = mapping.check_written(100..101);
    });
}

//! The driver over a controller that sees only what was mapped for it.

mod ending;

use super::*;
use crate::{
    addr::{BusAddr, PAGE_SIZE},
    device::{Idle as _, fake::TickingClock},
    dma::{
        Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    storage::fake::{AhciFault as Fault, FakeAhci, block},
};
use alloc::{boxed::Box, vec};

type Disk<'m> = Ahci<'m, &'m FakeAhci<'m>>;

/// Runs `test` on a started disk; afterwards everything must be back, and no address out of place.
fn with_disk(test: impl FnOnce(&FakeAhci<'_>, &mut Disk<'_>)) {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeAhci::new(&machine, &clock);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let idle = Idle::reset(&chip, &clock).unwrap();
    let limits = Limits { mask: DmaMask::BITS_32, ..idle.limits() };
    let device = dma::Device::new(&pool, &machine, limits, Policy::Auto);
    let mut disk = idle.start(device).unwrap();
    test(&chip, &mut disk);
    for (bus, len) in chip.touched() {
        let given = disk.dma_ranges().iter().any(|range| range.covers(bus, len));
        assert!(given && limits.mask.covers(bus, len), "{len} bytes at {bus} were never given");
    }
    chip.set_fault(Fault::None);
    disk.quiesce().ok();
    assert!(!chip.is_running() && !chip.interrupts());
    drop(disk);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    assert!(chip.opcodes().iter().all(|opcode| [0xec, 0x25].contains(opcode)), "changes nothing");
}

/// Looks until something came; what went wrong instead, or that nothing comes.
fn fetch(disk: &mut Disk<'_>, back: &mut Vec<u8>) -> Result<usize, Outcome> {
    for _ in 0..20 {
        if let Arrival::Back(len) = disk.fetch(&[], back)? {
            return Ok(len);
        }
    }
    Err(disk.missing(&Sent { source: None, dma: BusAddr(0), len: 0, bounced: None }))
}

fn filled(disk: &mut Disk<'_>, len: usize, seed: usize) -> Result<Vec<u8>, Outcome> {
    let mut bytes = vec![0; len];
    disk.fill(&mut bytes, seed).map(|()| bytes)
}

/// Blocks read, read to where the bytes lie, and read once more.
fn trip(disk: &mut Disk<'_>, len: usize, seed: usize) -> Result<(), Outcome> {
    let bytes = filled(disk, len, seed)?;
    let (_, placed) = disk.send(vec![0; len].into())?;
    assert!(placed[..] == bytes, "{len}");
    let mut back = Vec::new();
    assert_eq!(fetch(disk, &mut back)?, len);
    assert!(back[..len] == bytes, "{len}");
    Ok(())
}

fn code<T: fmt::Debug>(result: Result<T, Outcome>) -> &'static str {
    result.unwrap_err().reason().code
}

#[test]
fn every_length_is_read_three_times_through_the_pool() {
    with_disk(|chip, disk| {
        let lengths = disk.lengths();
        assert_eq!((lengths.min, lengths.max, lengths.step), (512, MOST, 512));
        for (seed, len) in lengths.up_to(200).enumerate() {
            trip(disk, len, seed).unwrap();
        }
        let Traffic { sent, sent_bounced, received, lost, resets } = disk.traffic();
        assert_eq!((sent, sent_bounced, lost, resets), (0, 0, 0, 0));
        assert!(received >= 384, "{received}");
        assert_eq!(chip.resets(), 1);
        assert_eq!(disk.one_way().unwrap().code, "ahci-read-only");
        assert_eq!(disk.label(), "Fake SN, AHCI 1.301, 2000 x 512");
    });
}

#[test]
fn blocks_are_read_to_wherever_the_bytes_lie() {
    with_disk(|_, disk| {
        for at in [0, 1, 2, 3, 64, 401, PAGE_SIZE - 4, PAGE_SIZE - 511] {
            let mut lent = OwnedSlice::from(vec![0; 8 << 10]);
            disk.fill(lent.select(at..at + 1024), at).unwrap();
            let (record, back) = disk.send(lent.into()).unwrap();
            assert_eq!((record.len, back.len(), record.dma.0 % 2), (1024, 1024, 0));
            let mut again = Vec::new();
            assert_eq!(fetch(disk, &mut again), Ok(1024));
            assert!(again == back[..]);
        }
    });
}

#[test]
fn each_seed_has_a_place_of_its_own_with_something_to_tell_apart() {
    with_disk(|_, disk| {
        let mut seen = Vec::new();
        for seed in 0..100 {
            let bytes = filled(disk, 512, seed).unwrap();
            assert!(bytes.iter().any(|byte| *byte != bytes[0]), "{seed}");
            assert!(!seen.contains(&bytes), "{seed}");
            seen.push(bytes);
        }
        assert!(seen.iter().any(|bytes| bytes[..] == block(37)[..]), "the second seed's first try");
    });
}

#[test]
fn impossible_lengths_and_memory_that_was_not_filled_are_refused() {
    with_disk(|_, disk| {
        for len in [0, 1, 511, 513, MOST + 512] {
            assert_eq!(code(filled(disk, len, 0)), "ahci-length", "{len}");
        }
        assert_eq!(code(disk.send(vec![0; 512].into())), "ahci-not-filled");
        filled(disk, 512, 0).unwrap();
        assert_eq!(code(disk.send(vec![0; 1024].into())), "ahci-not-filled");
        assert_eq!(disk.traffic().resets, 0);
    });
}

#[test]
fn the_last_read_interrupts_and_acknowledging_ends_it_at_once() {
    with_disk(|chip, disk| {
        assert_eq!(disk.deliveries(), [Delivery::Msi, Delivery::Intx]);
        disk.enable_interrupts(Cause::RECEIVER);
        for seed in 0..40 {
            let bytes = filled(disk, 512, seed).unwrap();
            disk.send(bytes.into()).unwrap();
            assert!(!chip.interrupts(), "what is waited for does not interrupt");
            if seed % 2 == 0 {
                fetch(disk, &mut Vec::new()).unwrap();
                assert!(chip.interrupts());
                assert_eq!(disk.acknowledge(), Cause::RECEIVED);
            } else {
                disk.fetch(&[], &mut Vec::new()).unwrap();
                assert!((0..20).any(|_| disk.acknowledge() == Cause::RECEIVED));
                assert_eq!(disk.fetch(&[], &mut Vec::new()), Ok(Arrival::Back(512)));
            }
            assert!(!chip.interrupts(), "let go of");
            assert_eq!(disk.acknowledge(), Cause::empty());
        }
    });
}

#[test]
fn a_masked_controller_is_silent_and_what_was_held_back_comes_with_the_unmasking() {
    with_disk(|chip, disk| {
        trip(disk, 512, 1).unwrap();
        assert!(!chip.interrupts(), "masked from the start");
        disk.enable_interrupts(Cause::RECEIVER);
        assert!(chip.interrupts(), "held back");
        disk.enable_interrupts(Cause::empty());
        assert!(!chip.interrupts(), "masked");
        disk.enable_interrupts(Cause::RECEIVER);
        assert_eq!(disk.acknowledge(), Cause::RECEIVED);
        assert!(!chip.interrupts());
    });
}

#[test]
fn a_controller_that_never_interrupts_still_moves_blocks() {
    with_disk(|chip, disk| {
        disk.enable_interrupts(Cause::RECEIVER);
        chip.set_fault(Fault::Silent);
        (0..10).for_each(|seed| trip(disk, 512, seed).unwrap());
    });
}

#[test]
fn blocks_nobody_asked_for_give_way_to_the_next_and_count_as_lost() {
    with_disk(|_, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        assert_eq!(disk.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing), "begun");
        trip(disk, 1024, 2).unwrap();
        assert_eq!(disk.traffic().lost, 1);
        assert_eq!(disk.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing), "nothing was sent");
    });
}

#[test]
fn what_was_not_written_or_is_not_reported_is_told() {
    for (fault, told) in [
        (Fault::Lies(0), "dma-overreported"),
        (Fault::Lies(500), "dma-overreported"),
        (Fault::Short(0), "ahci-moved"),
        (Fault::Short(500), "ahci-moved"),
        (Fault::Underrun, "dma-overrun"),
    ] {
        with_disk(|chip, disk| {
            let bytes = filled(disk, 512, 1).unwrap();
            disk.send(bytes.clone().into()).unwrap();
            chip.set_fault(fault);
            assert_eq!(code(fetch(disk, &mut Vec::new())), told, "{fault:?}");
            chip.set_fault(Fault::None);
            let bytes = filled(disk, 512, 1).unwrap();
            chip.set_fault(fault);
            assert_eq!(code(disk.send(bytes.into())), told, "{fault:?}");
        });
    }
}

#[test]
fn a_wrong_byte_arrives_wrong() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.clone().into()).unwrap();
        chip.set_fault(Fault::CorruptByte(20));
        let mut back = Vec::new();
        fetch(disk, &mut back).unwrap();
        assert_eq!(back[20], bytes[20] ^ 0x10);
    });
}

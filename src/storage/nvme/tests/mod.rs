//! The driver over a controller that sees only what was mapped for it.

mod ending;
mod interrupts;

use super::*;
use crate::{
    addr::{BusAddr, PAGE_SIZE, PhysAddr},
    device::{Idle as _, ResetError, fake::TickingClock},
    dma::{
        Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    mm::translate::{Place, Translate},
    storage::fake::{FakeNvme, Fault, Kind, block},
};
use alloc::{boxed::Box, vec};

type Disk<'m> = Nvme<'m, &'m FakeNvme<'m>>;

/// Runs `test` on a started disk of this kind; afterwards everything must be back, and no address out of place.
fn with_kind(kind: Kind, test: impl FnOnce(&FakeNvme<'_>, &mut Disk<'_>)) {
    with_both(kind, test, |_, _| ());
}

/// Memory that is one run for a device, so that what lies across pages does not have to bounce.
#[derive(Debug)]
struct OneRun;

impl Translate for OneRun {
    fn place_of(&self, address: *const u8) -> Option<Place> {
        let at = address.addr() as u64;
        Some(Place { phys: PhysAddr(at), bus: BusAddr(at) })
    }
}

/// Runs `test`, and then `direct` on a disk that reaches all of the host's memory, so that nothing bounces any more.
fn with_both(
    kind: Kind,
    test: impl FnOnce(&FakeNvme<'_>, &mut Disk<'_>),
    direct: impl FnOnce(&FakeNvme<'_>, &mut Disk<'_>),
) {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeNvme::new(&machine, kind), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let mask = DmaMask::BITS_32;
    let narrow = Limits { mask, ..limits() };
    let device = dma::Device::new(&pool, &machine, narrow, Policy::Auto);
    let mut disk = Idle::reset(&chip, &clock).unwrap().start(device).unwrap();
    test(&chip, &mut disk);
    disk.dma = dma::Device::new(&pool, &OneRun, limits(), Policy::Direct);
    direct(&chip, &mut disk);
    for (bus, len) in chip.touched() {
        let given = disk.dma_ranges().iter().any(|range| range.covers(bus, len));
        assert!(given && mask.covers(bus, len), "{len} bytes at {bus} were never given");
    }
    chip.set_fault(Fault::None);
    disk.quiesce().ok();
    assert!(!chip.is_running() && !chip.interrupts());
    drop(disk);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    let changes_nothing = |&(queue, opcode)| {
        if queue == 0 { [1, 5, 6, 9, 10].contains(&opcode) } else { [2, 5].contains(&opcode) }
    };
    assert!(chip.opcodes().iter().all(changes_nothing));
}

fn with_disk(test: impl FnOnce(&FakeNvme<'_>, &mut Disk<'_>)) {
    with_kind(Kind::default(), test);
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

/// Blocks read, compared and read once more.
fn trip(disk: &mut Disk<'_>, len: usize, seed: usize) -> Result<(), Outcome> {
    let bytes = filled(disk, len, seed)?;
    disk.send(bytes.clone().into())?;
    let mut back = Vec::new();
    assert_eq!(fetch(disk, &mut back)?, len);
    assert!(back[..len] == bytes, "{len}");
    Ok(())
}

fn code<T: fmt::Debug>(result: Result<T, Outcome>) -> &'static str {
    result.unwrap_err().reason().code
}

#[test]
fn every_length_is_read_compared_and_read_again_through_the_pool() {
    with_disk(|chip, disk| {
        let lengths = disk.lengths();
        assert_eq!((lengths.min, lengths.max, lengths.step), (512, prp::MOST, 512));
        for (seed, len) in lengths.up_to(200).enumerate() {
            trip(disk, len, seed).unwrap();
        }
        let Traffic { sent, sent_bounced, received, lost, resets } = disk.traffic();
        assert_eq!((sent, sent_bounced, lost, resets), (128, 128, 0, 0));
        assert!(received >= 256, "{received}");
        assert_eq!((chip.enables(), disk.one_way()), (1, None));
        assert_eq!(disk.label(), "Fake SN 7, 1.4.0, namespace 3 of 2000 x 512");
    });
}

#[test]
fn blocks_are_compared_from_wherever_they_lie() {
    with_disk(|_, disk| {
        for at in [0, 1, 2, 3, 64, 401, PAGE_SIZE - 4, PAGE_SIZE - 511] {
            let mut lent = OwnedSlice::from(vec![0; 8 << 10]);
            disk.fill(lent.select(at..at + 1024), at).unwrap();
            let (record, back) = disk.send(lent.into()).unwrap();
            assert_eq!((record.len, back.len(), record.dma.0 % 4), (1024, 1024, 0));
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
fn the_controllers_own_limits_are_kept() {
    let kind = Kind { most: 1, blocks: 9, ..Kind::default() };
    with_kind(kind, |_, disk| {
        assert_eq!(disk.lengths(), Lengths { min: 512, max: 9 * 512, step: 512 });
        for (seed, len) in disk.lengths().up_to(9).enumerate() {
            trip(disk, len, seed).unwrap();
        }
    });
    with_kind(Kind { most: 2, ..Kind::default() }, |_, disk| {
        assert_eq!(disk.lengths().max, 16 << 10);
        trip(disk, 16 << 10, 3).unwrap();
    });
    // Two entries a queue: every command is at its end.
    let tight =
        Kind { capabilities: Kind::default().capabilities & !0xffff | 1, ..Kind::default() };
    with_kind(tight, |_, disk| (0..5).for_each(|seed| trip(disk, 512, seed).unwrap()));
    // Doorbells 16 bytes apart.
    let wide = Kind { capabilities: Kind::default().capabilities | 2 << 32, ..Kind::default() };
    with_kind(wide, |_, disk| trip(disk, 512, 1).unwrap());
}

#[test]
fn impossible_lengths_and_bytes_that_were_not_read_are_refused() {
    with_disk(|_, disk| {
        for len in [0, 1, 511, 513, prp::MOST + 512] {
            assert_eq!(code(filled(disk, len, 0)), "nvme-length", "{len}");
        }
        assert_eq!(code(disk.send(vec![0; 512].into())), "nvme-not-filled");
        filled(disk, 512, 0).unwrap();
        assert_eq!(code(disk.send(vec![0; 1024].into())), "nvme-not-filled");
    });
}

#[test]
fn a_controller_that_finds_another_byte_says_so() {
    with_disk(|chip, disk| {
        let mut bytes = filled(disk, 1024, 1).unwrap();
        bytes[777] ^= 1;
        let reason = disk.send(bytes.into()).unwrap_err().reason();
        assert_eq!(reason.code, "nvme-compare-failure");
        assert!(reason.detail.contains("1024 bytes"), "{reason}");
        trip(disk, 512, 2).unwrap();
        let bytes = filled(disk, 1024, 3).unwrap();
        chip.set_fault(Fault::CorruptByte(5));
        assert_eq!(code(disk.send(bytes.into())), "nvme-compare-failure");
        assert_eq!(disk.traffic().resets, 0);
    });
}

#[test]
fn a_controller_without_compare_writes_to_where_the_bytes_lie_and_says_so() {
    with_kind(Kind { compares: false, ..Kind::default() }, |chip, disk| {
        assert_eq!(disk.one_way().unwrap().code, "nvme-no-compare");
        for seed in 0..20 {
            let bytes = filled(disk, 1024, seed).unwrap();
            let mut lent = OwnedSlice::from(vec![0; 4096]);
            lent.select(5..1029).copy_from_slice(&bytes);
            let (record, back) = disk.send(lent.into()).unwrap();
            assert!(back[..] == bytes && record.bounced.is_some());
            let mut again = Vec::new();
            assert_eq!(fetch(disk, &mut again), Ok(1024));
            assert!(again == bytes);
        }
        let Traffic { sent, received, .. } = disk.traffic();
        assert_eq!(
            (sent, received),
            (0, 60),
            "nothing was read from memory, all was written thrice"
        );
        let bytes = filled(disk, 1024, 1).unwrap();
        chip.set_fault(Fault::Short(100));
        assert_eq!(code(disk.send(bytes.into())), "dma-overreported");
    });
}

#[test]
fn blocks_nobody_asked_for_give_way_to_the_next_and_count_as_lost() {
    with_disk(|_, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.clone().into()).unwrap();
        assert_eq!(disk.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing), "begun");
        trip(disk, 1024, 2).unwrap();
        assert_eq!(disk.traffic().lost, 1);
        assert_eq!(disk.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing), "nothing was sent");
    });
}

#[test]
fn what_is_reported_done_and_was_not_written_is_told() {
    for written in [0, 500] {
        with_disk(|chip, disk| {
            let bytes = filled(disk, 512, 1).unwrap();
            disk.send(bytes.into()).unwrap();
            chip.set_fault(Fault::Short(written));
            assert_eq!(code(fetch(disk, &mut Vec::new())), "dma-overreported", "{written}");
        });
    }
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        chip.set_fault(Fault::Underrun);
        assert_eq!(code(fetch(disk, &mut Vec::new())), "dma-overrun");
    });
}

/// A blank medium has the same bytes as memory that nobody wrote to, in which the controller must not be taken to have
/// read or written what it was told.
#[test]
fn zeros_are_only_believed_of_a_controller_that_can_tell_them_apart() {
    let blank = Kind { blank: true, ..Kind::default() };
    with_both(
        blank,
        |chip, disk| {
            for seed in 0..8 {
                trip(disk, 512, seed).unwrap();
            }
            let Traffic { sent, sent_bounced, resets, .. } = disk.traffic();
            assert_eq!((sent, sent_bounced, resets), (8, 8, 0), "once each, whatever it took");
            let bytes = filled(disk, 512, 1).unwrap();
            chip.set_fault(Fault::Elsewhere);
            assert_eq!(code(disk.send(bytes.clone().into())), "nvme-compare-blind");
            chip.set_fault(Fault::None);
            disk.send(bytes.into()).unwrap();
        },
        |chip, disk| {
            chip.set_fault(Fault::Elsewhere);
            let mut back = Vec::new();
            assert_eq!(fetch(disk, &mut back), Ok(512));
            assert!(back.iter().all(|byte| *byte == 0xff), "none of them is taken for the disk's");
        },
    );
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

#[test]
fn a_command_that_ends_with_an_error_says_which_and_how() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        chip.set_fault(Fault::Status(0x281));
        let reason = disk.send(bytes.clone().into()).unwrap_err().reason();
        assert_eq!(reason.code, "nvme-status");
        assert!(reason.detail.contains("Compare") && reason.detail.contains("type 2h, code 81h"));
        assert_eq!(code(filled(disk, 512, 1)), "nvme-status");
        chip.set_fault(Fault::None);
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        chip.set_fault(Fault::Status(0x80));
        let reason = fetch(disk, &mut Vec::new()).unwrap_err().reason();
        assert!(reason.detail.contains("Read") && reason.code == "nvme-status", "{reason}");
        chip.set_fault(Fault::None);
        trip(disk, 512, 2).unwrap();
        let Traffic { lost, resets, .. } = disk.traffic();
        assert_eq!((lost, resets), (2, 0), "what was read for good counts as lost");
    });
}

#[test]
fn a_completion_of_something_else_disables_the_controller_which_is_set_up_anew() {
    for fault in [Fault::Identifier(0), Fault::Queue(7), Fault::Head(0xffff)] {
        with_disk(|chip, disk| {
            disk.enable_interrupts(Cause::RECEIVER);
            let bytes = filled(disk, 512, 1).unwrap();
            chip.set_fault(fault);
            assert_eq!(code(disk.send(bytes.into())), "nvme-completion", "{fault:?}");
            assert!(!chip.is_running());
            chip.set_fault(Fault::None);
            trip(disk, 512, 2).unwrap();
            assert!(chip.interrupts(), "unmasked as before");
            assert_eq!((disk.traffic().resets, disk.traffic().lost, chip.enables()), (1, 1, 2));
        });
    }
}

//! When the controller interrupts: by its line or MSI, of which it has a mask, and by MSI-X, where the driver plays one.

use super::*;

#[test]
fn the_second_half_interrupts_and_acknowledging_ends_it_at_once() {
    with_disk(|chip, disk| {
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
    for how in [Delivery::Intx, Delivery::Msi] {
        with_disk(|chip, disk| {
            disk.deliver(how).unwrap();
            assert_eq!(chip.enables(), 1 + usize::from(how != Delivery::Intx), "if it is another");
            trip(disk, 512, 1).unwrap();
            assert!(!chip.interrupts(), "masked from the start");
            // What is waited for takes nothing of it.
            filled(disk, 512, 2).unwrap();
            disk.enable_interrupts(Cause::RECEIVER);
            assert!(chip.interrupts(), "held back");
            disk.enable_interrupts(Cause::empty());
            assert!(!chip.interrupts(), "masked");
            disk.enable_interrupts(Cause::RECEIVER);
            assert_eq!(disk.acknowledge(), Cause::RECEIVED);
            assert!(!chip.interrupts());
        });
    }
}

#[test]
fn a_controller_that_never_interrupts_still_moves_blocks() {
    with_disk(|chip, disk| {
        disk.enable_interrupts(Cause::RECEIVER);
        chip.set_fault(Fault::Silent);
        (0..40).for_each(|seed| trip(disk, 512, seed).unwrap());
    });
}

#[test]
fn an_error_met_while_acknowledging_is_told_by_the_next_look() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
        chip.set_fault(Fault::Identifier(0));
        assert!((0..20).any(|_| disk.acknowledge() == Cause::ERROR));
        assert_eq!(code(disk.fetch(&[], &mut Vec::new())), "nvme-completion");
        assert_eq!(disk.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
        chip.set_fault(Fault::None);
        trip(disk, 512, 2).unwrap();
    });
}

fn with_msix(test: impl FnOnce(&FakeNvme<'_>, &mut Disk<'_>)) {
    with_disk(|chip, disk| {
        disk.enable_interrupts(Cause::empty());
        chip.use_msix();
        disk.deliver(Delivery::Msix).unwrap();
        disk.enable_interrupts(Cause::RECEIVER);
        test(chip, disk);
    });
}

/// Messages that `job` brings.
fn messages(chip: &FakeNvme<'_>, job: impl FnOnce()) -> usize {
    let before = chip.messages();
    job();
    chip.messages() - before
}

/// Looks at the controller, so that it goes on, until it was acknowledged for something.
fn acknowledged(disk: &mut Disk<'_>) -> bool {
    (0..20).any(|_| disk.acknowledge() == Cause::RECEIVED)
}

#[test]
fn a_transfer_brings_one_message() {
    with_msix(|chip, disk| {
        assert_eq!(disk.deliveries(), Delivery::LADDER);
        for seed in 0..40 {
            let came = messages(chip, || trip(disk, 512, seed).unwrap());
            assert_eq!(came, 1, "{seed}");
            assert!(disk.acknowledge() == Cause::RECEIVED && !chip.interrupts());
            assert_eq!(disk.acknowledge(), Cause::empty());
        }
        assert_eq!(disk.traffic().lost, 0);
    });
}

#[test]
fn no_message_comes_while_masked_and_what_was_held_back_brings_one() {
    with_msix(|chip, disk| {
        for seed in 0..40 {
            disk.enable_interrupts(Cause::empty());
            assert_eq!(messages(chip, || trip(disk, 512, seed).unwrap()), 0, "masked");
            let unmasked = messages(chip, || {
                disk.enable_interrupts(Cause::RECEIVER);
                assert!(acknowledged(disk));
            });
            assert_eq!(unmasked, 1);
            assert_eq!(disk.acknowledge(), Cause::empty());
        }
        assert!(chip.opcodes().contains(&(0, 10)));
        let Traffic { lost, resets, .. } = disk.traffic();
        assert_eq!((lost, resets), (0, 0));
    });
}

#[test]
fn what_was_acknowledged_while_masked_brings_no_message() {
    with_msix(|chip, disk| {
        disk.enable_interrupts(Cause::empty());
        trip(disk, 512, 1).unwrap();
        assert_eq!(disk.acknowledge(), Cause::RECEIVED);
        let came = messages(chip, || {
            disk.enable_interrupts(Cause::RECEIVER);
            assert!(!acknowledged(disk));
        });
        assert_eq!(came, 0);
    });
}

/// Masks the disk while its command is under way that is to interrupt for blocks, or while the blocks come.
fn mask_early(disk: &mut Disk<'_>, ring: bool) {
    if ring {
        fetch(disk, &mut Vec::new()).unwrap();
        disk.enable_interrupts(Cause::RECEIVER);
    } else {
        disk.fetch(&[], &mut Vec::new()).unwrap();
    }
    disk.enable_interrupts(Cause::empty());
}

#[test]
fn masking_waits_for_what_would_still_send_a_message() {
    with_msix(|chip, disk| {
        for ring in [false, true] {
            disk.enable_interrupts(if ring { Cause::empty() } else { Cause::RECEIVER });
            let bytes = filled(disk, 512, 1).unwrap();
            disk.send(bytes.into()).unwrap();
            let came = messages(chip, || mask_early(disk, ring));
            assert_eq!(came, 1, "{ring}");
            if !ring {
                fetch(disk, &mut Vec::new()).unwrap();
            }
            assert_eq!(messages(chip, || trip(disk, 512, 2).unwrap()), 0, "{ring}");
            let unmasked = messages(chip, || {
                disk.enable_interrupts(Cause::RECEIVER);
                assert!(acknowledged(disk));
            });
            assert_eq!(unmasked, 1, "{ring}");
        }
    });
}

#[test]
fn what_was_not_acknowledged_before_the_masking_brings_a_message_after_it() {
    with_msix(|chip, disk| {
        for seen in [false, true] {
            let bytes = filled(disk, 512, 1).unwrap();
            disk.send(bytes.into()).unwrap();
            disk.fetch(&[], &mut Vec::new()).unwrap();
            if seen {
                fetch(disk, &mut Vec::new()).unwrap();
            }
            disk.enable_interrupts(Cause::empty());
            let unmasked = messages(chip, || {
                disk.enable_interrupts(Cause::RECEIVER);
                assert!(acknowledged(disk), "{seen}");
            });
            assert_eq!(unmasked, 1, "{seen}");
        }
    });
}

#[test]
fn a_controller_that_does_not_run_is_not_set_up_for_another_delivery() {
    with_disk(|chip, disk| {
        chip.set_fault(Fault::Identifier(0));
        assert_eq!(code(filled(disk, 512, 1)), "nvme-completion");
        chip.set_fault(Fault::None);
        disk.deliver(Delivery::Msi).unwrap();
        assert_eq!((chip.is_running(), chip.enables()), (false, 1));
        trip(disk, 512, 1).unwrap();
        disk.quiesce().unwrap();
        disk.deliver(Delivery::Intx).unwrap();
        assert_eq!(code(disk.prepare()), "device-stopped");
    });
}

#[test]
fn blocks_that_come_by_the_silent_queue_once_unmasked_bring_a_message_too() {
    with_msix(|chip, disk| {
        disk.enable_interrupts(Cause::empty());
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
        let came = messages(chip, || {
            disk.enable_interrupts(Cause::RECEIVER);
            fetch(disk, &mut Vec::new()).unwrap();
            assert!(acknowledged(disk));
        });
        assert_eq!(came, 1);
    });
}

#[test]
fn a_controller_set_up_anew_keeps_to_its_messages() {
    with_msix(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        chip.set_fault(Fault::Identifier(0));
        assert_eq!(code(disk.send(bytes.into())), "nvme-completion");
        chip.set_fault(Fault::None);
        trip(disk, 512, 2).unwrap();
        disk.acknowledge();
        assert_eq!(messages(chip, || trip(disk, 512, 3).unwrap()), 1);
        disk.enable_interrupts(Cause::empty());
        chip.set_fault(Fault::Halts);
        trip_halted(disk);
        disk.enable_interrupts(Cause::RECEIVER);
        chip.set_fault(Fault::None);
        trip(disk, 512, 4).unwrap();
    });
}

/// A command that the controller is stuck with.
fn trip_halted(disk: &mut Disk<'_>) {
    assert_eq!(code(filled(disk, 512, 1)), "nvme-timeout");
}

//! A disk that does not end what it began, is gone, or is none that the driver works with.

use super::*;
use crate::{
    arch::time::TimedOut,
    device::{Ended, ResetError, fake::guards},
    dma::MapError,
};

#[test]
fn a_command_that_ends_with_an_error_says_how_and_the_controller_is_set_up_anew() {
    for (fault, told, detail) in [
        (
            Fault::TaskFile(0x40),
            "ahci-task-file",
            "READ DMA EXT ended with status 0x51, error 0x40",
        ),
        (Fault::HostBus, "ahci-bus", "0x2"),
    ] {
        with_disk(|chip, disk| {
            disk.enable_interrupts(Cause::RECEIVER);
            let bytes = filled(disk, 512, 1).unwrap();
            chip.set_fault(fault);
            let reason = disk.send(bytes.into()).unwrap_err().reason();
            assert_eq!(reason.code, told);
            assert!(reason.detail.contains(detail), "{reason}");
            assert!(!chip.is_running());
            chip.set_fault(Fault::None);
            trip(disk, 512, 2).unwrap();
            assert!(chip.interrupts(), "unmasked as before");
            assert_eq!((disk.traffic().resets, disk.traffic().lost, chip.resets()), (1, 1, 2));
        });
    }
}

#[test]
fn an_error_met_while_acknowledging_is_told_by_the_next_look() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
        chip.set_fault(Fault::TaskFile(4));
        assert!((0..20).any(|_| disk.acknowledge() == Cause::ERROR));
        assert_eq!(code(disk.fetch(&[], &mut Vec::new())), "ahci-task-file");
        assert_eq!(disk.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
        chip.set_fault(Fault::None);
        trip(disk, 512, 2).unwrap();
    });
}

#[test]
fn a_command_that_is_never_done_ends_by_the_clock_and_resets_the_controller() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        chip.set_fault(Fault::Halts);
        let reason = disk.send(bytes.into()).unwrap_err().reason();
        assert_eq!(reason.code, "ahci-timeout");
        assert!(!chip.is_running() && reason.detail.contains("waited 1000"), "{reason}");
        chip.set_fault(Fault::None);
        trip(disk, 512, 2).unwrap();
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        chip.set_fault(Fault::Halts);
        assert_eq!(code(fetch(disk, &mut Vec::new())), "ahci-stuck");
        assert_eq!(code(filled(disk, 512, 1)), "ahci-timeout");
        chip.set_fault(Fault::None);
        trip(disk, 512, 3).unwrap();
        assert_eq!((disk.traffic().resets, disk.traffic().lost), (2, 2));
    });
}

#[test]
fn a_controller_is_stopped_in_order_for_good() {
    with_disk(|chip, disk| {
        trip(disk, 512, 1).unwrap();
        disk.quiesce().unwrap();
        assert!(!chip.is_running() && chip.was_stopped_in_order());
        assert_eq!(code(disk.send(vec![0; 512].into())), "device-stopped");
        assert_eq!(code(filled(disk, 512, 1)), "device-stopped");
        assert_eq!(code(disk.fetch(&[], &mut Vec::new())), "device-stopped");
        assert_eq!(disk.quiesce(), Ok(()));
    });
}

#[test]
fn a_controller_that_stays_on_keeps_its_memory() {
    for fault in [Fault::StaysOn, Fault::PortStaysOn] {
        with_disk(|chip, disk| {
            let bytes = filled(disk, 512, 1).unwrap();
            disk.send(bytes.into()).unwrap();
            disk.fetch(&[], &mut Vec::new()).unwrap();
            chip.set_fault(fault);
            assert_eq!(disk.quiesce().unwrap_err().code(), "device-reset-timeout");
            assert_eq!(code(filled(disk, 512, 1)), "device-reset-timeout");
            assert_eq!(code(disk.fetch(&[], &mut Vec::new())), "device-reset-timeout");
            assert_eq!(code(disk.prepare()), "device-reset-timeout");
            assert_eq!(disk.check_guards(), Ok(()));
        });
    }
}

#[test]
fn a_controller_that_is_gone_says_so_everywhere() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        chip.set_fault(Fault::Gone);
        assert_eq!(disk.acknowledge(), Cause::GONE);
        assert_eq!(code(disk.send(bytes.into())), "device-gone");
        assert_eq!(code(filled(disk, 512, 1)), "device-gone");
        assert_eq!(disk.acknowledge(), Cause::GONE);
        assert_eq!(disk.quiesce().unwrap_err().code(), "device-gone");
    });
}

/// Starts a disk; the code of what goes wrong. Everything must be back.
fn start(fault: Fault, later: Fault, pooled: bool) -> Result<(), &'static str> {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeAhci::new(&machine, &clock);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    if pooled {
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    }
    chip.set_master(false);
    chip.leave_running();
    chip.set_fault(fault);
    let idle = Idle::reset(&chip, &clock).map_err(|e| e.code());
    assert!(chip.touched().is_empty(), "its bus mastering is off");
    chip.set_master(true);
    let started = idle.and_then(|idle| {
        assert!(!chip.is_running());
        chip.set_fault(later);
        let device = dma::Device::new(&pool, &machine, idle.limits(), Policy::Force);
        idle.start(device).map(drop).map_err(|e| e.code())
    });
    assert!(pool.stats().in_flight == 0, "{:?}", pool.stats());
    started
}

#[test]
fn a_controller_in_any_state_is_reset_before_it_has_memory() {
    let start = |fault, later| start(fault, later, true);
    assert_eq!(start(Fault::None, Fault::None), Ok(()));
    assert_eq!(start(Fault::StaysOn, Fault::None), Err("device-reset-timeout"));
    assert_eq!(start(Fault::PortStaysOn, Fault::None), Err("device-reset-timeout"));
    assert_eq!(start(Fault::Gone, Fault::None), Err("device-gone"));
    for ports in [0, 1 << 31] {
        assert_eq!(start(Fault::Ports(ports), Fault::None), Err("device-unfit"), "{ports:#x}");
    }
    assert_eq!(start(Fault::None, Fault::NoLink), Err("device-empty"));
    assert_eq!(start(Fault::None, Fault::Busy), Err("device-empty"));
    assert_eq!(start(Fault::None, Fault::LosesLink(3)), Err("device-empty"));
    assert_eq!(start(Fault::None, Fault::LosesLink(1)), Ok(()), "the disk is at another");
    assert_eq!(start(Fault::None, Fault::Halts), Err("device-reset-timeout"));
    assert_eq!(start(Fault::None, Fault::TaskFile(4)), Err("device-command"));
    assert_eq!(start(Fault::None, Fault::HostBus), Err("device-unfit"));
    assert_eq!(start(Fault::None, Fault::BadSum), Err("device-unfit"));
    assert_eq!(start(Fault::None, Fault::Short(100)), Err("device-unfit"));
}

#[test]
fn firmware_is_asked_to_let_go_and_waited_for_if_it_says_to_be_busy() {
    assert_eq!(start(Fault::FirmwareBusy, Fault::None, true), Err("device-firmware"));
    assert_eq!(start(Fault::FirmwareSilent, Fault::FirmwareSilent, true), Ok(()));
    assert_eq!(start(Fault::NoHandoff, Fault::NoHandoff, true), Ok(()), "nobody to ask");
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeAhci::new(&machine, &clock);
    chip.set_fault(Fault::FirmwareSilent);
    for _ in 0..2 {
        assert!(Idle::reset(&chip, &clock).is_ok(), "asked for anew");
    }
}

#[test]
fn ports_behind_the_end_of_the_registers_are_left_alone() {
    // The disk is at the fourth port.
    for (size, expected) in
        [(0x17f, Err("device-bar-too-small")), (0x2ff, Err("device-empty")), (0x300, Ok(()))]
    {
        assert_eq!(start(Fault::Size(size), Fault::Size(size), true), expected, "{size:#x}");
    }
}

#[test]
fn each_reason_has_a_code_and_a_remedy() {
    let late = TimedOut { what: "x", after: Duration::ZERO };
    let (map, bus) = (MapError::Refused, BusAddr(0));
    let finish = FinishError::Overreported { written: 2, first: 1, len: 2, bus };
    for (error, code, words) in [
        (AhciError::Length { len: 1, block: 512, max: MOST }, "ahci-length", "report"),
        (AhciError::NotFilled, "ahci-not-filled", "report"),
        (map.into(), map.code(), map.remedy()),
        (finish.into(), finish.code(), finish.remedy()),
        (
            AhciError::TaskFile { opcode: Opcode::ReadDmaExt, status: 0x51, error: 4 },
            "ahci-task-file",
            "smartctl",
        ),
        (AhciError::Bus(1 << 29), "ahci-bus", "xl dmesg"),
        (AhciError::Moved { len: 512, moved: 0 }, "ahci-moved", "addresses"),
        (AhciError::NoDisk, "device-empty", "connect"),
        (AhciError::Late(late), "ahci-timeout", "bus mastering"),
        (ResetError::Gone.into(), ResetError::Gone.code(), ResetError::Gone.remedy()),
        (Ended.into(), Ended.code(), Ended.remedy()),
    ] {
        assert_eq!(error.code(), code);
        assert!(!words.is_empty() && error.remedy().contains(words), "{code}: {}", error.remedy());
    }
}

#[test]
fn a_disk_without_a_pool_says_so() {
    assert_eq!(start(Fault::None, Fault::None, false), Err("dma-no-pool"));
}

#[test]
fn the_controller_says_how_far_it_reaches() {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeAhci::new(&machine, &clock);
    assert_eq!(Idle::reset(&chip, &clock).unwrap().limits().mask, DmaMask::BITS_64);
    chip.set_narrow();
    let limits = Idle::reset(&chip, &clock).unwrap().limits();
    assert_eq!((limits.mask, limits.alignment.bytes()), (DmaMask::BITS_32, 2));
    assert_eq!(limits.max_len, 64 << 10);
}

#[test]
fn the_driver_has_its_name_and_waits_for_as_long_as_it_says() {
    with_disk(|_, disk| {
        assert_eq!((disk.name(), disk.patience()), ("ahci", Duration::from_secs(2)));
    });
}

#[test]
fn guards_can_be_looked_at_while_a_command_is_under_way() {
    with_disk(|chip, disk| {
        guards::tell_of_a_transfer_under_way(disk, 512, || chip.set_fault(Fault::Underrun));
    });
}

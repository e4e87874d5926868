//! A controller that does not end what it began, is gone, or is none that the driver works with.

use super::*;
use crate::{
    arch::time::TimedOut,
    device::{Ended, fake::guards, pattern::MISMATCH_REMEDY},
    dma::MapError,
};

#[test]
fn a_command_that_is_never_completed_ends_by_the_clock_and_resets_the_controller() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        chip.set_fault(Fault::Halts);
        let reason = disk.send(bytes.into()).unwrap_err().reason();
        assert_eq!(reason.code, "nvme-timeout");
        assert!(!chip.is_running() && reason.detail.contains("waited 500"), "{reason}");
        chip.set_fault(Fault::None);
        trip(disk, 512, 2).unwrap();
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        chip.set_fault(Fault::Halts);
        assert_eq!(code(fetch(disk, &mut Vec::new())), "nvme-stuck");
        assert_eq!(code(filled(disk, 512, 1)), "nvme-timeout");
        chip.set_fault(Fault::None);
        trip(disk, 512, 3).unwrap();
        assert_eq!((disk.traffic().resets, disk.traffic().lost), (2, 2));
    });
}

#[test]
fn a_controller_is_told_before_it_is_disabled_for_good() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
        disk.quiesce().unwrap();
        assert!(!chip.is_running());
        assert_eq!(chip.shutdowns(), 1);
    });
    with_disk(|chip, disk| {
        chip.set_fault(Fault::Identifier(0));
        assert_eq!(code(filled(disk, 512, 1)), "nvme-completion");
        disk.quiesce().unwrap();
        assert_eq!(chip.shutdowns(), 0, "it was disabled already");
    });
}

#[test]
fn a_controller_that_never_says_that_it_may_lose_power_is_disabled_all_the_same() {
    with_disk(|chip, disk| {
        chip.set_fault(Fault::NeverShutsDown);
        let error = disk.quiesce().unwrap_err();
        assert_eq!(error.code(), "device-shutdown-timeout");
        assert!(error.to_string().contains("5000 ms"), "{error}");
        assert!(!chip.is_running());
    });
    with_disk(|chip, disk| {
        chip.set_fault(Fault::Fatal);
        assert_eq!(disk.quiesce(), Ok(()), "one with a fatal error is not waited for");
        assert!(!chip.is_running());
    });
}

#[test]
fn a_fatal_error_disables_the_controller() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        chip.set_fault(Fault::Fatal);
        let reason = disk.send(bytes.into()).unwrap_err().reason();
        assert!(reason.code == "nvme-fatal" && reason.detail.contains("0x3"), "{reason}");
        assert_eq!(code(filled(disk, 512, 1)), "nvme-fatal", "it is none the better for it");
        chip.set_fault(Fault::None);
        trip(disk, 512, 2).unwrap();
    });
}

#[test]
fn a_controller_that_stays_on_keeps_its_memory() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
        chip.set_fault(Fault::StaysOn);
        assert_eq!(disk.quiesce().unwrap_err().code(), "device-reset-timeout");
        for _ in 0..2 {
            assert_eq!(code(filled(disk, 512, 1)), "device-reset-timeout");
            assert_eq!(code(disk.fetch(&[], &mut Vec::new())), "device-reset-timeout");
            assert_eq!(code(disk.prepare()), "device-reset-timeout");
        }
        assert_eq!(disk.check_guards(), Ok(()));
    });
}

#[test]
fn a_controller_that_is_gone_says_so_everywhere() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        chip.set_fault(Fault::Gone);
        assert_eq!(disk.acknowledge(), Cause::GONE);
        assert_eq!(code(disk.send(bytes.into())), "device-gone");
        assert_eq!(code(filled(disk, 512, 1)), "device-gone");
        assert_eq!(code(disk.fetch(&[], &mut Vec::new())), "device-gone");
        assert_eq!(disk.acknowledge(), Cause::GONE);
        assert_eq!(disk.quiesce().unwrap_err().code(), "device-gone");
    });
}

#[test]
fn a_quiesced_disk_refuses_everything_and_kept_nothing() {
    with_disk(|chip, disk| {
        let bytes = filled(disk, 512, 1).unwrap();
        disk.send(bytes.clone().into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
        disk.quiesce().unwrap();
        assert!(!chip.is_running());
        assert_eq!(code(disk.send(bytes.into())), "device-stopped");
        assert_eq!(code(filled(disk, 512, 1)), "device-stopped");
        assert_eq!(code(disk.fetch(&[], &mut Vec::new())), "device-stopped");
        assert_eq!(disk.quiesce(), Ok(()));
    });
}

/// Starts a disk that has a pool or none; the code of what goes wrong. Everything must be back.
fn start(kind: Kind, fault: Fault, later: Fault, pooled: bool) -> Result<(), &'static str> {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeNvme::new(&machine, kind), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    if pooled {
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    }
    let device = dma::Device::new(&pool, &machine, limits(), Policy::Force);
    chip.set_master(false);
    chip.leave_running();
    chip.set_fault(fault);
    let idle = Idle::reset(&chip, &clock).map_err(|e| e.code());
    assert!(chip.touched().is_empty(), "its bus mastering is off");
    chip.set_master(true);
    let started = idle.and_then(|idle| {
        assert!(!chip.is_running());
        chip.set_fault(later);
        idle.start(device).map(drop).map_err(|e| e.code())
    });
    assert!(pool.stats().in_flight == 0, "{:?}", pool.stats());
    started
}

#[test]
fn a_controller_in_any_state_is_disabled_before_it_has_memory() {
    let start = |fault, later| start(Kind::default(), fault, later, true);
    assert_eq!(start(Fault::None, Fault::None), Ok(()));
    assert_eq!(start(Fault::NeverReady, Fault::None), Ok(()), "on its way to ready for ever");
    assert_eq!(start(Fault::Fatal, Fault::None), Ok(()));
    assert_eq!(start(Fault::StaysOn, Fault::None), Err("device-reset-timeout"));
    assert_eq!(start(Fault::Gone, Fault::None), Err("device-gone"));
    assert_eq!(start(Fault::None, Fault::NeverReady), Err("device-reset-timeout"));
    assert_eq!(start(Fault::None, Fault::Fatal), Err("device-unfit"));
    assert_eq!(start(Fault::None, Fault::Halts), Err("device-reset-timeout"));
    assert_eq!(start(Fault::None, Fault::AdminStatus(2)), Err("device-command"));
    assert_eq!(start(Fault::None, Fault::Identifier(0)), Err("device-unfit"));
    for one in [7, 0x7_0000] {
        assert_eq!(start(Fault::None, Fault::Queues(one)), Err("device-lacks"));
    }
}

#[test]
fn a_controller_or_disk_that_the_driver_can_not_work_with_is_not_started() {
    let start = |kind, pooled| start(kind, Fault::None, Fault::None, pooled);
    let capabilities = Kind::default().capabilities;
    for wrong in [capabilities & !(1 << 37), capabilities | 1 << 48, capabilities & !0xffff] {
        let kind = Kind { capabilities: wrong, ..Kind::default() };
        assert_eq!(start(kind, true), Err("device-unfit"), "{wrong:#x}");
    }
    let far = Kind { capabilities: capabilities | 0xc << 32, ..Kind::default() };
    assert_eq!(start(far, true), Err("device-bar-too-small"));
    // Three pairs of queues, and the first doorbell behind 4 KiB of properties.
    for (registers, expected) in [(0x1017, Err("device-bar-too-small")), (0x1018, Ok(()))] {
        assert_eq!(start(Kind { registers, ..Kind::default() }, true), expected, "{registers:#x}");
    }
    assert_eq!(start(Kind { metadata: 8, ..Kind::default() }, true), Err("device-lacks"));
    assert_eq!(start(Kind { blocks: 0, ..Kind::default() }, true), Err("device-lacks"));
    assert_eq!(start(Kind::default(), false), Err("dma-no-pool"));
}

#[test]
fn a_reset_error_of_a_start_names_what_was_waited_for() {
    let late = TimedOut { what: "x", after: Duration::ZERO };
    let error = StartError::from(NvmeError::Late(late));
    assert_eq!(error, StartError::Reset(ResetError::Stuck(late)));
}

#[test]
fn each_reason_has_a_code_and_a_remedy() {
    let (len, dma, first) = (512, BusAddr(0), 1);
    let late = TimedOut { what: "x", after: Duration::ZERO };
    let map = MapError::Refused;
    let finish = FinishError::Overreported { written: 2, first: 1, len: 2, bus: dma };
    let lacks = StartError::Lacks("");
    for (error, code, words) in [
        (NvmeError::Length { len, block: 512, max: len }, "nvme-length", "report"),
        (NvmeError::NotFilled, "nvme-not-filled", "report"),
        (map.into(), map.code(), map.remedy()),
        (finish.into(), finish.code(), finish.remedy()),
        (NvmeError::Differs { len, dma, first }, "nvme-compare-failure", MISMATCH_REMEDY),
        (NvmeError::Blind { len, dma, first }, "nvme-compare-blind", MISMATCH_REMEDY),
        (
            NvmeError::Ended { opcode: Opcode::Read, status: Status(0x281) },
            "nvme-status",
            "smart-log",
        ),
        (
            NvmeError::Completion { what: "x", found: 1, expected: 2 },
            "nvme-completion",
            "addresses",
        ),
        (NvmeError::Queues(0), lacks.code(), lacks.remedy()),
        (NvmeError::Late(late), "nvme-timeout", "bus mastering"),
        (NvmeError::Fatal(2), "nvme-fatal", "xl dmesg"),
        (ResetError::Gone.into(), ResetError::Gone.code(), ResetError::Gone.remedy()),
        (Ended.into(), Ended.code(), Ended.remedy()),
    ] {
        assert_eq!(error.code(), code);
        assert!(!words.is_empty() && error.remedy().contains(words), "{code}: {}", error.remedy());
    }
}

#[test]
fn the_controller_says_how_far_it_reaches() {
    let limits = limits();
    assert_eq!((limits.mask, limits.alignment.bytes()), (DmaMask::BITS_64, 4));
    assert_eq!((limits.max_len, limits.keep_offset.bytes()), (prp::MOST, 4096));
}

#[test]
fn the_driver_has_its_name_and_waits_for_as_long_as_it_says() {
    with_disk(|_, disk| {
        assert_eq!((disk.name(), disk.patience()), ("nvme", Duration::from_secs(2)));
    });
}

#[test]
fn guards_can_be_looked_at_while_a_command_is_under_way() {
    with_disk(|chip, disk| {
        guards::tell_of_a_transfer_under_way(disk, 512, || chip.set_fault(Fault::Underrun));
    });
}

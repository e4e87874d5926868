//! A controller that does not end what it began, is gone, or is none that the driver works with.

use super::*;
use crate::{
    arch::time::TimedOut,
    device::{Ended, ResetError, pattern::MISMATCH_REMEDY},
    dma::MapError,
};

#[test]
fn commands_that_are_not_done_end_by_the_clock_and_the_controller_is_set_up_anew() {
    for fault in [Fault::Halts, Fault::Skips(7), Fault::StaysOff] {
        with_controller(|chip, controller| {
            controller.enable_interrupts(Cause::RECEIVER);
            let bytes = filled(controller, 256, 1).unwrap();
            chip.set_fault(fault);
            let reason = controller.send(bytes.clone().into()).unwrap_err().reason();
            assert_eq!(reason.code, "xhci-timeout", "{fault:?}");
            assert!(!chip.is_running() && reason.detail.contains("waited "), "{reason}");
            assert_eq!(controller.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
            chip.set_fault(Fault::None);
            trip(controller, 256, 2).unwrap();
            assert!(chip.interrupts(), "unmasked as before");
            let Traffic { lost, resets, .. } = controller.traffic();
            assert_eq!((lost, resets, chip.resets()), (1, 1, 2));
        });
    }
}

#[test]
fn a_controller_that_meets_an_error_of_the_bus_says_so() {
    with_controller(|chip, controller| {
        let bytes = filled(controller, 256, 1).unwrap();
        chip.set_fault(Fault::HostError);
        let reason = controller.send(bytes.into()).unwrap_err().reason();
        assert!(["xhci-status", "xhci-timeout"].contains(&reason.code), "{reason}");
        chip.set_fault(Fault::None);
        trip(controller, 256, 2).unwrap();
    });
}

#[test]
fn an_error_that_does_not_stop_the_controller_is_seen_too() {
    for (bit, name) in [(1 << 2, "HSE"), (1 << 12, "HCE")] {
        with_controller(|chip, controller| {
            let bytes = filled(controller, 256, 1).unwrap();
            chip.set_fault(Fault::Status(bit));
            let reason = controller.send(bytes.into()).unwrap_err().reason();
            assert_eq!(reason.code, "xhci-status", "{name}");
            chip.set_fault(Fault::None);
            trip(controller, 256, 2).unwrap();
        });
    }
}

#[test]
fn answers_nobody_asked_for_give_way_to_the_next_and_count_as_lost() {
    with_controller(|_, controller| {
        let bytes = filled(controller, 256, 1).unwrap();
        controller.send(bytes.into()).unwrap();
        trip(controller, 1024, 2).unwrap();
        assert_eq!(controller.traffic().lost, 1);
        assert_eq!(
            controller.fetch(&[], &mut Vec::new()),
            Ok(Arrival::Nothing),
            "nothing was sent"
        );
        let missed =
            controller.missing(&Sent { source: None, dma: BusAddr(7), len: 9, bounced: None });
        assert_eq!(missed.reason().code, "xhci-stuck");
        assert!(missed.reason().detail.contains("64 answers to 9 bytes"), "{}", missed.reason());
    });
}

#[test]
fn a_controller_is_stopped_for_good() {
    with_controller(|chip, controller| {
        trip(controller, 256, 1).unwrap();
        let bytes = filled(controller, 256, 2).unwrap();
        controller.quiesce().unwrap();
        assert!(!chip.is_running());
        assert_eq!(code(controller.send(bytes.into())), "device-stopped");
        assert_eq!(code(filled(controller, 256, 1)), "device-stopped");
        assert_eq!(code(controller.fetch(&[], &mut Vec::new())), "device-stopped");
        assert_eq!(code(controller.prepare()), "device-stopped");
        assert_eq!(controller.acknowledge(), Cause::empty());
        assert_eq!(controller.quiesce(), Ok(()));
    });
}

#[test]
fn a_controller_that_stays_on_keeps_its_memory() {
    for fault in [Fault::StaysOn, Fault::ResetsOn, Fault::NotReady] {
        with_controller(|chip, controller| {
            let bytes = filled(controller, 256, 1).unwrap();
            controller.send(bytes.clone().into()).unwrap();
            chip.set_fault(fault);
            assert_eq!(controller.quiesce().unwrap_err().code(), "device-reset-timeout");
            assert_eq!(code(filled(controller, 256, 1)), "device-reset-timeout");
            assert_eq!(code(controller.send(bytes.into())), "device-reset-timeout");
            assert_eq!(code(controller.fetch(&[], &mut Vec::new())), "device-reset-timeout");
            assert_eq!(code(controller.prepare()), "device-reset-timeout");
            assert_eq!(controller.check_guards(), Ok(()));
        });
    }
}

#[test]
fn a_controller_that_does_not_halt_gets_no_other_rings() {
    with_controller(|chip, controller| {
        trip(controller, 256, 1).unwrap();
        let bytes = filled(controller, 256, 2).unwrap();
        chip.set_fault(Fault::StaysOn);
        assert_eq!(code(controller.send(bytes.into())), "device-reset-timeout");
        assert!(chip.is_running());
    });
}

#[test]
fn a_controller_that_is_gone_says_so_everywhere() {
    with_controller(|chip, controller| {
        let bytes = filled(controller, 256, 1).unwrap();
        chip.set_fault(Fault::Gone);
        assert_eq!(controller.acknowledge(), Cause::GONE);
        assert_eq!(code(controller.send(bytes.into())), "device-gone");
        assert_eq!(code(filled(controller, 256, 1)), "device-gone");
        assert_eq!(controller.acknowledge(), Cause::GONE);
        assert_eq!(controller.quiesce().unwrap_err().code(), "device-gone");
    });
}

fn start(fault: Fault, pooled: bool) -> Result<(), &'static str> {
    start_at([0x40, 0x600, 0x800, 0x500], fault, pooled)
}

/// Resets and starts a controller that was left running, and whose registers begin at these places; the code of what goes
/// wrong. Everything must be back.
fn start_at(places: [usize; 4], fault: Fault, pooled: bool) -> Result<(), &'static str> {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeXhci::new(&machine, &clock);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    if pooled {
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    }
    chip.set_places(places);
    chip.set_master(false);
    chip.leave_running();
    chip.set_fault(fault);
    let idle = Idle::reset(&chip, &clock).map_err(|e| e.code());
    assert!(chip.touched().is_empty(), "its bus mastering is off");
    chip.set_master(true);
    let started = idle.and_then(|idle| {
        assert!(!chip.is_running() && !chip.has_firmware());
        let device = dma::Device::new(&pool, &machine, idle.limits(), Policy::Force);
        let mut controller = idle.start(device).map_err(|e| e.code())?;
        trip(&mut controller, 256, 1).map_err(|e| e.reason().code)
    });
    assert!(pool.stats().in_flight == 0, "{:?}", pool.stats());
    started
}

#[test]
fn a_controller_in_any_state_is_reset_before_it_has_memory() {
    assert_eq!(start(Fault::None, true), Ok(()));
    for fault in [Fault::StaysOn, Fault::ResetsOn, Fault::NotReady] {
        assert_eq!(start(fault, true), Err("device-reset-timeout"), "{fault:?}");
    }
    assert_eq!(start(Fault::Gone, true), Err("device-gone"));
    assert_eq!(start(Fault::PageSize(2), true), Err("device-lacks"));
}

#[test]
fn firmware_is_asked_to_let_go_of_the_controller_and_waited_for() {
    assert_eq!(start(Fault::Firmware, true), Err("device-firmware"));
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeXhci::new(&machine, &clock);
    chip.set_fault(Fault::Firmware);
    for _ in 0..2 {
        let asked = Idle::reset(&chip, &clock).map(drop).map_err(|error| error.code());
        assert_eq!(asked, Err("device-firmware"), "asked for anew");
    }
    // Lists that end in nothing, and one without what is looked for.
    for list in [0, 0xffff, 0x03ff, 0x0144] {
        let machine = FakeMachine::new(Frames::default());
        let clock = TickingClock::default();
        let chip = FakeXhci::new(&machine, &clock);
        chip.let_go();
        chip.set_fault(Fault::Capability(0x10, list << 16 | 1));
        assert!(Idle::reset(&chip, &clock).is_ok(), "{list:#x}");
    }
}

#[test]
fn registers_may_begin_behind_the_first_and_end_with_the_last() {
    for places in [
        [0x20, 0x600, 0x800, 0x500],
        [0x80, 0x20, 0x800, 0x500],
        [0x40, 0x600, 0x20, 0x500],
        [0x40, 0xfc0, 0x800, 0x500],
        [0x40, 0x600, 0xffc, 0x500],
        [0x40, 0x600, 0x800, 0xfe8],
    ] {
        assert_eq!(start_at(places, Fault::None, true), Ok(()), "{places:#x?}");
    }
}

#[test]
fn registers_that_are_where_none_can_be_are_not_looked_for() {
    for (at, value) in [
        (0x00, 0x0110_0000),
        (0x00, 0x0110_001c),
        (0x00, 0x0110_0021),
        (0x04, 0x0500_0100),
        (0x14, 0x0),
        (0x14, 0x1000),
        (0x14, 0xffff_fffc),
        (0x18, 0x0),
        (0x18, 0xfe0),
        (0x18, 0xffff_ffe0),
    ] {
        let told = start(Fault::Capability(at, value), true);
        assert_eq!(told, Err("device-unfit"), "{at:#x}: {value:#x}");
    }
    for at in [0x00, 0x04, 0x08, 0x10, 0x14, 0x18] {
        assert_eq!(start(Fault::Capability(at, u32::MAX), true), Err("device-gone"), "{at:#x}");
    }
}

#[test]
fn each_reason_has_a_code_and_a_remedy() {
    let late = TimedOut { what: "x", after: Duration::ZERO };
    let (map, bus) = (MapError::Refused, BusAddr(0));
    let finish = FinishError::Overreported { written: 2, first: 1, len: 2, bus };
    let event = Event::of(&[1; TRB]).unwrap();
    for (error, code, words) in [
        (XhciError::Length(1), "xhci-length", "report"),
        (XhciError::NotFilled, "xhci-not-filled", "report"),
        (map.into(), map.code(), map.remedy()),
        (finish.into(), finish.code(), finish.remedy()),
        (XhciError::Event { nth: 0, event }, "xhci-event", MISMATCH_REMEDY),
        (XhciError::Status(1), "xhci-status", "xl dmesg"),
        (XhciError::Late(late), "xhci-timeout", "bus mastering"),
        (ResetError::Gone.into(), ResetError::Gone.code(), ResetError::Gone.remedy()),
        (Ended.into(), Ended.code(), Ended.remedy()),
    ] {
        assert_eq!(error.code(), code);
        assert!(!words.is_empty() && error.remedy().contains(words), "{code}: {}", error.remedy());
    }
}

#[test]
fn a_controller_without_a_pool_says_so() {
    assert_eq!(start(Fault::None, false), Err("dma-no-pool"));
}

#[test]
fn the_controller_says_how_far_it_reaches() {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeXhci::new(&machine, &clock);
    assert_eq!(Idle::reset(&chip, &clock).unwrap().limits().mask, DmaMask::BITS_64);
    chip.set_narrow();
    let limits = Idle::reset(&chip, &clock).unwrap().limits();
    assert_eq!((limits.mask, limits.alignment.bytes()), (DmaMask::BITS_32, 64));
    assert_eq!(limits.max_len, 64 << 10);
    assert_eq!(limits.boundary.map(PowerOfTwo::bytes), Some(64 << 10));
}

#[test]
fn the_driver_has_its_name_and_waits_for_as_long_as_it_says() {
    with_controller(|_, controller| {
        assert_eq!((controller.name(), controller.patience()), ("xhci", Duration::from_secs(2)));
    });
}

#[test]
fn guards_can_be_looked_at_while_answers_wait() {
    with_controller(|chip, controller| {
        let bytes = filled(controller, 256, 1).unwrap();
        assert_eq!(controller.check_guards(), Ok(()));
        chip.set_fault(Fault::Stray(-1));
        controller.send(bytes.into()).unwrap();
        assert_eq!(controller.check_guards().unwrap_err().code(), "dma-overrun");
    });
}

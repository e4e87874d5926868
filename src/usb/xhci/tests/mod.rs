//! The driver over a controller that sees only what was mapped for it.

mod ending;
mod interrupts;

use super::*;
use crate::{
    addr::PAGE_SIZE,
    device::{Idle as _, fake::TickingClock, pattern::differs},
    dma::{
        Plan, Policy, Pool, Table,
        fake::{Balance, FakeMachine, Faulty, Frames},
    },
    usb::fake::{FakeXhci, XhciFault as Fault},
};
use alloc::{boxed::Box, vec};

type Controller<'m> = Xhci<'m, &'m FakeXhci<'m>>;

/// Runs `test` on a started controller; afterwards everything must be back, and no address out of place.
fn with_controller(test: impl FnOnce(&FakeXhci<'_>, &mut Controller<'_>)) {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let chip = FakeXhci::new(&machine, &clock);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let idle = Idle::reset(&chip, &clock).unwrap();
    let limits = Limits { mask: DmaMask::BITS_32, ..idle.limits() };
    let device = dma::Device::new(&pool, &machine, limits, Policy::Auto);
    let mut controller = idle.start(device).unwrap();
    test(&chip, &mut controller);
    for (bus, len) in chip.touched() {
        let given = controller.dma_ranges().iter().any(|range| range.covers(bus, len));
        assert!(given && limits.mask.covers(bus, len), "{len} bytes at {bus} were never given");
    }
    chip.set_fault(Fault::None);
    controller.quiesce().ok();
    assert!(!chip.is_running() && !chip.interrupts() && !chip.has_firmware());
    drop(controller);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

fn filled(controller: &mut Controller<'_>, len: usize, seed: usize) -> Result<Vec<u8>, Outcome> {
    let mut bytes = vec![0; len];
    controller.fill(&mut bytes, seed).map(|()| bytes)
}

/// Commands sent; what was read of them, as the controller says.
fn sent(controller: &mut Controller<'_>, bytes: &[u8]) -> Result<Vec<u8>, Outcome> {
    let (record, back) = controller.send(bytes.to_vec().into())?;
    assert_eq!((record.len, back.len()), (bytes.len(), bytes.len()));
    let mut answers = Vec::new();
    assert_eq!(controller.fetch(bytes, &mut answers)?, Arrival::Back(bytes.len()));
    Ok(answers)
}

/// Commands there and back.
fn trip(controller: &mut Controller<'_>, len: usize, seed: usize) -> Result<(), Outcome> {
    let bytes = filled(controller, len, seed)?;
    let answers = sent(controller, &bytes)?;
    assert_eq!(differs(&answers, &bytes), None, "{len}");
    Ok(())
}

fn code<T: fmt::Debug>(result: Result<T, Outcome>) -> &'static str {
    result.unwrap_err().reason().code
}

#[test]
fn every_length_is_answered_command_by_command() {
    for echoes in [false, true] {
        with_controller(|chip, controller| {
            if echoes {
                chip.set_echoes();
            }
            let lengths = controller.lengths();
            assert_eq!((lengths.min, lengths.max, lengths.step), (256, 4096, 16));
            let mut commands = 0;
            for (seed, len) in lengths.up_to(500).enumerate() {
                trip(controller, len, seed).unwrap();
                // The link is none; the one behind it is.
                commands += len / TRB;
            }
            assert_eq!(chip.commands(), commands);
            let Traffic { sent, sent_bounced, received, lost, resets } = controller.traffic();
            assert_eq!((sent, received, lost, resets), (241, 241, 0, 0));
            assert!(sent_bounced > 0);
            assert_eq!(chip.resets(), 1);
            assert_eq!(controller.one_way(), None);
            assert_eq!(controller.label(), "1.10, 5 ports, 40 slots, 3 scratchpads");
        });
    }
}

#[test]
fn commands_are_read_from_wherever_they_lie() {
    with_controller(|_, controller| {
        for at in [0, 1, 15, 16, 17, 401, PAGE_SIZE - 16, PAGE_SIZE - 255] {
            let mut lent = dma::OwnedSlice::from(vec![0; 8 << 10]);
            controller.fill(lent.select(at..at + 1024), at).unwrap();
            let (record, bytes) = controller.send(lent.into()).unwrap();
            assert_eq!((record.len, record.dma.0 % 16), (1024, 0));
            let mut back = Vec::new();
            assert_eq!(controller.fetch(&[], &mut back), Ok(Arrival::Back(1024)));
            assert_eq!(differs(&back, &bytes), None);
        }
    });
}

#[test]
fn nothing_is_sent_but_what_was_filled_last() {
    with_controller(|chip, controller| {
        for len in [0, 16, 240, 255, 257, 264, 4112] {
            assert_eq!(code(filled(controller, len, 0)), "xhci-length", "{len}");
        }
        assert_eq!(code(controller.send(vec![0; 256].into())), "xhci-not-filled");
        assert_eq!(code(controller.send(Vec::new().into())), "xhci-not-filled");
        let bytes = filled(controller, 512, 1).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(code(controller.send(other.into())), "xhci-not-filled", "{at}");
        }
        assert_eq!(code(controller.send(bytes[..256].to_vec().into())), "xhci-not-filled");
        assert_eq!((chip.commands(), controller.traffic().resets), (0, 0));
        assert_eq!(sent(controller, &bytes).map(|back| back == bytes), Ok(true));
    });
}

#[test]
fn a_command_that_was_read_wrong_comes_back_wrong() {
    with_controller(|chip, controller| {
        let bytes = filled(controller, 512, 3).unwrap();
        let blocks = bytes.as_chunks::<TRB>().0;
        for nth in 1..blocks.len() - 1 {
            chip.set_fault(Fault::ReadsTwice(nth));
            let back = sent(controller, &bytes).unwrap();
            let kind = |block: &Trb| block[13];
            let read = &back.as_chunks::<TRB>().0[nth];
            assert_eq!(kind(read), kind(&blocks[nth - 1]), "{nth}");
        }
        // A controller that names the slot shows more.
        chip.set_echoes();
        for nth in 1..blocks.len() - 1 {
            chip.set_fault(Fault::ReadsTwice(nth));
            let back = sent(controller, &bytes).unwrap();
            assert_eq!(back.as_chunks::<TRB>().0[nth], blocks[nth - 1], "{nth}");
        }
    });
}

#[test]
fn an_event_that_is_not_as_it_has_to_be_is_told() {
    for byte in 0..TRB {
        with_controller(|chip, controller| {
            let bytes = filled(controller, 512, 3).unwrap();
            sent(controller, &bytes).unwrap();
            chip.set_fault(Fault::CorruptByte(5 * TRB + byte));
            match (byte, sent(controller, &bytes)) {
                // The slot, of a command that has one.
                (15, Ok(back)) => assert_ne!(differs(&back, &bytes), None),
                (_, result) => {
                    let reason = result.unwrap_err().reason();
                    assert_eq!(reason.code, "xhci-event", "{byte}");
                    assert!(reason.detail.contains("event 5"), "{reason}");
                }
            }
        });
    }
    for wrong in [2, 9, 36] {
        with_controller(|chip, controller| {
            let bytes = filled(controller, 512, 3).unwrap();
            chip.set_fault(Fault::Code(wrong));
            let reason = sent(controller, &bytes).unwrap_err().reason();
            assert_eq!(reason.code, "xhci-event");
            assert!(reason.detail.contains(&format!("code {wrong}: 0x")), "{reason}");
            assert!(!chip.is_running());
            chip.set_fault(Fault::None);
            trip(controller, 512, 4).unwrap();
            assert_eq!((controller.traffic().resets, chip.resets()), (1, 2));
        });
    }
}

#[test]
fn an_event_too_many_is_told_by_the_next_transfer() {
    with_controller(|chip, controller| {
        chip.set_fault(Fault::OneMore);
        let bytes = filled(controller, 256, 3).unwrap();
        let told = match sent(controller, &bytes) {
            Ok(_) => code(sent(controller, &bytes)),
            Err(outcome) => outcome.reason().code,
        };
        assert!(["xhci-event", "dma-overrun"].contains(&told), "{told}");
    });
}

#[test]
fn what_is_written_beside_the_events_is_told() {
    // 16 answers, 5 ports and 2 blocks that stay free; behind them all are guard bytes.
    for offset in [-1, 16 * 21, 16 * 22, 16 * 22 + 15] {
        with_controller(|chip, controller| {
            let bytes = filled(controller, 256, 3).unwrap();
            sent(controller, &bytes).unwrap();
            chip.set_fault(Fault::Stray(offset));
            let first = sent(controller, &bytes).map(drop);
            chip.set_fault(Fault::None);
            let told = match first {
                Ok(()) => sent(controller, &bytes).map(drop),
                wrong => wrong,
            };
            assert_eq!(code(told), "dma-overrun", "{offset}");
            trip(controller, 256, 5).unwrap();
        });
    }
}

#[test]
fn a_change_at_each_port_is_passed_over_and_more_than_that_is_told() {
    with_controller(|chip, controller| {
        chip.set_fault(Fault::Ports(5));
        for len in (256..=4096).step_by(16) {
            trip(controller, len, len).unwrap();
        }
        assert_eq!(controller.acknowledge(), Cause::RECEIVED);
    });
    with_controller(|chip, controller| {
        chip.set_fault(Fault::Ports(8));
        let bytes = filled(controller, 512, 1).unwrap();
        let reason = sent(controller, &bytes).unwrap_err().reason();
        assert_eq!(reason.code, "xhci-event");
        assert!(reason.detail.contains("type 37, code 21"), "{reason}");
    });
}

#[test]
fn a_controller_has_as_many_scratchpads_as_it_wants() {
    for (count, held) in [(0, 2), (1, 2 + 1 + 2), (1023, 2 + 4 + 2 * 1023)] {
        let machine = FakeMachine::new(Frames::default());
        let clock = TickingClock::default();
        let chip = FakeXhci::new(&machine, &clock);
        chip.set_scratchpads(count);
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(8 << 20), &mut |_| {}).unwrap();
        let before = pool.stats().in_use;
        let idle = Idle::reset(&chip, &clock).unwrap();
        let device = dma::Device::new(&pool, &machine, idle.limits(), Policy::Force);
        let mut controller = idle.start(device).unwrap();
        let held_now = pool.stats().in_use - before;
        assert!(held_now.abs_diff(held) <= 2, "{count}: {held_now}");
        trip(&mut controller, 256, 1).unwrap();
        for (bus, len) in chip.touched() {
            assert!(controller.dma_ranges().iter().any(|range| range.covers(bus, len)), "{bus}");
        }
        drop(controller);
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    }
}

#[test]
fn what_was_shared_goes_back_if_there_is_no_more() {
    for nth in 0..6 {
        let machine = FakeMachine::new(Frames::default());
        let dry = Faulty::new(&machine).failing_acquire(nth);
        let clock = TickingClock::default();
        let chip = FakeXhci::new(&machine, &clock);
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &dry);
        let idle = Idle::reset(&chip, &clock).unwrap();
        let device = dma::Device::new(&pool, &machine, idle.limits(), Policy::Auto);
        let started = idle.start(device).map(drop).map_err(|error| error.code());
        // A page, the scratchpads' addresses, and those.
        assert_eq!(started, if nth < 5 { Err("dma-coherent-no-memory") } else { Ok(()) });
        let Balance { out, acquired, released, .. } = machine.balance();
        assert_eq!((out, acquired, acquired), (0, nth, released), "{nth}");
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    }
}

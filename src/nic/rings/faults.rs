//! Chips that lie, hang, halt and stay on.

use super::{
    bench::{failures, frame, is_split, on_each, shortest, to_us, with_card},
    chip::{RECEIVE, TRANSMIT},
};
use crate::{
    device::{Cause, ResetError},
    dma::{Plan, Policy},
    nic::{FRAME_MAX, ReceiveError, RingError, TransmitError, TxFailure, fake::played::Fault},
};
use alloc::vec::Vec;

/// Delivers one frame to a chip with a fault; the driver must refuse it and go on after.
fn refuses(fault: Fault, code: &str) {
    with_card(|chip, card| {
        let other = if is_split(card) { Fault::Part } else { Fault::TooMany };
        if fault == other {
            return;
        }
        chip.deliver(&to_us(60, 1));
        let mut received = Vec::new();
        assert_eq!(card.receive(&mut received), Ok(Some(60)));
        chip.set_fault(fault);
        chip.deliver(&to_us(60, 2));
        assert_eq!(card.receive(&mut received).unwrap_err().code(), code, "{fault:?}");
        chip.set_fault(Fault::None);
        assert_eq!((card.counters().resets, chip.resets()), (1, 2));
        chip.deliver(&to_us(60, 3));
        assert_eq!(card.receive(&mut received), Ok(Some(60)), "after {fault:?}");
        assert!(received[..60] == to_us(60, 3));
    });
}

#[test]
fn a_lying_device_is_caught_and_started_anew() {
    for (fault, code) in [
        (Fault::Length(0), "nic-rx-length"),
        (Fault::Length(1519), "nic-rx-length"),
        (Fault::Length(u16::MAX), "nic-rx-length"),
        (Fault::Length(1000), "nic-rx-unwritten"),
        (Fault::Unwritten(0), "nic-rx-unwritten"),
        (Fault::Unwritten(52), "nic-rx-unwritten"),
        (Fault::Bad, "nic-rx-status"),
        (Fault::Part, "nic-rx-status"),
        (Fault::TooMany, "nic-rx-status"),
    ] {
        refuses(fault, code);
    }
}

#[test]
fn the_shortest_frame_is_taken_and_a_shorter_one_refused() {
    with_card(|chip, card| {
        let (shortest, mut received) = (shortest(card), Vec::new());
        chip.deliver(&to_us(shortest, 1));
        assert_eq!(card.receive(&mut received), Ok(Some(shortest)));
        chip.set_fault(Fault::Length(u16::try_from(shortest - 1).unwrap()));
        chip.deliver(&to_us(60, 2));
        assert_eq!(card.receive(&mut received).unwrap_err().code(), "nic-rx-length");
        chip.set_fault(Fault::None);
    });
}

/// The ring is gone round more than once before, so that a frame was in each buffer.
#[test]
fn a_frame_reported_and_not_written_is_told_in_each_buffer() {
    for before in RECEIVE..2 * RECEIVE {
        with_card(|chip, card| {
            let mut received = Vec::new();
            for i in 0..before {
                chip.deliver(&to_us(FRAME_MAX, i));
                assert_eq!(card.receive(&mut received), Ok(Some(FRAME_MAX)));
            }
            chip.set_fault(Fault::Unwritten(10 * (before - RECEIVE)));
            chip.deliver(&to_us(FRAME_MAX, before));
            let offset = before % RECEIVE * 16;
            let unwritten = RingError::Unwritten { length: FRAME_MAX, offset };
            assert_eq!(card.receive(&mut received), Err(ReceiveError::Ring(unwritten)));
        });
    }
}

#[test]
fn a_device_that_is_gone_says_so_everywhere() {
    with_card(|chip, card| {
        chip.set_fault(Fault::Gone);
        assert_eq!(card.acknowledge(), Cause::GONE);
        let lost = (0..2000).find_map(|_| card.receive(&mut Vec::new()).err());
        assert_eq!(lost, Some(ReceiveError::Lost(ResetError::Gone)), "within two milliseconds");
        assert_eq!(card.counters().rx_missed, 0, "all ones are no count");
        let unsent = card.transmit(frame(60, 0)).unwrap_err();
        assert_eq!((unsent.error.code(), unsent.frame.len()), ("device-gone", 60));
        assert!(!card.link_up());
        chip.set_fault(Fault::None);
    });
}

#[test]
fn a_frame_never_sent_ends_in_a_reset_that_frees_its_descriptor() {
    with_card(|chip, card| {
        chip.set_fault(Fault::NeverSend);
        for i in 0..TRANSMIT - 1 {
            assert!(card.has_room());
            card.transmit(frame(60, i)).unwrap();
        }
        assert!(!card.has_room());
        let full = card.transmit(frame(60, 4)).unwrap_err();
        assert_eq!((full.error.code(), card.in_flight()), ("nic-tx-full", TRANSMIT - 1));
        let error = loop {
            match card.reclaim() {
                Ok(frame) => assert_eq!(frame, None),
                Err(error) => break error,
            }
        };
        assert_eq!((error.code(), chip.resets()), ("nic-tx-timeout", 2));
        assert_eq!(card.counters().tx_dropped, TRANSMIT as u64 - 1);
        chip.set_fault(Fault::None);
        card.transmit_in_place(frame(60, 5).into()).unwrap();
        assert_eq!(chip.take_sent(), [frame(60, 5)]);
    });
}

#[test]
fn a_frame_given_up_is_an_error_and_needs_no_reset() {
    for wanted in [TxFailure::Aborted, TxFailure::LateCollision, TxFailure::Underrun] {
        with_card(|chip, card| {
            if !failures(card).contains(&wanted) {
                return;
            }
            chip.set_fault(Fault::SendFails(wanted));
            let error = card.transmit_in_place(frame(60, 0).into()).unwrap_err();
            assert!(
                matches!(error, TransmitError::Failed { failure, .. } if failure == wanted),
                "{error:?}"
            );
            assert_eq!((card.counters().tx_dropped, chip.resets()), (1, 1));
            chip.set_fault(Fault::None);
            card.transmit_in_place(frame(60, 1).into()).unwrap();
        });
    }
}

#[test]
fn a_device_that_does_not_stop_keeps_its_memory_until_it_does() {
    for fault in [Fault::NeverReset, Fault::StaysOn] {
        with_card(|chip, card| {
            card.transmit(frame(60, 0)).unwrap();
            chip.set_fault(fault);
            assert_eq!(card.quiesce().unwrap_err().code(), "device-reset-timeout");
            assert_eq!(card.receive(&mut Vec::new()).unwrap_err().code(), "device-reset-timeout");
            let unsent = card.transmit(frame(60, 0)).unwrap_err();
            assert_eq!(unsent.error.code(), "device-reset-timeout");
            chip.set_fault(Fault::None);
            card.quiesce().unwrap();
        });
    }
}

#[test]
fn a_write_before_a_buffer_shows_at_the_guards() {
    with_card(|chip, card| {
        chip.set_fault(Fault::Underrun);
        chip.deliver(&to_us(60, 0));
        assert_eq!(card.receive(&mut Vec::new()), Ok(Some(60)));
        assert_eq!(card.check_guards().unwrap_err().code(), "dma-overrun");
        assert_eq!(card.quiesce().unwrap_err().code(), "dma-overrun");
    });
}

#[test]
fn a_corrupt_byte_arrives_corrupt() {
    with_card(|chip, card| {
        chip.set_fault(Fault::CorruptByte(20));
        chip.deliver(&to_us(60, 0));
        let mut received = Vec::new();
        card.receive(&mut received).unwrap();
        assert_eq!(received[20], to_us(60, 0)[20] ^ 0x10);
    });
}

#[test]
fn a_chip_that_does_not_react_is_not_started_and_nothing_is_kept_for_it() {
    on_each(|bench| {
        let start = |fault, policy| {
            bench.chip.set_fault(fault);
            bench.start_with(policy).map(drop).unwrap_err().code()
        };
        assert_eq!(start(Fault::NeverReset, Policy::Auto), "device-reset-timeout");
        assert_eq!(start(Fault::StaysOn, Policy::Auto), "device-reset-timeout");
        assert_eq!(start(Fault::NoAddress, Policy::Auto), "device-unfit");
        assert_eq!(start(Fault::GroupAddress, Policy::Auto), "device-unfit");
        assert_eq!(start(Fault::Gone, Policy::Auto), "device-gone");
        assert_eq!(start(Fault::None, Policy::Auto), "dma-no-pool");
        // Room for the rings and for some of the buffers.
        let plan = Plan { floor: 4096, ..Plan::new(64 << 10) };
        bench.pool.start(&plan, &mut |_| {}).unwrap();
        assert_eq!(start(Fault::None, Policy::Force), "dma-exhausted");
        assert!(bench.pool.stats().is_balanced(), "{:?}", bench.pool.stats());
    });
}

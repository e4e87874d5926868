//! A chip that lies, drops, aborts and goes: what the driver says, and that it goes on.

use super::{
    tests::{frame, with_card},
    *,
};
use crate::{
    dma::Policy,
    nic::{FRAME_MAX, RingError, TxFailure, fake::Fault},
};

/// Delivers one broadcast frame to a chip with a fault; the driver must refuse it and go on after.
fn refuses(fault: Fault) -> ReceiveError {
    let mut error = None;
    with_card(Policy::Auto, |chip, card| {
        let broadcast = alloc::vec![0xff; 60];
        chip.deliver(&broadcast);
        let mut received = Vec::new();
        assert_eq!(card.receive(&mut received), Ok(Some(60)));
        chip.set_fault(fault);
        chip.deliver(&broadcast);
        error = Some(card.receive(&mut received).unwrap_err());
        chip.set_fault(Fault::None);
        assert_eq!((card.counters().resets, chip.resets()), (1, 2));
        chip.deliver(&broadcast);
        assert_eq!(card.receive(&mut received), Ok(Some(60)), "after {fault:?}");
    });
    error.unwrap()
}

#[test]
fn a_lying_device_is_caught_and_started_anew() {
    for (fault, code) in [
        (Fault::Length(0), "nic-rx-length"),
        (Fault::Length(63), "nic-rx-length"),
        (Fault::Length(1523), "nic-rx-length"),
        (Fault::Length(u16::MAX), "nic-rx-length"),
        (Fault::Length(1000), "nic-rx-truncated"),
        (Fault::Length(0xfff0), "nic-rx-truncated"),
        (Fault::Status(0), "nic-rx-status"),
        (Fault::Status(0xffff), "nic-rx-status"),
        (Fault::Position(0xfffc), "nic-rx-position"),
        (Fault::Unwritten(4), "nic-rx-unwritten"),
        (Fault::Unwritten(60), "nic-rx-unwritten"),
    ] {
        assert_eq!(refuses(fault).code(), code, "{fault:?}");
    }
}

/// The ring is gone round more than once before, so that a frame was at every place.
#[test]
fn a_frame_reported_and_not_written_is_told_wherever_it_lies() {
    for before in 45..65 {
        with_card(Policy::Auto, |chip, card| {
            let mut received = Vec::new();
            let broadcast = alloc::vec![0xff; FRAME_MAX];
            for _ in 0..before {
                chip.deliver(&broadcast);
                assert_eq!(card.receive(&mut received), Ok(Some(FRAME_MAX)));
            }
            chip.set_fault(Fault::Unwritten(4 + 10 * before));
            chip.deliver(&broadcast);
            let offset = before * (4 + FRAME_MAX + 4).next_multiple_of(4) % ring::RING;
            let unwritten = RingError::Unwritten { length: FRAME_MAX + 4, offset };
            let error = card.receive(&mut received);
            assert_eq!(error, Err(ReceiveError::Ring(unwritten)), "after {before}");
        });
    }
}

#[test]
fn a_device_that_is_gone_says_so_everywhere() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::Gone);
        assert_eq!(card.acknowledge(), Cause::GONE);
        let error = card.receive(&mut Vec::new()).unwrap_err();
        assert_eq!(error, ReceiveError::Lost(ResetError::Gone));
        assert_eq!(card.counters().rx_missed, 0, "all ones are no count");
        let unsent = card.transmit(frame(60, 0)).unwrap_err();
        assert_eq!((unsent.error.code(), unsent.frame.len()), ("device-gone", 60));
        assert!(!card.link_up());
        chip.set_fault(Fault::None);
    });
}

#[test]
fn a_frame_never_sent_ends_in_a_reset_that_frees_its_slot() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::NeverSend);
        for i in 0..4 {
            card.transmit(frame(60, i)).unwrap();
        }
        let full = card.transmit(frame(60, 4)).unwrap_err();
        assert_eq!((full.error, card.in_flight()), (TransmitError::Full { in_flight: 4 }, 4));
        assert_eq!(card.reclaim(), Ok(None));
        let stuck = card.transmit_in_place(frame(60, 5).into()).unwrap_err();
        assert_eq!(stuck.code(), "nic-tx-timeout");
        assert_eq!(card.counters().tx_dropped, 4);
        chip.set_fault(Fault::None);
        card.transmit_in_place(frame(60, 6).into()).unwrap();
        assert_eq!(chip.take_sent(), [frame(60, 6)]);
    });
}

#[test]
fn a_frame_given_up_is_an_error_with_its_status() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::SendStatus(LATE));
        card.transmit(frame(60, 0)).unwrap();
        let status = LATE | 60;
        let failed = TransmitError::Failed { failure: TxFailure::LateCollision, status };
        assert_eq!(card.reclaim(), Err(failed));
        assert_eq!(card.transmit_in_place(frame(60, 1).into()).unwrap_err(), failed);
        assert_eq!((card.counters().resets, card.counters().tx_dropped), (2, 2));
    });
}

const ABORTED: u32 = 1 << 13 | 1 << 30;
const LATE: u32 = 1 << 13 | 1 << 29;

#[test]
fn an_aborted_frame_and_those_behind_it_leave_once_the_transmitter_may_go_on() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::SendStatus(ABORTED));
        for i in 0..4 {
            card.transmit(frame(60, i)).unwrap();
        }
        chip.set_fault(Fault::None);
        assert_eq!(chip.take_sent().len(), 0, "the transmitter halts");
        assert_eq!(card.reclaim(), Ok(None));
        for i in 0..4 {
            assert_eq!(card.reclaim(), Ok(Some(frame(60, i))));
        }
        assert_eq!(chip.take_sent(), [0, 1, 2, 3].map(|i| frame(60, i)));
        let Counters { tx_retries, tx_dropped, resets, .. } = card.counters();
        assert_eq!((tx_retries, tx_dropped, resets), (1, 0, 0));
    });
}

#[test]
fn a_frame_aborted_again_and_again_ends_in_a_reset() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::SendStatus(ABORTED));
        card.transmit(frame(60, 0)).unwrap();
        let error = loop {
            match card.reclaim() {
                Ok(sent) => assert_eq!(sent, None),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "nic-tx-failed");
        assert_eq!((card.counters().tx_retries, card.counters().resets), (1, 1));
        chip.set_fault(Fault::None);
        card.transmit_in_place(frame(60, 1).into()).unwrap();
        assert_eq!(chip.take_sent(), [frame(60, 1)]);
    });
}

#[test]
fn queueing_and_reclaiming_alone_tell_of_a_frame_that_never_leaves() {
    fn first_error(mut attempt: impl FnMut() -> Result<(), TransmitError>) -> &'static str {
        loop {
            match attempt() {
                Ok(()) | Err(TransmitError::Full { .. }) => {}
                Err(error) => return error.code(),
            }
        }
    }
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::NeverSend);
        card.transmit(frame(60, 0)).unwrap();
        assert_eq!(first_error(|| card.reclaim().map(drop)), "nic-tx-timeout");
        let full = first_error(|| card.transmit(frame(60, 0)).map_err(|unsent| unsent.error));
        assert_eq!(full, "nic-tx-timeout");
        assert_eq!((card.counters().resets, card.counters().tx_dropped), (2, 5));
    });
}

#[test]
fn a_write_before_the_buffer_shows_at_the_guards() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::Underrun);
        chip.deliver(&[0xff; 60]);
        assert_eq!(card.receive(&mut Vec::new()), Ok(Some(60)));
        assert_eq!(card.check_guards().unwrap_err().code(), "dma-overrun");
        assert_eq!(card.quiesce().unwrap_err().code(), "dma-overrun");
    });
}

#[test]
fn a_corrupt_byte_arrives_corrupt() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::CorruptByte(20));
        chip.deliver(&[0xff; 60]);
        let mut received = Vec::new();
        card.receive(&mut received).unwrap();
        assert_eq!(received[20], 0xef);
    });
}

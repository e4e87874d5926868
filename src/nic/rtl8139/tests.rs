//! The driver over a chip that sees only what was mapped for it.

use super::*;
use crate::{
    device::{Idle as _, Via, fake::TickingClock},
    dma::{
        Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    nic::{
        FRAME_MAX, FRAME_MIN,
        fake::{FakeRtl8139, Fault},
    },
};
use alloc::boxed::Box;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

pub(super) type Card<'m> = Rtl8139<'m, &'m FakeRtl8139<'m>>;

/// Runs `test` on a started card; afterwards everything must be back, and no address out of place.
pub(super) fn with_card(policy: Policy, test: impl FnOnce(&FakeRtl8139<'_>, &mut Card<'_>)) {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeRtl8139::new(&machine, MAC), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let device = dma::Device::new(&pool, &machine, limits(), policy);
    let mut card = Idle::reset(&chip, &clock).unwrap().start(device).unwrap();
    test(&chip, &mut card);
    for (bus, len) in chip.touched() {
        let given = card.dma_ranges().iter().any(|range| range.covers(bus, len));
        assert!(given, "{len} bytes at {bus} were never given");
    }
    card.quiesce().ok();
    assert!(!chip.is_running());
    drop(card);
    assert_eq!(pool.stats().in_use, 0, "slots kept");
}

pub(super) fn frame(len: usize, seed: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i * 7 + seed * 31 + len) % 251).unwrap();
    let mut frame: Vec<u8> = (0..len).map(byte).collect();
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame
}

#[test]
fn every_length_comes_back_from_loopback_through_the_pool() {
    with_card(Policy::Auto, |_, card| {
        card.set_loopback(true).unwrap();
        let mut received = Vec::new();
        for len in FRAME_MIN..=FRAME_MAX {
            let sent = frame(len, len);
            card.transmit(sent.clone()).unwrap();
            let n = card.receive(&mut received).unwrap().unwrap();
            assert!(received[..n] == sent, "{len}");
            assert_eq!(card.reclaim().unwrap(), Some(sent));
            let tx = card.last_tx().unwrap();
            assert!(tx.dma.0 >> 32 == 0 && tx.source.unwrap().bus.0 >> 32 != 0, "{tx:?}");
        }
        let counters = card.counters();
        let all = (FRAME_MAX - FRAME_MIN + 1) as u64;
        assert_eq!((counters.tx_frames, counters.rx_frames), (all, all));
        assert_eq!((counters.tx_bounced, counters.rx_bounced), (all, all));
        assert!(card.dma_ranges().iter().all(|range| range.via == Via::Pool));
        assert_eq!(card.receive(&mut received), Ok(None));
    });
}

#[test]
fn a_lent_frame_is_sent_from_where_it_lies() {
    with_card(Policy::Auto, |chip, card| {
        let bytes = frame(2000, 1);
        card.transmit(frame(100, 2)).unwrap();
        for at in [0, 1, 3, 64, 401] {
            let mut lent = dma::OwnedSlice::from(bytes.clone());
            lent.select(at..at + 1514);
            let (record, back) = card.transmit_in_place(lent.into()).unwrap();
            assert_eq!((record.len, back.into_vec().unwrap()), (1514, bytes.clone()));
            assert_eq!(chip.take_sent().last().unwrap(), &bytes[at..at + 1514]);
        }
        assert_eq!(card.reclaim().unwrap(), Some(frame(100, 2)));
        assert_eq!(card.in_flight(), 0);
        let short = card.transmit_in_place(frame(59, 0).into());
        assert_eq!(short.unwrap_err().code(), "nic-frame-length");
    });
}

#[test]
fn short_frames_are_padded_with_zeros_and_impossible_ones_refused() {
    with_card(Policy::Force, |chip, card| {
        card.transmit(alloc::vec![0xee; 14]).unwrap();
        let sent = chip.take_sent();
        assert_eq!(sent[0].len(), FRAME_MIN);
        assert!(sent[0][14..].iter().all(|&byte| byte == 0));
        for len in [0, 13, 1515] {
            let unsent = card.transmit(alloc::vec![0; len]).unwrap_err();
            assert_eq!((unsent.error.code(), unsent.frame.len()), ("nic-frame-length", len));
        }
    });
}

#[test]
fn a_burst_longer_than_the_ring_is_held_back_and_arrives_whole() {
    with_card(Policy::Auto, |chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        let mut sent: Vec<_> = (0..100).map(|i| frame(60 + i * 14, i)).collect();
        for frame in &mut sent {
            frame[..6].copy_from_slice(&MAC);
            chip.deliver(frame);
        }
        let before = chip.accesses();
        let mut received = Vec::new();
        for frame in &sent {
            let n = card.receive(&mut received).unwrap().unwrap();
            assert!(received[..n] == *frame);
        }
        assert_eq!(card.receive(&mut received), Ok(None));
        assert_eq!(card.counters().rx_missed, 0);
        assert!(chip.accesses() - before < 50, "{} exits", chip.accesses() - before);
    });
}

#[test]
fn frames_held_back_before_a_reset_arrive_after_it() {
    with_card(Policy::Auto, |chip, card| {
        let mut frame = frame(1514, 0);
        frame[..6].copy_from_slice(&[0xff; 6]);
        (0..25).for_each(|_| chip.deliver(&frame));
        // Less than a frame's room is left, yet enough for QEMU to try: that frame finds none.
        (0..20).for_each(|_| chip.deliver(&frame[..60]));
        card.set_loopback(false).unwrap();
        let mut received = 0;
        while card.receive(&mut frame).unwrap().is_some() {
            received += 1;
        }
        assert!(received > 20, "{received}");
    });
}

#[test]
fn frames_for_others_are_not_received() {
    with_card(Policy::Auto, |chip, card| {
        chip.deliver(&frame(60, 0));
        assert_eq!(card.receive(&mut Vec::new()), Ok(None));
    });
}

#[test]
fn a_lost_frame_is_counted_where_overflow_may_interrupt() {
    with_card(Policy::Auto, |chip, card| {
        card.enable_interrupts(Cause::RECEIVER | Cause::OVERFLOW);
        let mut frame = frame(1514, 0);
        frame[..6].copy_from_slice(&[0xff; 6]);
        (0..30).for_each(|_| chip.deliver(&frame));
        assert!(chip.interrupts());
        assert!(card.acknowledge().contains(Cause::RECEIVED | Cause::OVERFLOW));
        assert!(!chip.interrupts());
        assert!(card.acknowledge().is_empty());
        assert_eq!(card.counters().interrupts, 1);
        let mut received = 0;
        while card.receive(&mut frame).unwrap().is_some() {
            received += 1;
        }
        assert_eq!(received + card.counters().rx_missed, 30);
    });
}

#[test]
fn an_acknowledged_or_masked_device_lets_go_of_its_line_at_once() {
    with_card(Policy::Auto, |chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        chip.deliver(&[0xff; 60]);
        assert!(chip.interrupts());
        card.enable_interrupts(Cause::empty());
        assert!(!chip.interrupts(), "masked");
        card.enable_interrupts(Cause::RECEIVER);
        assert!(chip.interrupts());
        assert_eq!(card.acknowledge(), Cause::RECEIVED);
        assert!(!chip.interrupts(), "acknowledged");
    });
}

#[test]
fn a_quiesced_card_refuses_everything_and_kept_nothing() {
    with_card(Policy::Auto, |chip, card| {
        card.transmit(frame(60, 0)).unwrap();
        card.quiesce().unwrap();
        assert!(!chip.is_running());
        assert_eq!(card.transmit(frame(60, 0)).unwrap_err().error, Ended.into());
        assert_eq!(card.receive(&mut Vec::new()), Err(Ended.into()));
        assert_eq!(card.set_loopback(true), Err(Ended.into()));
        assert_eq!(card.quiesce(), Ok(()));
    });
}

#[test]
fn a_card_says_who_it_is_and_counts_what_it_missed_before_a_reset_or_was_told_of() {
    with_card(Policy::Auto, |chip, card| {
        assert_eq!((card.name(), card.label().as_str()), ("rtl8139", "52:54:00:12:34:56"));
        card.enable_interrupts(Cause::RECEIVER | Cause::OVERFLOW);
        let mut frame = frame(1514, 0);
        frame[..6].copy_from_slice(&[0xff; 6]);
        (0..30).for_each(|_| chip.deliver(&frame));
        card.set_loopback(false).unwrap();
        let missed = card.counters().rx_missed;
        assert!(missed > 0);
        (0..30).for_each(|_| chip.deliver(&frame));
        card.set_loopback(false).unwrap();
        assert_eq!(card.counters().rx_missed, 2 * missed);
        (0..30).for_each(|_| chip.deliver(&frame));
        card.acknowledge();
        assert_eq!(card.counters().rx_missed, 3 * missed, "told by an interrupt");
        // An interrupt for nothing is none.
        let before = card.counters().interrupts;
        card.acknowledge();
        assert_eq!(card.counters().interrupts, before);
    });
}

#[test]
fn a_card_has_room_for_as_many_frames_as_it_has_slots() {
    with_card(Policy::Auto, |chip, card| {
        chip.set_fault(Fault::NeverSend);
        let sent = (0..9).take_while(|_| card.has_room() && card.transmit(frame(60, 0)).is_ok());
        assert_eq!(sent.count(), 4);
        assert!(!card.has_room());
        chip.set_fault(Fault::None);
    });
}

//! The drivers over chips that see only what was mapped for them.

use super::{
    LINK_LIMIT, LOOP_LIMIT, LOOP_TRIP,
    bench::{MAC, counts_missed, frame, to_us, with_card, with_pool},
    chip::{RECEIVE, TRANSMIT},
};
use crate::{
    arch::time::Clock as _,
    device::{Cause, Driver as _, Ended, Traffic, Via},
    dma::OwnedSlice,
    nic::{
        FRAME_MAX, FRAME_MIN, Loopback, Nic,
        fake::played::{Fault, Player},
    },
};
use alloc::{collections::BTreeSet, vec, vec::Vec};

#[test]
fn every_length_comes_back_from_loopback_through_the_pool() {
    with_card(|chip, card| {
        card.set_loopback(true).unwrap();
        let before = card.counters();
        let mut received = Vec::new();
        for len in FRAME_MIN..=FRAME_MAX {
            let sent = frame(len, len);
            card.transmit(sent.clone()).unwrap();
            chip.settle();
            let n = card.receive(&mut received).unwrap().unwrap();
            assert!(received[..n] == sent, "{len}");
            assert_eq!(card.reclaim().unwrap(), Some(sent));
            let tx = card.last_tx().unwrap();
            assert!(tx.dma.0 >> 32 == 0 && tx.source.unwrap().bus.0 >> 32 != 0, "{tx:?}");
        }
        let counters = card.counters();
        let all = (FRAME_MAX - FRAME_MIN + 1) as u64;
        assert_eq!(counters.tx_frames - before.tx_frames, all);
        assert_eq!(counters.rx_frames - before.rx_frames, all);
        assert_eq!((counters.tx_bounced, counters.rx_bounced), (all + 1, all + 1), "and a probe");
        assert!(card.dma_ranges().iter().all(|range| range.via == Via::Pool));
        assert_eq!(card.receive(&mut received), Ok(None));
    });
}

#[test]
fn a_lent_frame_is_sent_from_where_it_lies() {
    with_card(|chip, card| {
        let bytes = frame(2000, 1);
        card.transmit(frame(100, 2)).unwrap();
        for at in [0, 1, 3, 64, 401] {
            let mut lent = OwnedSlice::from(bytes.clone());
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
    with_card(|chip, card| {
        card.transmit(vec![0xee; 14]).unwrap();
        let sent = chip.take_sent();
        assert_eq!(sent[0].len(), FRAME_MIN);
        assert!(sent[0][14..].iter().all(|&byte| byte == 0));
        for len in [0, 13, 1515] {
            let unsent = card.transmit(vec![0; len]).unwrap_err();
            assert_eq!((unsent.error.code(), unsent.frame.len()), ("nic-frame-length", len));
        }
    });
}

#[test]
fn frames_go_round_both_rings_and_the_device_is_told_now_and_then() {
    with_card(|chip, card| {
        let mut received = Vec::new();
        let before = chip.accesses();
        for i in 0..4 * RECEIVE {
            chip.deliver(&to_us(60 + i, i));
            let n = card.receive(&mut received).unwrap().unwrap();
            assert!(received[..n] == to_us(60 + i, i), "{i}");
        }
        assert!(chip.accesses() - before <= 20, "{} exits", chip.accesses() - before);
        assert_eq!(card.counters().rx_missed, 0);
        for i in 0..4 * TRANSMIT {
            card.transmit_in_place(frame(60 + i, i).into()).unwrap();
            assert_eq!(chip.take_sent(), [frame(60 + i, i)]);
        }
    });
}

/// More frames than the ring has room for, three times.
fn overflow(chip: &dyn Player, card: &mut dyn Nic) {
    card.enable_interrupts(Cause::RECEIVER | Cause::OVERFLOW);
    let mut received = Vec::new();
    for round in 1..4 {
        (0..RECEIVE + 4).for_each(|i| chip.deliver(&to_us(60, i)));
        assert!(card.acknowledge().contains(Cause::RECEIVED | Cause::OVERFLOW));
        assert_eq!(card.counters().rx_missed, 5 * round);
        for i in 0..RECEIVE - 1 {
            let n = card.receive(&mut received).unwrap().unwrap();
            assert!(received[..n] == to_us(60, i));
        }
        assert_eq!(card.receive(&mut received), Ok(None));
        card.set_loopback(false).unwrap();
    }
}

#[test]
fn a_full_ring_loses_frames_which_are_counted_once() {
    // Some chips clear their count as it is read; QEMU's models of them don't.
    for fault in [Fault::None, Fault::CountKept] {
        with_card(|chip, card| {
            if counts_missed(card) {
                chip.set_fault(fault);
                overflow(chip, card);
            }
        });
    }
}

#[test]
fn a_ring_that_was_full_goes_on_once_there_is_room() {
    with_card(|chip, card| {
        (0..RECEIVE).for_each(|i| chip.deliver(&to_us(60, i)));
        let mut received = Vec::new();
        while card.receive(&mut received).unwrap().is_some() {}
        for i in 0..2 * RECEIVE {
            chip.deliver(&to_us(61, i));
            assert_eq!(card.receive(&mut received), Ok(Some(61)), "{i}");
        }
    });
}

#[test]
fn frames_for_others_are_not_received() {
    with_card(|chip, card| {
        chip.deliver(&frame(60, 0));
        assert_eq!(card.receive(&mut Vec::new()), Ok(None));
        chip.deliver(&[0xff; 60]);
        assert_eq!(card.receive(&mut Vec::new()), Ok(Some(60)), "for all");
    });
}

#[test]
fn the_link_is_told_as_it_is() {
    with_card(|chip, card| {
        assert!(card.link_up());
        chip.set_link(false);
        assert!(!card.link_up());
        chip.set_link(true);
        assert!(card.link_up());
    });
}

#[test]
fn a_masked_cause_is_silent_and_an_acknowledged_one_lets_go_of_its_line_at_once() {
    with_card(|chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        chip.deliver(&to_us(60, 0));
        assert!(chip.interrupts());
        card.enable_interrupts(Cause::empty());
        assert!(!chip.interrupts(), "masked");
        card.enable_interrupts(Cause::RECEIVER);
        if !card.holds_back() {
            assert!(!chip.interrupts());
            chip.deliver(&to_us(60, 1));
        }
        assert!(chip.interrupts());
        assert_eq!(card.acknowledge(), Cause::RECEIVED);
        assert!(!chip.interrupts(), "acknowledged");
        assert_eq!(card.counters().interrupts, 1);
    });
}

#[test]
fn a_card_in_loopback_holds_back_what_the_card_does() {
    let mut seen = BTreeSet::new();
    with_pool(|bench| {
        let card = bench.start().unwrap();
        let holds_back = card.holds_back();
        assert_eq!(Loopback::new(card).holds_back(), holds_back);
        seen.insert(holds_back);
    });
    assert_eq!(seen.len(), 2, "there are cards of both kinds");
}

#[test]
fn a_quiesced_card_refuses_everything_and_kept_nothing() {
    with_card(|chip, card| {
        card.transmit(frame(60, 0)).unwrap();
        card.quiesce().unwrap();
        assert!(!chip.is_running());
        assert_eq!(card.transmit(frame(60, 0)).unwrap_err().error, Ended.into());
        assert_eq!(card.receive(&mut Vec::new()), Err(Ended.into()));
        assert_eq!(card.set_loopback(true), Err(Ended.into()));
        assert_eq!(card.quiesce(), Ok(()));
        chip.set_fault(Fault::None);
    });
}

#[test]
fn a_card_says_what_and_who_it_is() {
    let mut names = Vec::new();
    with_pool(|bench| {
        let card = bench.start().unwrap();
        names.push(card.name());
        assert_eq!((card.mac(), card.label().as_str()), (MAC, "52:54:00:12:34:56"));
    });
    let intel = ["e1000", "e1000e", "igb", "igc"];
    let all = ["rtl8139-cplus", "rtl8168", "rtl8125", "pcnet", "pcnet", "virtio-net"];
    assert_eq!(names, [&intel[..], &all].concat());
}

#[test]
fn a_card_that_is_dropped_is_stopped_and_gives_everything_back() {
    with_pool(|bench| {
        let mut card = bench.start().unwrap();
        card.transmit(frame(60, 0)).unwrap();
        drop(card);
        assert!(!bench.chip.is_running());
        assert!(bench.pool.stats().is_balanced(), "{:?}", bench.pool.stats());
    });
}

#[test]
fn traffic_is_what_was_counted_and_frames_that_a_stop_takes_back_are_lost() {
    with_card(|chip, card| {
        card.transmit_in_place(frame(60, 0).into()).unwrap();
        chip.deliver(&to_us(60, 1));
        assert_eq!(card.receive(&mut Vec::new()), Ok(Some(60)));
        chip.set_fault(Fault::NeverSend);
        (0..3).for_each(|i| card.transmit(frame(60, i)).unwrap());
        card.quiesce().unwrap();
        let Traffic { sent, sent_bounced, received, lost, resets } = card.traffic();
        assert_eq!((sent, sent_bounced, received, lost, resets), (1, 4, 1, 3, 0));
        chip.set_fault(Fault::None);
    });
}

#[test]
fn what_was_missed_before_a_reset_is_counted() {
    with_card(|chip, card| {
        (0..RECEIVE + 4).for_each(|i| chip.deliver(&to_us(60, i)));
        card.set_loopback(false).unwrap();
        assert_eq!(card.counters().rx_missed, if counts_missed(card) { 5 } else { 0 });
    });
}

#[test]
fn a_loop_or_a_link_that_does_not_come_is_waited_for_and_no_error() {
    with_pool(|bench| {
        let mut card = bench.start().unwrap();
        let mut turn = |on| {
            let start = bench.clock.now();
            assert_eq!(card.set_loopback(on), Ok(()));
            bench.clock.now().since(start)
        };
        assert!(turn(true) < LOOP_TRIP, "the first frame came back");
        bench.chip.set_fault(Fault::CorruptByte(20));
        let took = turn(true);
        assert!(took >= LOOP_LIMIT && took < LOOP_LIMIT + 2 * LOOP_TRIP, "{took:?}");
        bench.chip.set_fault(Fault::None);
        assert!(turn(false) < LOOP_TRIP, "the link was there");
        bench.chip.set_link(false);
        let took = turn(false);
        assert!(took >= LINK_LIMIT && took < LINK_LIMIT + LOOP_TRIP, "{took:?}");
    });
}

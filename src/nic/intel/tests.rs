//! The driver over chips that see only what was mapped for them.

use super::super::{e1000, igb, rings::Idle};
use crate::{
    addr::DmaMask,
    device::{Cause, Driver as _, Ended, Idle as _, StartError, Via, fake::TickingClock},
    dma::{
        Device, Limits, OwnedSlice, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    nic::{
        FRAME_MAX, FRAME_MIN, Nic as _,
        fake::intel::{FakeIntel, Fault, Kind},
        rings::Card,
        rings::chip::RECEIVE,
    },
    pci::Delivery,
};
use alloc::{boxed::Box, vec, vec::Vec};

pub(super) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// A chip of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    I82540,
    I82574,
    Igb,
    Igc,
}

pub(super) const MODELS: [Model; 4] = [Model::I82540, Model::I82574, Model::Igb, Model::Igc];

impl Model {
    /// What plays it.
    pub(super) fn chip<'m>(self, machine: &'m FakeMachine, mac: [u8; 6]) -> FakeIntel<'m> {
        let kind = match self {
            Self::I82540 => Kind::I82540,
            Self::I82574 => Kind::I82574,
            Self::Igb => Kind::Igb,
            Self::Igc => Kind::Igc,
        };
        FakeIntel::new(machine, kind, mac)
    }

    pub(super) fn reset<'m>(
        self,
        chip: &'m FakeIntel<'m>,
        clock: &'m TickingClock,
    ) -> Result<Idle<'m>, StartError> {
        match self {
            Self::I82540 => e1000::reset(e1000::Model::I82540, chip, clock),
            Self::I82574 => e1000::reset(e1000::Model::I82574, chip, clock),
            Self::Igb => igb::reset(igb::Model::Igb, chip, clock),
            Self::Igc => igb::reset(igb::Model::Igc, chip, clock),
        }
    }
}

/// The machine's heap is out of a device's reach: everything bounces.
pub(super) const LIMITS: Limits = Limits::new(DmaMask::BITS_32);

/// Runs `test` on a started card of each model; afterwards everything must be back, and no address out of place.
pub(super) fn with_card(test: impl Fn(&FakeIntel<'_>, &mut Card<'_>)) {
    MODELS.into_iter().for_each(|model| with_model(model, &test));
}

pub(super) fn with_model(model: Model, test: impl Fn(&FakeIntel<'_>, &mut Card<'_>)) {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (model.chip(&machine, MAC), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let device = Device::new(&pool, &machine, LIMITS, Policy::Auto);
    let mut card = model.reset(&chip, &clock).unwrap().start(device).unwrap();
    test(&chip, &mut card);
    for (bus, len) in chip.touched() {
        let given = card.dma_ranges().iter().any(|range| range.covers(bus, len));
        assert!(given, "{len} bytes at {bus} were never given");
    }
    card.quiesce().ok();
    assert!(!chip.is_running());
    drop(card);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

pub(super) fn frame(len: usize, seed: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i * 7 + seed * 31 + len) % 251).unwrap();
    let mut frame: Vec<u8> = (0..len).map(byte).collect();
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame
}

pub(super) fn to_us(len: usize, seed: usize) -> Vec<u8> {
    let mut frame = frame(len, seed);
    frame[..6].copy_from_slice(&MAC);
    frame
}

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
fn frames_go_round_the_ring_and_the_device_is_told_now_and_then() {
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
    });
}

/// More frames than the ring has room for, three times.
fn overflow(chip: &FakeIntel<'_>, card: &mut Card<'_>) {
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
fn a_full_ring_loses_frames_which_are_counted() {
    with_card(overflow);
    with_card(|chip, card| {
        chip.set_fault(Fault::CountKept);
        overflow(chip, card);
    });
}

#[test]
fn frames_for_others_are_not_received() {
    with_card(|chip, card| {
        chip.deliver(&frame(60, 0));
        assert_eq!(card.receive(&mut Vec::new()), Ok(None));
    });
}

#[test]
fn a_loop_that_is_slow_to_close_is_waited_for() {
    with_card(|chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        chip.set_fault(Fault::SlowLoop(100));
        card.set_loopback(true).unwrap();
        assert!(!chip.interrupts(), "the probes are nobody's interrupt");
        card.transmit(frame(60, 1)).unwrap();
        chip.settle();
        assert_eq!(card.receive(&mut Vec::new()), Ok(Some(60)));
        assert!(chip.interrupts());
    });
}

#[test]
fn a_loop_that_never_closes_is_left_to_whoever_uses_it() {
    with_card(|chip, card| {
        chip.set_fault(Fault::SlowLoop(usize::MAX));
        card.set_loopback(true).unwrap();
        card.transmit(frame(60, 1)).unwrap();
        assert_eq!(card.receive(&mut Vec::new()), Ok(None));
        chip.set_fault(Fault::NeverReady);
        assert_eq!(card.set_loopback(false).unwrap_err().code(), "device-reset-timeout");
        chip.set_fault(Fault::None);
        card.set_loopback(false).unwrap();
        card.transmit_in_place(frame(60, 2).into()).unwrap();
        assert_eq!(chip.take_sent(), [frame(60, 2)], "on the wire");
    });
}

#[test]
fn a_link_that_stays_away_is_waited_for_once_the_loop_is_open() {
    with_model(Model::I82540, |chip, card| {
        chip.set_link(false);
        card.set_loopback(false).unwrap();
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
        assert!(chip.interrupts());
        assert_eq!(card.acknowledge(), Cause::RECEIVED);
        assert!(!chip.interrupts(), "acknowledged");
        assert_eq!(card.counters().interrupts, 1);
        chip.set_link(false);
        assert_eq!(card.acknowledge(), Cause::LINK);
    });
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
    });
}

#[test]
fn messages_from_a_table_come_for_each_cause_and_are_acknowledged_alike() {
    with_model(Model::I82574, |chip, card| {
        assert_eq!(card.deliveries(), Delivery::LADDER);
        chip.set_tabled(true);
        card.deliver(Delivery::Msix).unwrap();
        card.enable_interrupts(Cause::RECEIVED | Cause::SENT);
        chip.set_link(true);
        assert!(!chip.interrupts(), "no cause but those of the queues is enabled");
        assert_eq!(card.acknowledge(), Cause::LINK);
        card.enable_interrupts(Cause::RECEIVER);
        for (act, cause) in [
            (&(|| chip.deliver(&to_us(60, 0))) as &dyn Fn(), Cause::RECEIVED),
            (&|| chip.set_link(true), Cause::LINK),
        ] {
            act();
            assert!(chip.interrupts(), "{cause:?}");
            assert_eq!(card.acknowledge(), cause);
            assert!(!chip.interrupts(), "acknowledged");
        }
        card.set_loopback(true).unwrap();
        card.transmit(frame(60, 1)).unwrap();
        chip.settle();
        assert!(chip.interrupts(), "also after a reset");
        chip.set_tabled(false);
    });
    with_model(Model::I82540, |_, card| assert_eq!(card.deliveries(), [Delivery::Intx]));
}

#[test]
fn with_one_vector_each_way_of_interrupting_has_the_same_causes() {
    for model in [Model::Igb, Model::Igc] {
        with_model(model, |chip, card| {
            assert_eq!(card.deliveries(), Delivery::LADDER);
            for how in Delivery::LADDER {
                card.deliver(how).unwrap();
                card.enable_interrupts(Cause::RECEIVER);
                chip.deliver(&to_us(60, 0));
                assert!(chip.interrupts(), "{how}");
                assert_eq!(card.acknowledge(), Cause::RECEIVED, "{how}");
                assert!(!chip.interrupts(), "{how}");
                card.enable_interrupts(Cause::SENT);
                card.transmit(frame(60, 1)).unwrap();
                chip.settle();
                assert!(chip.interrupts(), "{how}");
                assert_eq!(card.acknowledge(), Cause::SENT, "{how}");
            }
        });
    }
}

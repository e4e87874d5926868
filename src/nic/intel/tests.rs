//! What only these chips do, over one that sees only what was mapped for it; the rest is tested with all families'
//! ([`crate::nic::rings`]).

use crate::{
    device::{Cause, Driver as _, Idle as _},
    dma::{Device, Plan, Policy},
    nic::{
        Nic as _,
        fake::{
            intel::{Intel, Kind},
            played::{Fault, Played, Player as _},
        },
        rings::{
            Card,
            bench::{MAC, frame, limits, reset_intel, to_us, with_machine},
        },
    },
    pci::Delivery,
};
use alloc::vec::Vec;

const KINDS: [Kind; 4] = [Kind::I82540, Kind::I82574, Kind::Igb, Kind::Igc];

fn with_card(test: impl Fn(&Played<'_, Intel>, &mut Card<'_>)) {
    KINDS.into_iter().for_each(|kind| with_kind(kind, &test));
}

/// Runs `test` on a started card.
fn with_kind(kind: Kind, test: impl FnOnce(&Played<'_, Intel>, &mut Card<'_>)) {
    with_machine(|machine, clock, pool| {
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        let chip = Played::new(machine, MAC, Intel::new(kind));
        let device = Device::new(pool, machine, limits(), Policy::Auto);
        let mut card = reset_intel(kind, &chip, clock).unwrap().start(device).unwrap();
        test(&chip, &mut card);
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
    with_kind(Kind::I82540, |chip, card| {
        chip.set_link(false);
        card.set_loopback(false).unwrap();
        assert!(!card.link_up());
        chip.set_link(true);
        assert!(card.link_up());
    });
}

#[test]
fn a_link_that_comes_or_goes_is_a_cause_of_its_own() {
    with_card(|chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        chip.set_link(false);
        assert_eq!(card.acknowledge(), Cause::LINK);
    });
}

#[test]
fn messages_from_a_table_come_for_each_cause_and_are_acknowledged_alike() {
    with_kind(Kind::I82574, |chip, card| {
        assert_eq!(card.deliveries(), Delivery::LADDER);
        chip.logic().set_tabled(true);
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
        chip.logic().set_tabled(false);
    });
    with_kind(Kind::I82540, |_, card| assert_eq!(card.deliveries(), [Delivery::Intx]));
}

#[test]
fn with_one_vector_each_way_of_interrupting_has_the_same_causes() {
    for kind in [Kind::Igb, Kind::Igc] {
        with_kind(kind, |chip, card| {
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

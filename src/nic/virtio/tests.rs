//! What the driver asks of a device that is no other card's business.

use super::reset;
use crate::{
    addr::DmaMask,
    device::{
        Cause, Driver as _, Idle as _, Registers as _, ResetError, StartError, fake::TickingClock,
    },
    dma::{
        Device, Limits, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    nic::{
        Mirror, Nic as _,
        fake::{
            played::{Fault, Played, Player as _},
            virtio::{CAPABILITIES, Traits, Virtio},
        },
        rings::Card,
    },
    pci::Delivery,
};
use alloc::{
    boxed::Box,
    string::{String, ToString as _},
    vec::Vec,
};

type Chip<'m> = Played<'m, Virtio>;

/// The device's status, as nobody but it knows.
fn status(chip: &Chip<'_>) -> u8 {
    chip.read_u8(0x14)
}

/// What the device was told if its driver gave it up.
const FAILED: u8 = 0x80;

/// Starts a device that is like this, and runs `test` on it.
fn with(traits: Traits, test: impl FnOnce(&Chip<'_>, &mut Card<'_>)) -> Result<(), StartError> {
    with_fault(Fault::None, traits, test)
}

fn with_fault(
    fault: Fault,
    traits: Traits,
    test: impl FnOnce(&Chip<'_>, &mut Card<'_>),
) -> Result<(), StartError> {
    let machine = FakeMachine::new(Frames::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let (chip, clock) =
        (Played::new(&machine, [2; 6], Virtio::new(traits)), TickingClock::default());
    chip.set_fault(fault);
    let idle = reset(&CAPABILITIES, |_| Ok(&chip), &clock)
        .inspect_err(|_| assert_ne!(status(&chip) & FAILED, 0, "given up, and not told so"))?;
    assert_eq!(status(&chip), 0, "not told yet that anybody knows it");
    assert_eq!(idle.limits(), Limits::new(DmaMask::BITS_64));
    let device = Device::new(&pool, &machine, Limits::new(DmaMask::BITS_32), Policy::Auto);
    let mut card = idle.start(device)?;
    test(&chip, &mut card);
    drop(card);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    Ok(())
}

fn refused(fault: Fault, traits: Traits) -> (&'static str, String) {
    let error = with_fault(fault, traits, |_, _| {}).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_device_that_lacks_what_is_needed_is_refused_by_name() {
    let all = Traits::default().offers;
    for (bit, word) in [(32, "VERSION_1"), (33, "iommu_platform=on"), (5, "address")] {
        let traits = Traits { offers: all & !(1 << bit), ..Traits::default() };
        let (code, text) = refused(Fault::None, traits);
        assert!(code == "device-lacks" && text.contains(word), "{text}");
    }
    let (code, text) = refused(Fault::None, Traits { most: 32, ..Traits::default() });
    assert!(code == "device-lacks" && text.contains("64 descriptors"), "{text}");
}

#[test]
fn a_device_that_does_not_agree_to_its_own_features_is_given_up() {
    let (code, text) = refused(Fault::NoFeatures, Traits::default());
    assert!(code == "device-features" && text.contains("0x300010020"), "{text}");
    with(Traits::default(), |chip, card| {
        chip.set_fault(Fault::NoFeatures);
        assert_eq!(card.set_loopback(false).unwrap_err().code(), "device-features");
        assert_ne!(status(chip) & FAILED, 0);
        assert_eq!(card.receive(&mut Vec::new()).unwrap_err().code(), "device-features");
        chip.set_fault(Fault::None);
        card.set_loopback(false).unwrap();
        chip.deliver(&[0xff; 60]);
        assert_eq!(card.receive(&mut Vec::new()), Ok(Some(60)));
    })
    .unwrap();
}

#[test]
fn a_device_that_does_not_know_of_its_link_has_one() {
    let offers = Traits::default().offers & !(1 << 16);
    with(Traits { offers, ..Traits::default() }, |chip, card| {
        chip.set_link(false);
        assert!(card.link_up());
        chip.set_fault(Fault::Gone);
        assert!(!card.link_up());
        chip.set_fault(Fault::None);
    })
    .unwrap();
}

#[test]
fn whether_somebody_on_the_wire_sends_frames_back_is_seen_anew_each_time() {
    for mirror in [true, false] {
        with(Traits { mirror, ..Traits::default() }, |_, card| {
            assert_eq!(card.mirror(), Mirror::Wire { seen: false });
            card.set_loopback(true).unwrap();
            assert_eq!(card.mirror(), Mirror::Wire { seen: mirror });
            card.set_loopback(false).unwrap();
            assert_eq!(card.mirror(), Mirror::Wire { seen: false });
        })
        .unwrap();
    }
}

#[test]
fn each_queue_interrupts_for_its_own_and_a_change_for_the_link() {
    with(Traits { mirror: false, ..Traits::default() }, |chip, card| {
        let broadcast = Vec::from([0xff; 60]);
        assert_eq!(card.deliveries(), [Delivery::Msix, Delivery::Intx]);
        chip.deliver(&broadcast);
        assert!(!chip.interrupts(), "of a card that was just started");
        assert_eq!(card.acknowledge(), Cause::RECEIVED);
        card.enable_interrupts(Cause::RECEIVER);
        card.transmit(broadcast.clone()).unwrap();
        chip.settle();
        assert!(!chip.interrupts(), "nobody asked for those that are sent");
        assert_eq!(card.acknowledge(), Cause::SENT);
        assert!(card.acknowledge().is_empty());
        card.enable_interrupts(Cause::SENT);
        chip.deliver(&broadcast);
        assert!(!chip.interrupts());
        card.transmit(broadcast.clone()).unwrap();
        chip.settle();
        assert!(chip.interrupts());
        assert_eq!(card.acknowledge(), Cause::SENT | Cause::RECEIVED);
        assert!(!chip.interrupts());
        chip.set_link(false);
        assert!(chip.interrupts());
        assert_eq!(card.acknowledge(), Cause::LINK);
        assert!(card.acknowledge().is_empty());
    })
    .unwrap();
}

#[test]
fn messages_come_once_there_are_vectors_and_after_each_reset() {
    with(Traits { mirror: false, tabled: true, ..Traits::default() }, |chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        let rings = |card: &mut Card<'_>, cause| {
            chip.deliver(&[0xff; 60]);
            let rings = chip.interrupts();
            assert_eq!(card.acknowledge(), cause);
            rings
        };
        assert!(!rings(card, Cause::RECEIVED), "nobody set up a vector");
        card.deliver(Delivery::Msix).unwrap();
        assert!(rings(card, Cause::RECEIVED));
        card.set_loopback(false).unwrap();
        assert!(rings(card, Cause::RECEIVED), "after a reset");
        card.enable_interrupts(Cause::empty());
        assert!(!rings(card, Cause::RECEIVED), "masked");
        card.enable_interrupts(Cause::RECEIVER);
        card.deliver(Delivery::Intx).unwrap();
        assert!(!rings(card, Cause::RECEIVED), "not by messages any more");
        card.deliver(Delivery::Msix).unwrap();
        for up in [false, true] {
            chip.set_link(up);
            assert!(chip.interrupts());
            assert_eq!(card.acknowledge(), Cause::LINK);
            assert_eq!(card.acknowledge(), Cause::empty());
        }
        card.set_loopback(false).unwrap();
        chip.set_link(false);
        assert_eq!(card.acknowledge(), Cause::LINK, "the only look since its start");
        assert_eq!(card.acknowledge(), Cause::empty());
    })
    .unwrap();
}

#[test]
fn a_vector_that_the_device_has_no_room_for_is_refused_and_the_line_is_left() {
    for (n, what) in [(0, "receive queue"), (1, "transmit queue"), (2, "configuration")] {
        let traits = Traits { mirror: false, tabled: true, ..Traits::default() };
        with(traits, |chip, card| {
            card.enable_interrupts(Cause::RECEIVER);
            chip.set_fault(Fault::NoVector(n));
            let refused = card.deliver(Delivery::Msix).unwrap_err();
            let text = refused.to_string();
            assert!(refused.code() == "irq-vector-refused" && text.contains(what), "{text}");
            chip.deliver(&[0xff; 60]);
            assert!(!chip.interrupts(), "no vector is left of those that were taken");
            card.deliver(Delivery::Intx).unwrap();
            card.set_loopback(false).unwrap();
            assert_eq!(card.acknowledge(), Cause::empty(), "its causes can be read");
            chip.set_fault(Fault::None);
            card.deliver(Delivery::Msix).unwrap();
            chip.set_fault(Fault::NoVector(n));
            let refused = card.set_loopback(false).unwrap_err();
            assert_eq!(refused.code(), "irq-vector-refused", "{what}");
            assert_ne!(status(chip) & FAILED, 0);
        })
        .unwrap();
    }
}

#[test]
fn a_device_that_is_gone_refuses_no_vector() {
    with(Traits::default(), |chip, card| {
        chip.set_fault(Fault::Gone);
        assert_eq!(card.deliver(Delivery::Msix), Err(ResetError::Gone));
        chip.set_fault(Fault::None);
    })
    .unwrap();
}

#[test]
fn a_link_that_comes_back_before_anybody_looks_is_told_and_so_is_one_that_changes_while_masked() {
    with(Traits { mirror: false, ..Traits::default() }, |chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        chip.set_link(false);
        chip.set_link(true);
        assert_eq!(card.acknowledge(), Cause::LINK);
        assert_eq!(card.acknowledge(), Cause::empty());
        chip.set_link(false);
        card.enable_interrupts(Cause::empty());
        card.enable_interrupts(Cause::RECEIVER);
        assert!(!chip.interrupts(), "let go of");
        assert_eq!(card.acknowledge(), Cause::LINK);
        assert_eq!(card.acknowledge(), Cause::empty());
    })
    .unwrap();
}

/// The error that a call ends in, which may take time but has no other result.
fn until_error<T, E>(mut call: impl FnMut() -> Result<Option<T>, E>) -> E {
    for _ in 0..10_000 {
        match call() {
            Ok(none) => assert!(none.is_none()),
            Err(error) => return error,
        }
    }
    panic!("no error");
}

#[test]
fn a_device_that_needs_a_reset_gets_it_whoever_looks_first() {
    let traits = Traits { mirror: false, breaks: 1, ..Traits::default() };
    let works = |chip: &Chip<'_>, card: &mut Card<'_>| {
        assert_eq!(card.counters().resets, 1);
        assert_eq!(card.acknowledge(), Cause::empty());
        chip.deliver(&[0xff; 60]);
        assert_eq!(card.receive(&mut Vec::new()), Ok(Some(60)));
        card.transmit_in_place([0xff; 60].to_vec().into()).unwrap();
    };
    with(traits, |chip, card| {
        chip.deliver(&[0xff; 60]);
        let error = until_error(|| card.receive(&mut Vec::new()));
        assert_eq!(error.code(), "nic-broken", "polled");
        works(chip, card);
    })
    .unwrap();
    with(traits, |chip, card| {
        card.enable_interrupts(Cause::RECEIVER);
        chip.deliver(&[0xff; 60]);
        assert!(chip.interrupts());
        assert_eq!(card.acknowledge(), Cause::BROKEN);
        let error = card.receive(&mut Vec::new()).unwrap_err();
        assert_eq!(error.code(), "nic-broken", "at once where it was told");
        works(chip, card);
    })
    .unwrap();
    with(traits, |chip, card| {
        card.transmit([0xff; 60].to_vec()).unwrap();
        assert_eq!(until_error(|| card.reclaim()).code(), "nic-broken");
        works(chip, card);
    })
    .unwrap();
}

//! What the driver asks of a device that is no other card's business.

use super::reset;
use crate::{
    addr::DmaMask,
    device::{Cause, Driver as _, Idle as _, StartError, fake::TickingClock},
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
use alloc::{boxed::Box, vec::Vec};

type Chip<'m> = Played<'m, Virtio>;

/// Starts a device that is like this, and runs `test` on it.
fn with(traits: Traits, test: impl FnOnce(&Chip<'_>, &mut Card<'_>)) -> Result<(), StartError> {
    let machine = FakeMachine::new(Frames::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let (chip, clock) =
        (Played::new(&machine, [2; 6], Virtio::new(traits)), TickingClock::default());
    let idle = reset(&CAPABILITIES, |_| Ok(&chip), &clock)?;
    assert_eq!(idle.limits(), Limits::new(DmaMask::BITS_64));
    let device = Device::new(&pool, &machine, Limits::new(DmaMask::BITS_32), Policy::Auto);
    let mut card = idle.start(device)?;
    test(&chip, &mut card);
    drop(card);
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    Ok(())
}

fn refused(traits: Traits) -> (&'static str, alloc::string::String) {
    let error = with(traits, |_, _| {}).unwrap_err();
    (error.code(), alloc::string::ToString::to_string(&error))
}

#[test]
fn a_device_that_lacks_what_is_needed_is_refused_by_name() {
    let all = Traits::default().offers;
    for (bit, word) in [(32, "VERSION_1"), (33, "iommu_platform=on"), (5, "address")] {
        let (code, text) = refused(Traits { offers: all & !(1 << bit), ..Traits::default() });
        assert!(code == "device-lacks" && text.contains(word), "{text}");
    }
    let (code, text) = refused(Traits { most: 32, ..Traits::default() });
    assert!(code == "device-lacks" && text.contains("64 descriptors"), "{text}");
    let (code, text) = refused(Traits { agrees: 0, ..Traits::default() });
    assert!(code == "device-reset-timeout" && text.contains("features"), "{text}");
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
        card.deliver(Delivery::Msix);
        assert!(rings(card, Cause::RECEIVED));
        card.set_loopback(false).unwrap();
        assert!(rings(card, Cause::RECEIVED), "after a reset");
        card.enable_interrupts(Cause::empty());
        assert!(!rings(card, Cause::RECEIVED), "masked");
        card.enable_interrupts(Cause::RECEIVER);
        card.deliver(Delivery::Intx);
        assert!(!rings(card, Cause::RECEIVED), "not by messages any more");
        card.deliver(Delivery::Msix);
        chip.set_link(false);
        assert!(chip.interrupts());
        assert_eq!(card.acknowledge(), Cause::LINK);
    })
    .unwrap();
}

#[test]
fn a_device_that_came_to_an_error_says_so() {
    with(Traits { breaks: true, ..Traits::default() }, |_, card| {
        assert_eq!(card.acknowledge(), Cause::BUS);
    })
    .unwrap();
}

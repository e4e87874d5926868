//! When the controller interrupts, and how it is told that it was heard.

use super::*;

#[test]
fn answers_interrupt_and_acknowledging_ends_it_at_once() {
    with_controller(|chip, controller| {
        assert_eq!(controller.deliveries(), [Delivery::Msix, Delivery::Msi, Delivery::Intx]);
        assert_eq!(controller.acknowledge(), Cause::empty(), "before it ever ran");
        controller.enable_interrupts(Cause::RECEIVER);
        for seed in 0..40 {
            let bytes = filled(controller, 256, seed).unwrap();
            controller.send(bytes.into()).unwrap();
            assert!(chip.interrupts());
            if seed % 2 == 0 {
                controller.fetch(&[], &mut Vec::new()).unwrap();
            }
            assert_eq!(controller.acknowledge(), Cause::RECEIVED);
            assert!(!chip.interrupts(), "let go of");
            assert_eq!(controller.acknowledge(), Cause::empty());
        }
    });
}

#[test]
fn messages_come_once_for_a_transfer_that_was_acknowledged() {
    with_controller(|chip, controller| {
        chip.set_messages();
        controller.enable_interrupts(Cause::RECEIVER);
        for count in 1..=40 {
            trip(controller, 512, count).unwrap();
            assert_eq!(chip.messages(), count);
            assert_eq!(controller.acknowledge(), Cause::RECEIVED);
        }
        trip(controller, 512, 1).unwrap();
        trip(controller, 512, 1).unwrap();
        assert_eq!(chip.messages(), 41, "the second of two is not told of again");
    });
}

#[test]
fn a_masked_controller_is_silent_and_what_was_held_back_comes_with_the_unmasking() {
    for messages in [false, true] {
        with_controller(|chip, controller| {
            if messages {
                chip.set_messages();
            }
            let rings = || chip.interrupts() || chip.messages() > 0;
            trip(controller, 512, 1).unwrap();
            assert!(!rings(), "masked from the start");
            controller.enable_interrupts(Cause::RECEIVER);
            assert!(rings(), "held back");
            controller.enable_interrupts(Cause::empty());
            assert!(!chip.interrupts(), "masked");
            controller.enable_interrupts(Cause::RECEIVER);
            assert_eq!(controller.acknowledge(), Cause::RECEIVED);
            assert!(!chip.interrupts());
        });
    }
}

#[test]
fn a_port_that_changes_while_nothing_is_under_way_is_heard_and_let_go_of() {
    with_controller(|chip, controller| {
        controller.enable_interrupts(Cause::RECEIVER);
        trip(controller, 256, 1).unwrap();
        assert_eq!(controller.acknowledge(), Cause::RECEIVED);
        chip.plug(2);
        assert_eq!(controller.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
        assert!((0..4).any(|_| controller.acknowledge() == Cause::RECEIVED));
        assert_eq!(controller.acknowledge(), Cause::empty());
        assert!(!chip.interrupts());
        // One that comes while it halts is nothing that was written beside the events.
        chip.plug(1);
        trip(controller, 256, 2).unwrap();
        assert_eq!(controller.traffic().resets, 0);
    });
}

#[test]
fn a_controller_that_never_interrupts_still_answers() {
    with_controller(|chip, controller| {
        controller.enable_interrupts(Cause::RECEIVER);
        chip.set_fault(Fault::Silent);
        (0..10).for_each(|seed| trip(controller, 256, seed).unwrap());
    });
}

#[test]
fn what_is_wrong_while_acknowledging_is_told_by_whatever_comes_next() {
    for next in 0..2 {
        with_controller(|chip, controller| {
            let bytes = filled(controller, 256, 1).unwrap();
            controller.send(bytes.clone().into()).unwrap();
            chip.set_fault(Fault::HostError);
            assert_eq!(controller.acknowledge(), Cause::ERROR);
            chip.set_fault(Fault::None);
            let told = match next {
                0 => code(controller.fetch(&[], &mut Vec::new())),
                _ => code(controller.send(bytes.into())),
            };
            assert_eq!(told, "xhci-status");
            assert_eq!(controller.fetch(&[], &mut Vec::new()), Ok(Arrival::Nothing));
            trip(controller, 256, 2).unwrap();
        });
    }
}

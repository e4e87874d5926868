//! A controller that vanishes between any two accesses to its registers.

use super::*;
use crate::{
    device::{
        Idle as _,
        fake::{
            TickingClock,
            vanishing::{Life, fetched, stopped_by_other_means, sweep},
        },
    },
    dma::fake::FakeMachine,
    usb::fake::FakeXhci,
};
use alloc::{boxed::Box, vec};

/// A controller's life.
struct Usb;

impl Life for Usb {
    type Chip<'c> = FakeXhci<'c>;

    const LIMITS: Limits = limits(DmaMask::BITS_64);

    fn chip<'c>(machine: &'c FakeMachine, clock: &'c TickingClock) -> FakeXhci<'c> {
        FakeXhci::new(machine, clock)
    }

    fn start<'m>(
        chip: &'m FakeXhci<'_>,
        clock: &'m TickingClock,
        device: dma::Device<'m>,
    ) -> Result<Box<dyn Mover + 'm>, StartError> {
        Ok(Box::new(Idle::reset(chip, clock)?.start(device)?))
    }

    fn work(_: &FakeXhci<'_>, controller: &mut dyn Mover) -> Result<(), &'static str> {
        let code = |outcome: Outcome| outcome.reason().code;
        let mut bytes = vec![0; 512];
        controller.enable_interrupts(Cause::RECEIVER);
        for seed in 0..3 {
            controller.fill(&mut bytes, seed).map_err(code)?;
            controller.send(bytes.clone().into()).map_err(code)?;
            if seed != 1 {
                fetched(controller)?;
            }
            if controller.acknowledge().contains(Cause::GONE) {
                return Err("device-gone");
            }
        }
        Ok(())
    }

    fn begin(controller: &mut dyn Mover) {
        let mut bytes = vec![0; 512];
        controller.fill(&mut bytes, 1).unwrap();
        controller.send(bytes.into()).unwrap();
    }
}

#[test]
fn a_device_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    sweep::<Usb>(50);
}

#[test]
fn a_device_stopped_by_other_means_gives_everything_back() {
    stopped_by_other_means::<Usb>((6, 6));
}

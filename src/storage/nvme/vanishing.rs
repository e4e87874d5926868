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
    storage::fake::{FakeNvme, Kind},
};
use alloc::{boxed::Box, vec};

/// A controller's life.
struct Disk;

impl Life for Disk {
    type Chip<'c> = FakeNvme<'c>;

    const LIMITS: Limits = limits();

    fn chip<'c>(machine: &'c FakeMachine, _: &'c TickingClock) -> FakeNvme<'c> {
        FakeNvme::new(machine, Kind::default())
    }

    fn start<'m>(
        chip: &'m FakeNvme<'_>,
        clock: &'m TickingClock,
        device: dma::Device<'m>,
    ) -> Result<Box<dyn Mover + 'm>, StartError> {
        Ok(Box::new(Idle::reset(chip, clock)?.start(device)?))
    }

    fn work(chip: &FakeNvme<'_>, disk: &mut dyn Mover) -> Result<(), &'static str> {
        let code = |outcome: Outcome| outcome.reason().code;
        let mut back = Vec::new();
        let mut bytes = vec![0; 9 << 10];
        disk.enable_interrupts(Cause::RECEIVER);
        for seed in 0..2 {
            if seed == 1 {
                disk.enable_interrupts(Cause::empty());
                chip.use_msix();
                disk.deliver(Delivery::Msix).map_err(|error| error.code())?;
            }
            disk.fill(&mut bytes, seed).map_err(code)?;
            disk.send(bytes.clone().into()).map_err(code)?;
            fetched(disk)?;
            disk.enable_interrupts(Cause::RECEIVER);
            if disk.acknowledge().contains(Cause::GONE) {
                return Err("device-gone");
            }
        }
        disk.fill(&mut bytes, 2).map_err(code)?;
        disk.send(bytes.clone().into()).map_err(code)?;
        disk.fetch(&[], &mut back).map_err(code)?;
        disk.fill(&mut bytes, 3).map_err(code)?;
        disk.send(bytes.into()).map_err(code)?;
        disk.fetch(&[], &mut back).map_err(code).map(drop)
    }

    fn begin(disk: &mut dyn Mover) {
        let mut bytes = vec![0; 1024];
        disk.fill(&mut bytes, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_device_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    sweep::<Disk>(50);
}

#[test]
fn a_device_stopped_by_other_means_gives_everything_back() {
    stopped_by_other_means::<Disk>((2, 7));
}

//! An engine that vanishes between any two accesses to its registers.

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
    engine::fake::FakeEdu,
};
use alloc::{boxed::Box, vec};

/// An engine's life.
struct Engine;

impl Life for Engine {
    type Chip<'c> = FakeEdu<'c>;

    const LIMITS: Limits = limits();

    fn chip<'c>(machine: &'c FakeMachine, _: &'c TickingClock) -> FakeEdu<'c> {
        FakeEdu::new(machine)
    }

    fn start<'m>(
        chip: &'m FakeEdu<'_>,
        clock: &'m TickingClock,
        device: dma::Device<'m>,
    ) -> Result<Box<dyn Mover + 'm>, StartError> {
        Ok(Box::new(Idle::reset(chip, clock)?.start(device)?))
    }

    fn work(_: &FakeEdu<'_>, engine: &mut dyn Mover) -> Result<(), &'static str> {
        let code = |outcome: Outcome| outcome.reason().code;
        let mut back = Vec::new();
        engine.enable_interrupts(Cause::RECEIVER);
        for mask in [false, true] {
            engine.send(vec![7; 100].into()).map_err(code)?;
            if mask {
                engine.enable_interrupts(Cause::empty());
            }
            fetched(engine)?;
            engine.enable_interrupts(Cause::RECEIVER);
            if engine.acknowledge().contains(Cause::GONE) {
                return Err("device-gone");
            }
        }
        engine.send(vec![8; 100].into()).map_err(code)?;
        engine.fetch(&[], &mut back).map_err(code)?;
        engine.send(vec![9; 100].into()).map_err(code)?;
        engine.fetch(&[], &mut back).map_err(code).map(drop)
    }

    fn begin(engine: &mut dyn Mover) {
        engine.send(vec![7; 100].into()).unwrap();
        engine.fetch(&[], &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_device_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    sweep::<Engine>(50);
}

#[test]
fn a_device_stopped_by_other_means_gives_everything_back() {
    stopped_by_other_means::<Engine>((1, 1));
}

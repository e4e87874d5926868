//! A device that vanishes between any two accesses to its registers.

use super::*;
use crate::{
    device::{
        Idle as _,
        fake::{TickingClock, leftovers},
    },
    dma::{
        Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    engine::fake::FakeEdu,
};
use alloc::boxed::Box;

/// More looks than a transfer takes.
const LOOKS: usize = 20;

type Engine<'m> = Edu<'m, &'m FakeEdu<'m>>;

/// An engine's whole life up to its stop; the code of the first thing that goes wrong.
fn live<'m>(
    chip: &'m FakeEdu<'m>,
    clock: &'m TickingClock,
    device: dma::Device<'m>,
) -> Result<(), &'static str> {
    let idle = Idle::reset(chip, clock).map_err(|e| e.code())?;
    let mut engine = idle.start(device).map_err(|e| e.code())?;
    let worked = work(&mut engine);
    let stopped = engine.quiesce().map_err(|e| e.code());
    worked.and(stopped)
}

fn work(engine: &mut Engine<'_>) -> Result<(), &'static str> {
    let code = |outcome: Outcome| outcome.reason().code;
    let mut back = Vec::new();
    engine.enable_interrupts(Cause::RECEIVER);
    for mask in [false, true] {
        engine.send(vec![7; 100].into()).map_err(code)?;
        if mask {
            engine.enable_interrupts(Cause::empty());
        }
        for _ in 0..LOOKS {
            if engine.fetch(&[], &mut back).map_err(code)? != Arrival::Nothing {
                break;
            }
        }
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

/// Runs an engine that vanishes after `accesses`; whether it came to that.
fn vanishes_after(accesses: usize) -> bool {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeEdu::new(&machine), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan { mask: limits().mask, ..Plan::new(1 << 20) }, &mut |_| {}).unwrap();
    let device = dma::Device::new(&pool, &machine, limits(), Policy::Auto);
    chip.vanish_after(accesses);
    let start = clock.now();
    let ended = live(&chip, &clock, device);
    let took = clock.now().since(start);
    assert!(took < Duration::from_secs(1), "{accesses}: {took:?}");
    let expected = if chip.is_gone() { Err("device-gone") } else { Ok(()) };
    assert_eq!(ended, expected, "after {accesses}");
    assert!(chip.is_gone() || pool.stats().in_flight == 0, "{accesses}: {:?}", pool.stats());
    assert!(pool.stats().in_flight >= chip.owned().len() as u64, "{accesses}");
    leftovers::check(&pool, &machine, limits(), &chip.owned());
    chip.is_gone()
}

#[test]
fn a_device_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    let last = (0..10_000).find(|&accesses| !vanishes_after(accesses));
    assert!(last.is_some_and(|last| last > 50), "the sweep ends behind the last access: {last:?}");
}

#[test]
fn a_device_stopped_by_other_means_gives_everything_back() {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeEdu::new(&machine), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan { mask: limits().mask, ..Plan::new(1 << 20) }, &mut |_| {}).unwrap();
    let device = dma::Device::new(&pool, &machine, limits(), Policy::Auto);
    let mut engine = Idle::reset(&chip, &clock).unwrap().start(device).unwrap();
    engine.send(vec![7; 100].into()).unwrap();
    engine.fetch(&[], &mut Vec::new()).unwrap();
    chip.vanish_after(0);
    assert_eq!(engine.quiesce().unwrap_err().code(), "device-gone");
    assert_eq!((pool.stats().in_flight, chip.owned().len()), (1, 1));
    engine.take_back(&DeviceStopped::seen()).unwrap();
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

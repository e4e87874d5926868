//! A chip that vanishes between any two accesses to its registers.

use super::tests::{LIMITS, MODELS, Model};
use crate::{
    arch::time::Clock as _,
    device::{
        Cause, Driver as _, Ended, Idle as _,
        fake::{TickingClock, leftovers},
    },
    dma::{
        Device, DeviceStopped, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Reused},
    },
    nic::{
        Nic as _,
        fake::intel::{FakeIntel, Fault},
        rings::Card,
        rings::chip::{RECEIVE, TRANSMIT},
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

const BROADCAST: [u8; 60] = [0xff; 60];

type Fake<'m> = &'m FakeIntel<'m>;

/// A machine with one chip in it.
struct World<'m> {
    model: Model,
    chip: Fake<'m>,
    clock: &'m TickingClock,
    pool: &'m Pool<'m>,
    machine: &'m FakeMachine,
}

impl<'m> World<'m> {
    fn device(&self) -> Device<'m> {
        Device::new(self.pool, self.machine, LIMITS, Policy::Auto)
    }

    /// A card's whole life up to its stop; the code of the first thing that goes wrong.
    fn live(&self) -> Result<(), &'static str> {
        let idle = self.model.reset(self.chip, self.clock).map_err(|e| e.code())?;
        let mut card = idle.start(self.device()).map_err(|e| e.code())?;
        let worked = work(self.chip, &mut card);
        let stopped = card.quiesce().map_err(|e| e.code());
        worked.and(stopped)
    }
}

fn work(chip: Fake<'_>, card: &mut Card<'_>) -> Result<(), &'static str> {
    let mut received = Vec::new();
    card.enable_interrupts(Cause::RECEIVER);
    chip.deliver(&BROADCAST);
    card.receive(&mut received).map_err(|e| e.code())?;
    acknowledge(card)?;
    for _ in 0..TRANSMIT {
        while !card.has_room() {
            card.reclaim().map_err(|e| e.code())?;
        }
        card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    }
    card.reclaim().map_err(|e| e.code())?;
    card.transmit_in_place(BROADCAST.to_vec().into()).map_err(|e| e.code())?;
    card.set_loopback(true).map_err(|e| e.code())?;
    card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    card.receive(&mut received).map_err(|e| e.code())?;
    card.reclaim().map_err(|e| e.code())?;
    card.set_loopback(false).map_err(|e| e.code())?;
    card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    acknowledge(card)
}

fn acknowledge(card: &mut Card<'_>) -> Result<(), &'static str> {
    if card.acknowledge().contains(Cause::GONE) { Err("device-gone") } else { Ok(()) }
}

/// Runs `test` with a chip, a clock that ticks, and a pool of 1 MiB in a machine.
fn with_world<T>(model: Model, test: impl FnOnce(&World<'_>) -> T) -> T {
    let reused = Reused::default();
    let machine: &FakeMachine = &reused;
    let (chip, clock) = (model.chip(machine, [2, 0, 0, 0, 0, 1]), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    test(&World { model, chip: &chip, clock: &clock, pool: &pool, machine })
}

/// Runs a card that vanishes after `accesses`; whether it came to that.
fn vanishes_after(accesses: usize, world: &World<'_>) -> bool {
    let World { chip, clock, pool, .. } = world;
    chip.vanish_after(accesses);
    let start = clock.now();
    let ended = world.live();
    let took = clock.now().since(start);
    assert!(took < Duration::from_secs(1), "{accesses}: {took:?}");
    let expected = if chip.is_gone() { Err("device-gone") } else { Ok(()) };
    assert_eq!(ended, expected, "after {accesses}");
    // Of what it may still use nothing is handed out again, and of the rest all.
    let owned = chip.owned();
    let stats = pool.stats();
    let most = (1 + RECEIVE + TRANSMIT) as u64;
    assert!(
        stats.in_flight <= most && (chip.is_gone() || stats.in_flight == 0),
        "{accesses}: {stats:?}"
    );
    leftovers::check(pool, world.machine, LIMITS, &owned);
    chip.is_gone()
}

#[test]
fn a_device_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    for model in MODELS {
        let vanishes =
            |accesses: &usize| !with_world(model, |world| vanishes_after(*accesses, world));
        let last = (0..10_000).find(vanishes);
        assert!(last.is_some_and(|last| last > 200), "the sweep ends behind the last: {last:?}");
    }
}

/// Runs `end` on a card whose chip has three frames and then vanished.
fn with_frames_lost(end: impl Fn(&mut Card<'_>, &World<'_>)) {
    for model in MODELS {
        with_world(model, |world| {
            let chip = world.chip;
            let idle = model.reset(chip, world.clock).unwrap();
            let mut card = idle.start(world.device()).unwrap();
            chip.set_fault(Fault::NeverSend);
            for _ in 0..3 {
                card.transmit(BROADCAST.to_vec()).unwrap();
            }
            chip.settle();
            assert_eq!(chip.owned().len(), 2 + RECEIVE - 1 + 3);
            chip.vanish_after(0);
            let lost = card.transmit_in_place(BROADCAST.to_vec().into()).unwrap_err();
            assert_eq!(lost.code(), "device-gone");
            assert_eq!(card.reclaim().unwrap_err().code(), "device-gone");
            assert_eq!(card.quiesce().unwrap_err().code(), "device-gone");
            assert_eq!(world.pool.stats().in_flight, 1 + RECEIVE as u64 + 3);
            end(&mut card, world);
        });
    }
}

#[test]
fn memory_stays_with_a_device_that_was_not_seen_to_stop() {
    with_frames_lost(|_, world| {
        let owned = world.chip.owned();
        assert!(!owned.is_empty());
        leftovers::check(world.pool, world.machine, LIMITS, &owned);
    });
}

#[test]
fn a_device_stopped_by_other_means_gives_everything_back() {
    with_frames_lost(|card, world| {
        card.take_back(&DeviceStopped::seen()).unwrap();
        let stats = world.pool.stats();
        assert!(stats.is_balanced(), "{stats:?}");
        assert_eq!(card.transmit(BROADCAST.to_vec()).unwrap_err().error, Ended.into());
    });
}

//! A controller that vanishes between any two accesses to its properties.

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
    storage::fake::{FakeNvme, Kind},
};
use alloc::{boxed::Box, vec};

type Disk<'m> = Nvme<'m, &'m FakeNvme<'m>>;

/// A disk's whole life up to its stop; the code of the first thing that goes wrong.
fn live<'m>(
    chip: &'m FakeNvme<'m>,
    clock: &'m TickingClock,
    device: dma::Device<'m>,
) -> Result<(), &'static str> {
    let idle = Idle::reset(chip, clock).map_err(|e| e.code())?;
    let mut disk = idle.start(device).map_err(|e| e.code())?;
    let worked = work(chip, &mut disk);
    let stopped = disk.quiesce().map_err(|e| e.code());
    worked.and(stopped)
}

fn work(chip: &FakeNvme<'_>, disk: &mut Disk<'_>) -> Result<(), &'static str> {
    let code = |outcome: Outcome| outcome.reason().code;
    let mut back = Vec::new();
    let mut bytes = vec![0; 9 << 10];
    disk.enable_interrupts(Cause::RECEIVER);
    for seed in 0..2 {
        if seed == 1 {
            disk.enable_interrupts(Cause::empty());
            chip.use_msix();
            disk.deliver(Delivery::Msix);
        }
        disk.fill(&mut bytes, seed).map_err(code)?;
        disk.send(bytes.clone().into()).map_err(code)?;
        for _ in 0..20 {
            if disk.fetch(&[], &mut back).map_err(code)? != Arrival::Nothing {
                break;
            }
        }
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

/// Runs `test` with a controller, a clock that ticks, and a pool of 1 MiB in a machine.
fn with_chip<T>(
    test: impl for<'m> FnOnce(&'m FakeNvme<'m>, &'m TickingClock, &'m Pool<'m>, &'m FakeMachine) -> T,
) -> T {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeNvme::new(&machine, Kind::default()), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    test(&chip, &clock, &pool, &machine)
}

/// Runs a disk that vanishes after `accesses`; whether it came to that.
fn vanishes_after(accesses: usize) -> bool {
    with_chip(|chip, clock, pool, machine| {
        let device = dma::Device::new(pool, machine, limits(), Policy::Force);
        chip.vanish_after(accesses);
        let start = clock.now();
        let ended = live(chip, clock, device);
        let took = clock.now().since(start);
        assert!(took < Duration::from_secs(1), "{accesses}: {took:?}");
        let expected = if chip.is_gone() { Err("device-gone") } else { Ok(()) };
        assert_eq!(ended, expected, "after {accesses}");
        assert!(chip.is_gone() || pool.stats().in_flight == 0, "{accesses}: {:?}", pool.stats());
        leftovers::check(pool, machine, Limits::new(DmaMask::BITS_32), &chip.owned());
        chip.is_gone()
    })
}

#[test]
fn a_controller_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    let last = (0..10_000).find(|&accesses| !vanishes_after(accesses));
    assert!(last.is_some_and(|last| last > 50), "the sweep ends behind the last access: {last:?}");
}

#[test]
fn a_controller_stopped_by_other_means_gives_everything_back() {
    with_chip(|chip, clock, pool, machine| {
        let device = dma::Device::new(pool, machine, limits(), Policy::Force);
        let mut disk = Idle::reset(chip, clock).unwrap().start(device).unwrap();
        let mut bytes = vec![0; 1024];
        disk.fill(&mut bytes, 1).unwrap();
        disk.send(bytes.into()).unwrap();
        disk.fetch(&[], &mut Vec::new()).unwrap();
        chip.vanish_after(0);
        assert_eq!(disk.quiesce().unwrap_err().code(), "device-gone");
        assert_eq!((pool.stats().in_flight, chip.owned().len()), (2, 7));
        disk.take_back(&DeviceStopped::seen()).unwrap();
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    });
}

//! A chip that does not react, or that vanishes between any two accesses to its registers.

use super::*;
use crate::{
    addr::BusAddr,
    device::{Idle as _, fake::TickingClock},
    dma::{
        Plan, Policy, Pool, Table, ToDevice,
        fake::{FakeMachine, Frames, Reused},
    },
    nic::fake::{FakeRtl8139, Fault},
};
use alloc::boxed::Box;
use core::time::Duration;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BROADCAST: [u8; 60] = [0xff; 60];

type Card<'m> = Rtl8139<'m, &'m FakeRtl8139<'m>>;

/// A card's whole life up to its stop; the code of the first thing that goes wrong.
fn live<'m>(
    chip: &'m FakeRtl8139<'m>,
    clock: &'m TickingClock,
    device: dma::Device<'m>,
) -> Result<(), &'static str> {
    let idle = Idle::reset(chip, clock).map_err(|e| e.code())?;
    let mut card = idle.start(device).map_err(|e| e.code())?;
    let worked = work(chip, &mut card);
    let stopped = card.quiesce().map_err(|e| e.code());
    worked.and(stopped)
}

fn work(chip: &FakeRtl8139<'_>, card: &mut Card<'_>) -> Result<(), &'static str> {
    let mut received = Vec::new();
    card.enable_interrupts(Cause::RECEIVER);
    chip.deliver(&BROADCAST);
    card.receive(&mut received).map_err(|e| e.code())?;
    acknowledge(card)?;
    for _ in 0..SLOTS {
        card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    }
    card.reclaim().map_err(|e| e.code())?;
    card.transmit_in_place(BROADCAST.to_vec().into()).map_err(|e| e.code())?;
    card.set_loopback(true).map_err(|e| e.code())?;
    card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    card.receive(&mut received).map_err(|e| e.code())?;
    card.reclaim().map_err(|e| e.code())?;
    card.transmit(BROADCAST.to_vec()).map_err(|e| e.error.code())?;
    acknowledge(card)
}

fn acknowledge(card: &mut Card<'_>) -> Result<(), &'static str> {
    if card.acknowledge().contains(Cause::GONE) { Err("device-gone") } else { Ok(()) }
}

/// Runs `test` with a chip, a clock that ticks, and a pool of 1 MiB in a machine.
fn with_chip<T>(
    test: impl for<'m> FnOnce(&'m FakeRtl8139<'m>, &'m TickingClock, &'m Pool<'m>, &'m FakeMachine) -> T,
) -> T {
    let reused = Reused::default();
    let machine: &FakeMachine = &reused;
    let (chip, clock) = (FakeRtl8139::new(machine, MAC), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    test(&chip, &clock, &pool, machine)
}

/// Everything a pool still hands out, as bus addresses of the first byte and lengths.
fn rest_of(pool: &Pool<'_>, machine: &FakeMachine) -> Vec<(u64, u64)> {
    let device = dma::Device::new(pool, machine, limits(), Policy::Force);
    let mut mappings = Vec::new();
    while let Ok(mapping) = device.map::<ToDevice, _>(vec![0; 2048]) {
        mappings.push(mapping);
    }
    mappings.iter().map(|mapping| (mapping.bus().0, 2048)).collect()
}

/// Runs a card that vanishes after `accesses`; whether it came to that.
fn vanishes_after(accesses: usize) -> bool {
    with_chip(|chip, clock, pool, machine| vanishes(accesses, chip, clock, pool, machine))
}

fn vanishes<'m>(
    accesses: usize,
    chip: &'m FakeRtl8139<'m>,
    clock: &'m TickingClock,
    pool: &'m Pool<'m>,
    machine: &'m FakeMachine,
) -> bool {
    let device = dma::Device::new(pool, machine, limits(), Policy::Auto);
    chip.vanish_after(accesses);
    let start = clock.now();
    let ended = live(chip, clock, device);
    let took = clock.now().since(start);
    assert!(took < Duration::from_secs(1), "{accesses}: {took:?}");
    let expected = if chip.is_gone() { Err("device-gone") } else { Ok(()) };
    assert_eq!(ended, expected, "after {accesses}");
    // Of what it may still use nothing is handed out again, and of the rest all.
    let owned = chip.owned();
    let stats = pool.stats();
    assert!(stats.in_flight >= owned.len() as u64, "{accesses}: {stats:?}, {owned:?}");
    assert!(
        stats.in_flight <= 1 + SLOTS as u64 && (chip.is_gone() || stats.in_flight == 0),
        "{stats:?}"
    );
    let rest = rest_of(pool, machine);
    for (BusAddr(bus), len) in owned {
        let end = bus + len as u64;
        let again = rest.iter().find(|&&(at, count)| at < end && bus < at + count);
        assert_eq!(again, None, "{accesses}: {len} bytes at {bus:#x} are the device's");
    }
    assert_eq!(rest.len() + stats.in_use, stats.slots, "{accesses}");
    chip.is_gone()
}

#[test]
fn a_device_that_vanishes_at_any_access_ends_with_its_code_and_keeps_what_it_may_use() {
    let last = (0..10_000).find(|&accesses| !vanishes_after(accesses));
    assert!(last.is_some_and(|last| last > 50), "the sweep ends behind the last access: {last:?}");
}

/// Runs `end` on a card whose chip has three frames and then vanished.
fn with_frames_lost(end: impl FnOnce(&mut Card<'_>, &Pool<'_>, &FakeMachine)) {
    with_chip(|chip, clock, pool, machine| {
        let device = dma::Device::new(pool, machine, limits(), Policy::Auto);
        let mut card = Idle::reset(chip, clock).unwrap().start(device).unwrap();
        chip.set_fault(Fault::NeverSend);
        for _ in 0..3 {
            card.transmit(BROADCAST.to_vec()).unwrap();
        }
        chip.vanish_after(0);
        assert_eq!(card.reclaim().unwrap_err().code(), "device-gone");
        assert_eq!(
            card.transmit_in_place(BROADCAST.to_vec().into()).unwrap_err().code(),
            "device-gone"
        );
        assert_eq!(card.quiesce().unwrap_err().code(), "device-gone");
        assert_eq!((pool.stats().in_flight, chip.owned().len()), (4, 4));
        end(&mut card, pool, machine);
    });
}

#[test]
fn frames_stay_with_a_device_that_was_not_seen_to_stop() {
    with_frames_lost(|card, pool, machine| {
        let lent: Vec<_> = card.out.addresses().map(|bus| bus.0).collect();
        assert_eq!(lent.len(), 3);
        let rest = rest_of(pool, machine);
        assert!(
            lent.iter().all(|&bus| rest.iter().all(|&(at, len)| !(at..at + len).contains(&bus)))
        );
    });
}

#[test]
fn a_device_stopped_by_other_means_gives_everything_back() {
    with_frames_lost(|card, pool, _| {
        card.take_back(&DeviceStopped::seen()).unwrap();
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
        assert_eq!(card.transmit(BROADCAST.to_vec()).unwrap_err().error, Ended.into());
    });
}

#[test]
fn a_chip_that_does_not_react_or_gets_no_memory_is_not_started() {
    let machine = FakeMachine::new(Frames::default());
    let (clock, mut table) = (TickingClock::default(), Box::new(Table::new()));
    let pool = Pool::new(&mut table, &machine);
    let reset = |mac, fault| {
        let chip = FakeRtl8139::new(&machine, mac);
        chip.set_fault(fault);
        Idle::reset(&chip, &clock).map(drop).unwrap_err().code()
    };
    assert_eq!(reset(MAC, Fault::NeverReset), "device-reset-timeout");
    assert_eq!(reset([0xff; 6], Fault::None), "device-unfit");
    assert_eq!(reset([0; 6], Fault::None), "device-unfit");
    let chip = FakeRtl8139::new(&machine, MAC);
    let device = dma::Device::new(&pool, &machine, limits(), Policy::Auto);
    let started = Idle::reset(&chip, &clock).unwrap().start(device);
    assert_eq!(started.map(drop).unwrap_err().code(), "dma-no-pool");
}

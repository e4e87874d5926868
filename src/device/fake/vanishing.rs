//! A device that vanishes between any two accesses to its registers: what has to hold of each driver that moves bytes.

use super::{TickingClock, leftovers};
use crate::{
    addr::BusAddr,
    arch::time::Clock,
    device::{Arrival, Mover, StartError},
    dma::{
        Device, DeviceStopped, Limits, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Reused},
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

/// A fake that can vanish.
pub trait Vanishing {
    /// Lets the device answer `accesses` more times, then never again.
    fn vanish_after(&self, accesses: usize);

    /// Whether it has vanished.
    fn is_gone(&self) -> bool;

    /// The memory that it was told of and may still use.
    fn owned(&self) -> Vec<(BusAddr, usize)>;
}

/// A device's life.
pub trait Life {
    /// The device.
    type Chip<'c>: Vanishing;

    /// What it demands of addresses.
    const LIMITS: Limits;

    /// A device after power-on.
    fn chip<'c>(machine: &'c FakeMachine, clock: &'c TickingClock) -> Self::Chip<'c>;

    /// Resets the device and starts its driver.
    fn start<'m>(
        chip: &'m Self::Chip<'_>,
        clock: &'m TickingClock,
        device: Device<'m>,
    ) -> Result<Box<dyn Mover + 'm>, StartError>;

    /// Transfers; the code of the first thing that goes wrong.
    fn work(chip: &Self::Chip<'_>, mover: &mut dyn Mover) -> Result<(), &'static str>;

    /// Begins one, and leaves the device at it.
    fn begin(mover: &mut dyn Mover);
}

/// Looks for what comes of a transfer, more often than it takes; the code of what goes wrong.
pub fn fetched(mover: &mut dyn Mover) -> Result<(), &'static str> {
    const LOOKS: usize = 20;
    let mut back = Vec::new();
    let mut look = || mover.fetch(&[], &mut back).map_err(|outcome| outcome.reason().code);
    (0..LOOKS)
        .map(|_| look())
        .find(|found| *found != Ok(Arrival::Nothing))
        .map_or(Ok(()), |found| found.map(drop))
}

/// Runs `test` with a device, a clock that ticks, and a pool of 1 MiB in a machine.
fn with_chip<L: Life, T>(
    test: impl for<'m> FnOnce(&'m L::Chip<'_>, &'m TickingClock, &'m Pool<'m>, &'m FakeMachine) -> T,
) -> T {
    let (reused, clock) = (Reused::default(), TickingClock::default());
    let machine: &FakeMachine = &reused;
    let chip = L::chip(machine, &clock);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, machine);
    let reach = L::LIMITS.mask.min(Plan::new(1 << 20).mask);
    pool.start(&Plan { mask: reach, ..Plan::new(1 << 20) }, &mut |_| {}).expect("a pool");
    test(&chip, &clock, &pool, machine)
}

/// Runs a device that vanishes after `accesses`; whether it came to that.
fn vanishes_after<L: Life>(accesses: usize) -> bool {
    with_chip::<L, _>(|chip, clock, pool, machine| {
        let device = Device::new(pool, machine, L::LIMITS, Policy::Force);
        chip.vanish_after(accesses);
        let start = clock.now();
        let ended =
            L::start(chip, clock, device).map_err(|error| error.code()).and_then(|mut mover| {
                let worked = L::work(chip, &mut *mover);
                let stopped = mover.quiesce().map_err(|error| error.code());
                worked.and(stopped)
            });
        let took = clock.now().since(start);
        assert!(took < Duration::from_secs(1), "{accesses}: {took:?}");
        let expected = if chip.is_gone() { Err("device-gone") } else { Ok(()) };
        assert_eq!(ended, expected, "after {accesses}");
        assert!(chip.is_gone() || pool.stats().in_flight == 0, "{accesses}: {:?}", pool.stats());
        leftovers::check(pool, machine, Limits::new(L::LIMITS.mask), &chip.owned());
        chip.is_gone()
    })
}

/// A device that vanishes at any access ends with its code and keeps what it may use.
///
/// # Panics
/// If it is not so, and if its life has not at least so many accesses.
pub fn sweep<L: Life>(at_least: usize) {
    let last = (0..10_000).find(|&accesses| !vanishes_after::<L>(accesses));
    assert!(last.is_some_and(|last| last > at_least), "ends behind the last access: {last:?}");
}

/// A device stopped by other means gives everything back; before it keeps so many mappings and has so many places.
///
/// # Panics
/// If it is not so.
pub fn stopped_by_other_means<L: Life>(held: (u64, usize)) {
    with_chip::<L, _>(|chip, clock, pool, machine| {
        let device = Device::new(pool, machine, L::LIMITS, Policy::Force);
        let mut mover = L::start(chip, clock, device).expect("a device that works");
        L::begin(&mut *mover);
        chip.vanish_after(0);
        let error = mover.quiesce().expect_err("it is gone");
        assert_eq!(error.code(), "device-gone");
        assert_eq!((pool.stats().in_flight, chip.owned().len()), held);
        mover.take_back(&DeviceStopped::seen()).expect("nothing was written elsewhere");
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    });
}

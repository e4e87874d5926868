//! What the targets about devices that move bytes have in common: a machine with a pool, a driver that is called at
//! random, and what has to hold of each of them.
//!
//! Asserts: every call ends; the device is given no address that the driver does not list; once it was seen to stop, every
//! slot is back.

use crate::Input;
use pvbounce::{
    addr::{BusAddr, DmaMask},
    arch::time::Clock,
    device::{Arrival, Cause, Mover, StartError, fake::TickingClock},
    dma::{Device, Limits, Plan, Policy, Pool, Table, fake::FakeMachine},
    mm::contiguous::Order,
};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

thread_local! {
    // Its pages are never freed: one machine for all inputs. A table is 300 KiB: one, too.
    static MACHINE: RefCell<(FakeMachine, Box<Table>)> = RefCell::default();
}

/// What a device has beside its registers.
#[derive(Debug)]
pub(crate) struct Surroundings<'c> {
    pub(crate) machine: &'c FakeMachine,
    pub(crate) clock: &'c TickingClock,
    pub(crate) input: Input,
    /// Every address that it was given.
    pub(crate) given: RefCell<Vec<(BusAddr, usize)>>,
    /// Whether it does as told from here on.
    pub(crate) tame: Cell<bool>,
}

/// Where a driver gets its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory<'m> {
    pool: &'m Pool<'m>,
    machine: &'m FakeMachine,
}

impl<'m> Memory<'m> {
    pub(crate) const fn device(self, limits: Limits) -> Device<'m> {
        Device::new(self.pool, self.machine, limits, Policy::Force)
    }
}

/// A device, its driver, and who calls that.
pub(crate) trait Story: Default {
    /// The device.
    type Chip<'c>;

    /// The longest that a call into the driver may take.
    const CALL_LIMIT: Duration;
    /// How often it is called at most.
    const CALLS: usize;
    /// How far the device reaches.
    const MASK: DmaMask = DmaMask::BITS_32;

    fn chip(around: Surroundings<'_>) -> Self::Chip<'_>;

    fn around<'a>(chip: &'a Self::Chip<'_>) -> &'a Surroundings<'a>;

    fn start<'m>(
        chip: &'m Self::Chip<'_>,
        memory: Memory<'m>,
    ) -> Result<Box<dyn Mover + 'm>, StartError>;

    /// One thing that the guest does with the device.
    fn act(&mut self, mover: &mut dyn Mover, chip: &Self::Chip<'_>);
}

/// What a guest does with any device but give it something: has back what it `sent`, which is right unless the device broke
/// a rule (`odd`), turns its interrupts on and off, acknowledges.
pub(crate) fn go_on(
    mover: &mut dyn Mover,
    input: &Input,
    sent: &[u8],
    back: &mut Vec<u8>,
    odd: &Cell<bool>,
) {
    match input.below(5) {
        0..3 => {
            if let Ok(Arrival::Back(len)) = mover.fetch(sent, back) {
                assert!(len <= back.len(), "{len} of {}", back.len());
                assert!(odd.get() || back[..len] == *sent);
            }
        }
        3 => {
            let some = input.once_in(2);
            mover.enable_interrupts(if some { Cause::RECEIVER } else { Cause::empty() });
        }
        _ => drop(mover.acknowledge()),
    }
}

/// Plays a story by the input's bytes.
///
/// # Panics
/// If what is asserted does not hold.
pub(crate) fn run<S: Story>(bytes: &[u8]) {
    let input = Input::new(bytes);
    MACHINE.with_borrow_mut(|(machine, table)| {
        machine.reset();
        play::<S>(machine, table, input);
    });
}

fn play<S: Story>(machine: &FakeMachine, table: &mut Table, input: Input) {
    let clock = TickingClock::default();
    let (given, tame) = Default::default();
    let chip = S::chip(Surroundings { machine, clock: &clock, input, given, tame });
    let pool = Pool::new(table, machine);
    let max_order = Order::new(5).unwrap_or(Order::MAX);
    let plan = Plan { max_order, floor: 4096, mask: S::MASK, ..Plan::new(128 << 10) };
    if pool.start(&plan, &mut |_| {}).is_err() {
        return;
    }
    let around = S::around(&chip);
    let start = clock.now();
    let started = S::start(&chip, Memory { pool: &pool, machine });
    let took = clock.now().since(start);
    assert!(took < S::CALL_LIMIT, "a start took {took:?}");
    let Ok(mut mover) = started else { return };
    let mut story = S::default();
    for _ in 0..S::CALLS {
        if around.input.is_over() {
            break;
        }
        let start = clock.now();
        story.act(&mut *mover, &chip);
        let took = clock.now().since(start);
        assert!(took < S::CALL_LIMIT, "a call took {took:?}");
    }
    for &(bus, len) in around.given.borrow().iter() {
        assert!(mover.dma_ranges().iter().any(|range| range.covers(bus, len)), "{len} at {bus}");
    }
    // Whether it stops at once or not: nothing is lost for as long as it stops in the end.
    let _ = mover.quiesce();
    around.tame.set(true);
    let _ = mover.quiesce();
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

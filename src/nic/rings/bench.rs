//! A card of each family on a bench: its chip is played, its machine is a fake, and a test does with both what it likes.

use crate::{
    addr::DmaMask,
    device::{Idle as _, StartError, fake::TickingClock},
    dma::{
        Device, Limits, Plan, Policy, Pool, PowerOfTwo, Table,
        fake::{FakeMachine, Reused},
    },
    nic::{
        Nic,
        cplus::{self, Model},
        fake::{
            cplus::CPlus,
            pcnet::Pcnet,
            played::{Played, Player},
            virtio::{CAPABILITIES, Traits, Virtio},
        },
        pcnet, virtio,
    },
};
use alloc::{boxed::Box, vec::Vec};

pub(super) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The machine's heap is out of a device's reach: everything bounces.
pub(super) fn limits() -> Limits {
    Limits::new(DmaMask::BITS_32).aligned_to(PowerOfTwo::new(8).unwrap())
}

/// What a card is started with.
type Start<'m> = dyn Fn(Device<'m>) -> Result<Box<dyn Nic + 'm>, StartError> + 'm;

/// A machine with one chip in it.
pub(super) struct Bench<'m> {
    pub(super) chip: &'m dyn Player,
    pub(super) clock: &'m TickingClock,
    pub(super) pool: &'m Pool<'m>,
    pub(super) machine: &'m FakeMachine,
    start: &'m Start<'m>,
}

impl<'m> Bench<'m> {
    /// Resets the chip and starts its driver.
    pub(super) fn start(&self) -> Result<Box<dyn Nic + 'm>, StartError> {
        self.start_with(Policy::Auto)
    }

    pub(super) fn start_with(&self, policy: Policy) -> Result<Box<dyn Nic + 'm>, StartError> {
        (self.start)(Device::new(self.pool, self.machine, limits(), policy))
    }
}

/// How many families there are.
pub(super) const COUNT: usize = FAMILIES.len();

/// A machine without a pool yet, and with a chip of one family.
type Family = fn(&mut dyn FnMut(&Bench<'_>));

const FAMILIES: [Family; 6] = [
    |test| with_cplus(Model::Rtl8139, test),
    |test| with_cplus(Model::Rtl8168, test),
    |test| with_cplus(Model::Rtl8125, test),
    |test| with_pcnet(false, test),
    |test| with_pcnet(true, test),
    with_virtio,
];

/// Whether a card's chip says of a frame that it was not sent, and counts those lost for want of room.
pub(super) fn tells_losses(card: &dyn Nic) -> bool {
    card.name() != "virtio-net"
}

/// Whether a card's chip is told by its ring how far it has come, and not by each descriptor.
pub(super) fn counts(card: &dyn Nic) -> bool {
    card.name() == "virtio-net"
}

fn with_cplus(model: Model, test: &mut dyn FnMut(&Bench<'_>)) {
    with_machine(|machine, clock, pool| {
        let chip = Played::new(machine, MAC, CPlus::new(model));
        let start = |device| {
            let card = cplus::reset(model, &chip, clock)?.start(device)?;
            Ok(Box::new(card) as Box<dyn Nic>)
        };
        test(&Bench { chip: &chip, clock, pool, machine, start: &start });
    });
}

fn with_pcnet(double_word: bool, test: &mut dyn FnMut(&Bench<'_>)) {
    with_machine(|machine, clock, pool| {
        let chip = Played::new(machine, MAC, Pcnet::new(double_word));
        let start = |device| {
            let card = pcnet::reset(&chip, clock)?.start(device)?;
            Ok(Box::new(card) as Box<dyn Nic>)
        };
        test(&Bench { chip: &chip, clock, pool, machine, start: &start });
    });
}

fn with_virtio(test: &mut dyn FnMut(&Bench<'_>)) {
    with_machine(|machine, clock, pool| {
        let chip = Played::new(machine, MAC, Virtio::new(Traits::default()));
        let start = |device| {
            let card = virtio::reset(&CAPABILITIES, |_| Ok(&chip), clock)?.start(device)?;
            Ok(Box::new(card) as Box<dyn Nic>)
        };
        test(&Bench { chip: &chip, clock, pool, machine, start: &start });
    });
}

fn with_machine(test: impl FnOnce(&FakeMachine, &TickingClock, &Pool<'_>)) {
    let reused = Reused::default();
    let machine: &FakeMachine = &reused;
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, machine);
    test(machine, &TickingClock::default(), &pool);
}

/// Runs `test` for each family on a machine without a pool.
pub(super) fn on_each(mut test: impl FnMut(&Bench<'_>)) {
    FAMILIES.iter().for_each(|family| family(&mut test));
}

/// Runs `test` for each family on a machine with a pool of 1 MiB.
pub(super) fn with_pool(mut test: impl FnMut(&Bench<'_>)) {
    on_each(|bench| {
        bench.pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        test(bench);
    });
}

/// Runs `test` on a started card of each family; afterwards everything must be back, and no address out of place.
pub(super) fn with_card(mut test: impl FnMut(&dyn Player, &mut dyn Nic)) {
    with_pool(|bench| {
        let mut card = bench.start().unwrap();
        test(bench.chip, &mut *card);
        for (bus, len) in bench.chip.touched() {
            let given = card.dma_ranges().iter().any(|range| range.covers(bus, len));
            assert!(given, "{len} bytes at {bus} were never given");
        }
        card.quiesce().ok();
        assert!(!bench.chip.is_running());
        drop(card);
        assert!(bench.pool.stats().is_balanced(), "{:?}", bench.pool.stats());
    });
}

pub(super) fn frame(len: usize, seed: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i * 7 + seed * 31 + len) % 251).unwrap();
    let mut frame: Vec<u8> = (0..len).map(byte).collect();
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame
}

pub(super) fn to_us(len: usize, seed: usize) -> Vec<u8> {
    let mut frame = frame(len, seed);
    frame[..6].copy_from_slice(&MAC);
    frame
}

//! A card of each model on a bench: its chip is played, its machine is a fake, and a test does with both what it likes.

use super::Idle;
use crate::{
    addr::DmaMask,
    device::{Idle as _, StartError, fake::TickingClock},
    dma::{
        Device, Limits, Plan, Policy, Pool, PowerOfTwo, Table,
        fake::{FakeMachine, Reused},
    },
    nic::{
        FRAME_MIN, HEADER, Nic, TxFailure, cplus, e1000,
        fake::{
            cplus::CPlus,
            intel::{Intel, Kind},
            pcnet::Pcnet,
            played::{Logic, Played, Player},
            virtio::{CAPABILITIES, Traits, Virtio},
        },
        igb, pcnet, virtio,
    },
};
use alloc::{boxed::Box, vec::Vec};

pub(in crate::nic) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The machine's heap is out of a device's reach: everything bounces.
pub(in crate::nic) fn limits() -> Limits {
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

/// A machine without a pool yet, and with one chip.
type Model = fn(&mut dyn FnMut(&Bench<'_>));

/// One chip of each kind that shows.
pub(super) const MODELS: [Model; 10] = [
    |test| with_intel(Kind::I82540, test),
    |test| with_intel(Kind::I82574, test),
    |test| with_intel(Kind::Igb, test),
    |test| with_intel(Kind::Igc, test),
    |test| with_cplus(cplus::Model::Rtl8139, test),
    |test| with_cplus(cplus::Model::Rtl8168, test),
    |test| with_cplus(cplus::Model::Rtl8125, test),
    |test| with_pcnet(false, test),
    |test| with_pcnet(true, test),
    with_virtio,
];

/// What a card's chip says of a frame that it did not send.
pub(super) fn failures(card: &dyn Nic) -> &'static [TxFailure] {
    match card.name() {
        "igb" | "igc" | "virtio-net" => &[],
        "e1000" | "e1000e" => &[TxFailure::Aborted, TxFailure::LateCollision],
        _ => &[TxFailure::Aborted, TxFailure::LateCollision, TxFailure::Underrun],
    }
}

/// Whether a card's chip counts the frames that it had no room for.
pub(super) fn counts_missed(card: &dyn Nic) -> bool {
    card.name() != "virtio-net"
}

/// The shortest frame that a card's chip may hand over: the device that is none has no wire.
pub(super) fn shortest(card: &dyn Nic) -> usize {
    if card.name() == "virtio-net" { HEADER } else { FRAME_MIN }
}

/// Whether a card's chip is told by its ring how far it has come, and not by each descriptor.
pub(super) fn is_split(card: &dyn Nic) -> bool {
    card.name() == "virtio-net"
}

/// Resets one of Intel's chips.
pub(in crate::nic) fn reset_intel<'c>(
    kind: Kind,
    chip: &'c Played<'_, Intel>,
    clock: &'c TickingClock,
) -> Result<Idle<'c>, StartError> {
    match kind {
        Kind::I82540 => e1000::reset(e1000::Model::I82540, chip, clock),
        Kind::I82574 => e1000::reset(e1000::Model::I82574, chip, clock),
        Kind::Igb => igb::reset(igb::Model::Igb, chip, clock),
        Kind::Igc => igb::reset(igb::Model::Igc, chip, clock),
    }
}

fn with_intel(kind: Kind, test: &mut dyn FnMut(&Bench<'_>)) {
    with_chip(Intel::new(kind), |chip, clock| reset_intel(kind, chip, clock), test);
}

fn with_cplus(model: cplus::Model, test: &mut dyn FnMut(&Bench<'_>)) {
    with_chip(CPlus::new(model), |chip, clock| cplus::reset(model, chip, clock), test);
}

fn with_pcnet(double_word: bool, test: &mut dyn FnMut(&Bench<'_>)) {
    with_chip(Pcnet::new(double_word), |chip, clock| pcnet::reset(chip, clock), test);
}

fn with_virtio(test: &mut dyn FnMut(&Bench<'_>)) {
    let logic = Virtio::new(Traits::default());
    with_chip(logic, |chip, clock| virtio::reset(&CAPABILITIES, |_| Ok(chip), clock), test);
}

fn with_chip<L: Logic>(
    logic: L,
    reset: impl for<'c, 'm> Fn(&'c Played<'m, L>, &'c TickingClock) -> Result<Idle<'c>, StartError>,
    test: &mut dyn FnMut(&Bench<'_>),
) {
    with_machine(|machine, clock, pool| {
        let chip = Played::new(machine, MAC, logic);
        let start = |device| {
            let card = reset(&chip, clock)?.start(device)?;
            Ok(Box::new(card) as Box<dyn Nic>)
        };
        test(&Bench { chip: &chip, clock, pool, machine, start: &start });
    });
}

pub(in crate::nic) fn with_machine(test: impl FnOnce(&FakeMachine, &TickingClock, &Pool<'_>)) {
    let reused = Reused::default();
    let machine: &FakeMachine = &reused;
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, machine);
    test(machine, &TickingClock::default(), &pool);
}

/// Runs `test` with each model on a machine without a pool.
pub(super) fn on_each(mut test: impl FnMut(&Bench<'_>)) {
    MODELS.iter().for_each(|model| model(&mut test));
}

/// Runs `test` with each model on a machine with a pool.
pub(super) fn with_pool(mut test: impl FnMut(&Bench<'_>)) {
    MODELS.iter().for_each(|model| with_pool_of(*model, &mut test));
}

/// Runs `test` with one model on a machine with a pool of 1 MiB.
pub(super) fn with_pool_of(model: Model, test: &mut dyn FnMut(&Bench<'_>)) {
    model(&mut |bench| {
        bench.pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        test(bench);
    });
}

/// Runs `test` on a started card of each model; afterwards everything must be back, and no address out of place.
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

pub(in crate::nic) fn frame(len: usize, seed: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i * 7 + seed * 31 + len) % 251).unwrap();
    let mut frame: Vec<u8> = (0..len).map(byte).collect();
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame
}

pub(in crate::nic) fn to_us(len: usize, seed: usize) -> Vec<u8> {
    let mut frame = frame(len, seed);
    frame[..6].copy_from_slice(&MAC);
    frame
}

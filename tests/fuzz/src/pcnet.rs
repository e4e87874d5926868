//! The driver of the PCnet-PCI II over a chip whose registers read as anything, and which writes anything into its rings and
//! buffers: `cards` says what is asserted. The rings are where its initialization block says so.

use crate::{
    Input,
    cards::{self, Chip, Family, Ring},
};
use pvbounce::{
    addr::to_usize,
    device::{StartError, fake::TickingClock},
    nic::{
        pcnet,
        rings::{Idle, chip::BUFFER},
    },
};
use std::cell::Cell;

const ONES: u64 = 0xf << 44;

#[derive(Debug, Default)]
struct Pcnet {
    register: Cell<u32>,
    block: Cell<u32>,
    /// What of the status reads as set.
    status: Cell<u32>,
}

impl Pcnet {
    fn set_status(&self, chip: &Chip<'_, Self>, value: u32) {
        if value & 4 != 0 {
            self.status.set(4);
            chip.rx.take();
            chip.tx.take();
        }
        if value & 1 != 0 {
            self.status.set(0x105);
            let at = u64::from(self.block.get());
            let [[_, _], [third, fourth]] = [chip.words(at), chip.words(at + 16)];
            chip.rx.set(Ring::new(third >> 32));
            chip.tx.set(Ring::new(fourth & 0xffff_ffff));
        }
        if value & 2 != 0 {
            self.status.set(0x33);
            chip.start();
        }
        if value & 8 != 0 && !chip.input.once_in(32) {
            chip.send();
        }
    }
}

impl Family for Pcnet {
    const OWN: u64 = 1 << 63;
    const WHOLE: u64 = 3 << 56;
    const SIZE: usize = 0x20;

    fn new(_: &Input) -> Self {
        Self::default()
    }

    fn offered(_: bool) -> u64 {
        let size = BUFFER as u64;
        Self::OWN | ONES | (size.wrapping_neg() & 0xfff) << 32
    }

    fn received(_: u64, status: u64, length: usize) -> u64 {
        status & !0xfff | length as u64
    }

    fn length_to_send(word: u64, _: bool) -> usize {
        assert_eq!(word & !(0xfff << 32), Self::OWN | Self::WHOLE | ONES);
        4096 - to_usize(word >> 32 & 0xfff)
    }

    fn sent(_: u64, status: u32) -> u64 {
        (u64::from(status) << 32 | u64::from(status)) & !Self::OWN
    }

    fn read(&self, chip: &Chip<'_, Self>, offset: usize) -> Option<u32> {
        match (offset, self.register.get()) {
            (0 | 4, _) => Some(0x5252),
            (0x10, 0) if chip.tame.get() => Some(4),
            (0x10, 0) if !chip.stuck => Some(self.status.get() | u32::from(chip.input.u8()) << 8),
            (0x10, _) => Some(u32::from(chip.input.u16())),
            _ => None,
        }
    }

    fn write(&self, chip: &Chip<'_, Self>, offset: usize, value: u32) {
        match (offset, self.register.get()) {
            (0x10, 0) => self.set_status(chip, value),
            (0x10, 1) => self.block.set(self.block.get() & !0xffff | value),
            (0x10, 2) => self.block.set(self.block.get() & 0xffff | value << 16),
            (0x14, _) => self.register.set(value),
            _ => {}
        }
    }

    fn reset<'m>(
        chip: &'m Chip<'m, Self>,
        clock: &'m TickingClock,
    ) -> Result<Idle<'m>, StartError> {
        pcnet::reset(chip, clock)
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    cards::run::<Pcnet>(bytes);
}

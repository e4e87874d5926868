//! The driver of chips with C+ descriptors over one whose registers read as anything, and which writes anything into its
//! rings and buffers: `cards` says what is asserted. Each ring ends where its last descriptor says so.

use crate::{
    Input,
    cards::{self, Chip, Family, Ring},
};
use pvbounce::{
    addr::to_usize,
    device::{StartError, fake::TickingClock},
    nic::{
        cplus::{self, Model},
        rings::{Idle, chip::BUFFER},
    },
};

const EOR: u64 = 1 << 30;

#[derive(Debug)]
struct CPlus(Model);

/// A base with one of its halves written.
fn set(ring: Ring, high: bool, value: u32) -> Ring {
    let value = u64::from(value);
    Ring::new(if high { value << 32 } else { ring.base >> 32 << 32 | value })
}

impl Family for CPlus {
    const OWN: u64 = 1 << 31;
    const WHOLE: u64 = 3 << 28;
    const SIZE: usize = 0x100;

    fn new(input: &Input) -> Self {
        Self([Model::Rtl8139, Model::Rtl8168, Model::Rtl8125][input.below(3)])
    }

    fn offered(last: bool) -> u64 {
        Self::OWN | if last { EOR } else { 0 } | BUFFER as u64
    }

    fn received(word: u64, status: u64, length: usize) -> u64 {
        word & EOR | status & 0xffff_e000 | length as u64
    }

    fn length_to_send(word: u64, last: bool) -> usize {
        assert_eq!(word & !0xffff, Self::OWN | Self::WHOLE | if last { EOR } else { 0 });
        to_usize(word & 0xffff)
    }

    fn sent(_: u64, status: u32) -> u64 {
        u64::from(status) & !Self::OWN
    }

    fn read(&self, chip: &Chip<'_, Self>, offset: usize) -> Option<u32> {
        match offset {
            0..6 => Some(0x52),
            0x37 if chip.tame.get() || !chip.stuck => Some(0),
            0x3c | 0x3e => Some(u32::from(chip.input.u8())),
            0x40 => Some(0x7480_0000),
            _ => None,
        }
    }

    fn write(&self, chip: &Chip<'_, Self>, offset: usize, value: u32) {
        match offset {
            0x20 | 0x24 => chip.tx.update(|ring| set(ring, offset == 0x24, value)),
            0xe4 | 0xe8 => chip.rx.update(|ring| set(ring, offset == 0xe8, value)),
            0x37 if value & 0x10 != 0 => {
                chip.rx.take();
                chip.tx.take();
            }
            0x37 => chip.start(),
            // By this or by that it is the doorbell; where it is none, nothing waits.
            0xd9 | 0x90 | 0x38 if !chip.input.once_in(32) => chip.send(),
            _ => {}
        }
    }

    fn reset<'m>(
        chip: &'m Chip<'m, Self>,
        clock: &'m TickingClock,
    ) -> Result<Idle<'m>, StartError> {
        cplus::reset(chip.family.0, chip, clock)
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    cards::run::<CPlus>(bytes);
}

//! Realtek's chips with C+ descriptors: the RTL8139C+ in that mode, the RTL8168 and RTL8111 (PCI Express, gigabit), and
//! the RTL8125.
//!
//! ```text
//! model        which of the chips it is
//! regs         offsets and bits, by their datasheet names
//! descriptor   what is written into a descriptor, and what is read of it
//! chip         which register when
//! ```
//! Rings and frames are [`super::rings`]'s, with the tests of both, and what the chips kept of the RTL8139 is [`super::rtl8139`]'s.
//!
//! Loopback is the MAC's. A gigabit chip may loop nothing back before its link is there.
//!
//! Known of QEMU's model of the RTL8139C+ (hw/net/rtl8139.c, up to 10.0): a frame is sent within the write to TPPoll, and
//! what comes of it is in the ring when that write returns; a frame that finds no descriptor is lost and counted, also
//! one from the wire; in loopback frames from the wire mix in.

mod chip;
mod descriptor;
mod model;
mod regs;

#[cfg(test)]
mod tests;

use super::{
    rings::{self, chip::Chip as _},
    rtl8139::regs::LEN,
};
use crate::{
    arch::time::Clock,
    device::{Registers, StartError, registers::at_least},
};
use chip::Chip;

pub use model::Model;

/// Resets the chip behind `regs`, whatever it was left doing. Memory decoding must be on.
pub fn reset<'m, R: Registers + 'm>(
    model: Model,
    regs: R,
    clock: &'m dyn Clock,
) -> Result<rings::Idle<'m>, StartError> {
    at_least(&regs, LEN)?;
    let chip = Chip::new(model, regs, clock);
    let stopped = chip.reset()?;
    let mac = chip.mac();
    let version = chip.version();
    chip.check_there()?;
    if model == Model::Rtl8139 && version != regs::VERSION_8139C_PLUS {
        return Err(StartError::Unfit { what: "hardware version", value: version.into() });
    }
    rings::Idle::new(chip, clock, mac, stopped)
}

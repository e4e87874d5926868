//! AMD's Am79C970A, the PCnet-PCI II: a card of 32 address lines and with one pin.
//!
//! ```text
//! regs         ports, numbers of registers and bits, by their datasheet names
//! descriptor   what is written into a descriptor, and what is read of it
//! chip         which register when
//! ```
//! Rings and frames are [`super::rings`]'s, with the tests of both. The chip is told of its rings by an initialization
//! block, which lies beside them.
//!
//! Known of QEMU's model (hw/net/pcnet.c, up to 10.0): a frame is sent within the write of TDMD, or some time after its
//! descriptor was written; where the next receive descriptor is not the device's it looks for one that is; frames from
//! the wire are held back while the loop is closed; a reset ends double word I/O mode, which on the chip only its pin does.

mod chip;
mod descriptor;
mod regs;

use super::rings::{self, chip::Chip as _};
use crate::{
    arch::time::Clock,
    device::{Registers, StartError, registers::at_least},
};
use chip::Chip;
use regs::LEN;

/// Resets the chip behind `regs`, whatever it was left doing. Memory decoding must be on.
pub fn reset<'m, R: Registers + 'm>(
    regs: R,
    clock: &'m dyn Clock,
) -> Result<rings::Idle<'m>, StartError> {
    at_least(&regs, LEN)?;
    let mut chip = Chip::new(regs, clock);
    let stopped = chip.reset()?;
    let mac = chip.read_mac();
    chip.check_there()?;
    rings::Idle::new(chip, clock, mac, stopped)
}

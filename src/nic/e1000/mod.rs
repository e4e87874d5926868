//! Intel's gigabit cards with legacy descriptors: the 82540EM (PCI) and the 82574L (PCI Express).
//!
//! ```text
//! regs         offsets and bits, by their datasheet names
//! descriptor   what is written into a descriptor, and what is read of it
//! chip         which register when
//! ```
//! Rings and frames are [`super::rings`]'s.
//!
//! Loopback is the PHY's, as both manuals advise for a chip with a PHY inside; a frame goes round as soon as the PHY has
//! closed its loop. A reset masks all interrupts, turns both directions off, has the 82574L end its accesses to memory
//! and say so, and resets the chip; it is over once the reset bit and both directions read as off.
//!
//! Known of QEMU's models (hw/net/e1000.c, hw/net/e1000e_core.c, 7.2 to 10.0): a frame is sent within the write to TDT,
//! and what comes of it is in the ring when that write returns; the 82540EM takes no reset at all, and receives nothing
//! for a second after a write to RCTL, looped frames included, which are lost; older ones of the 82574L clear no cause
//! when ICR is read; the missed packets count is not cleared when it is read; the 82574L's messages by MSI-X are spaced out
//! by 128 microseconds whatever EITR says, and up to 10.0 each is followed by one more at the end of that time.

mod chip;
mod descriptor;
mod regs;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing;

use super::rings::{self, chip::Chip as _};
use crate::{
    arch::time::Clock,
    device::{Registers, StartError},
};
use chip::Chip;

/// Which of the chips it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// 82540EM.
    I82540,
    /// 82574L.
    I82574,
}

impl Model {
    const fn name(self) -> &'static str {
        match self {
            Self::I82540 => "e1000",
            Self::I82574 => "e1000e",
        }
    }
}

/// Resets the chip behind `regs`, whatever it was left doing. Memory decoding must be on.
pub fn reset<'m, R: Registers + 'm>(
    model: Model,
    regs: R,
    clock: &'m dyn Clock,
) -> Result<rings::Idle<'m>, StartError> {
    if regs.size() < regs::LEN {
        return Err(StartError::BarTooSmall { len: regs.size(), needed: regs::LEN });
    }
    let chip = Chip::new(model, regs, clock);
    let stopped = chip.reset()?;
    let mac = chip.mac()?.ok_or(StartError::Unfit { what: "address valid bit", value: 0 })?;
    chip.forget_multicast();
    rings::Idle::new(chip, mac, stopped)
}

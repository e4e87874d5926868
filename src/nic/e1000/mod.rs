//! Intel's gigabit cards with legacy descriptors: the 82540EM (PCI) and the 82574L (PCI Express).
//!
//! ```text
//! regs         offsets and bits, by their datasheet names
//! descriptor   what is written into a descriptor, and what is read of it
//! chip         which register when
//! ```
//! What other Intel chips do alike is `nic::intel`'s.
//!
//! Loopback is the PHY's, as both manuals advise for a chip with a PHY inside; a frame goes round as soon as the PHY has
//! closed its loop.
//!
//! Known of QEMU's models (hw/net/e1000.c, hw/net/e1000e_core.c, 7.2 to 10.0): a frame is sent within the write to TDT,
//! and what comes of it is in the ring when that write returns; the 82540EM takes no reset at all, and receives nothing
//! for a second after a write to RCTL, looped frames included, which are lost; older ones of the 82574L clear no cause
//! when ICR is read; the missed packets count is not cleared when it is read; the 82574L's messages by MSI-X are spaced out
//! by 128 microseconds whatever EITR says, and up to 10.0 each is followed by one more at the end of that time.

mod chip;
mod descriptor;
mod regs;

use super::{intel, rings::Idle};
use crate::{
    arch::time::Clock,
    device::{Registers, StartError},
};

/// Which of the chips it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// 82540EM.
    I82540,
    /// 82574L.
    I82574,
}

/// Resets the chip behind `regs`, whatever it was left doing. Memory decoding must be on.
pub fn reset<'m, R: Registers + 'm>(
    model: Model,
    regs: R,
    clock: &'m dyn Clock,
) -> Result<Idle<'m>, StartError> {
    intel::reset(model, regs, clock)
}

//! Intel's gigabit cards with advanced descriptors and several queues, of which one each way is used: the 82576, I350,
//! I210 and I211, and at 2.5 Gbit/s the I225 and I226.
//!
//! ```text
//! regs         offsets and bits, by their datasheet names
//! descriptor   what is written into a descriptor, and what is read of it
//! chip         which register when
//! ```
//! What other Intel chips do alike is `nic::intel`'s.
//!
//! Loopback is the MAC's: it is the same in all models, where each PHY would want its own. Interrupts are those of one
//! vector (GPIE.Multiple_MSIX clear, 82576 section 7.3): by pin, by MSI and by MSI-X the same causes are read from ICR and
//! masked in IMS, and nothing is told apart by vectors.
//!
//! Known of QEMU's 82576 (hw/net/igb_core.c, 8.0 to 10.0): a frame is sent within the write to TDT; a reset leaves EITR as
//! it was, and takes the link until the PHY has negotiated anew, which takes half a second; without a link nothing is
//! received, looped frames included; legacy descriptors to receive are not known, nor causes at other places than
//! the 8254x's.

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
    /// 82576, I350, I210 and I211.
    Igb,
    /// I225 and I226.
    Igc,
}

/// Resets the chip behind `regs`, whatever it was left doing. Memory decoding must be on.
pub fn reset<'m, R: Registers + 'm>(
    model: Model,
    regs: R,
    clock: &'m dyn Clock,
) -> Result<Idle<'m>, StartError> {
    intel::reset(model, regs, clock)
}

//! What Intel's gigabit controllers have in common, which is most: reset, address, link, counts, causes.
//!
//! | family | chips | descriptors | loopback |
//! |---|---|---|---|
//! | [`super::e1000`] | 82540EM, 82574L | legacy | in the PHY |
//! | [`super::igb`] | 82576, I350, I210, I211, I225, I226 | advanced | in the MAC |
//!
//! A family says where its registers are, how its queues are set up and what its descriptors look like ([`Family`]). Rings
//! and frames are [`super::rings`]'s.
//!
//! A reset masks all interrupts, turns both directions off, has a chip on PCI Express end its accesses to memory and say
//! so, and resets the chip; it is over once the reset bit and both directions read as off.

pub(super) mod chip;
pub(super) mod mac;
pub(super) mod regs;

#[cfg(test)]
mod tests;

use super::rings::{self, chip::Chip as _};
use crate::{
    arch::time::Clock,
    device::{Registers, StartError, registers::at_least},
};
use chip::{Chip, Family};

/// Resets the chip behind `regs`, whatever it was left doing. Memory decoding must be on.
pub(super) fn reset<'m, R: Registers + 'm>(
    family: impl Family + 'm,
    regs: R,
    clock: &'m dyn Clock,
) -> Result<rings::Idle<'m>, StartError> {
    at_least(&regs, regs::LEN)?;
    let chip = Chip::new(family, regs, clock);
    let stopped = chip.reset()?;
    let address =
        chip.address()?.ok_or(StartError::Unfit { what: "address valid bit", value: 0 })?;
    rings::Idle::new(chip, clock, address, stopped)
}

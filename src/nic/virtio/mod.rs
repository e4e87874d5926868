//! A virtio network device, as virtio 1.0 and later have it on PCI.
//!
//! ```text
//! regs         offsets and bits, by their names in the specification
//! structures   where they are: the device says by capabilities
//! chip         which register when
//! ```
//! Rings and frames are [`super::rings`]'s, with the tests of both; the rings are split virtqueues.
//!
//! The device has to be one that uses bus addresses (`VIRTIO_F_ACCESS_PLATFORM`): any other would read and write a Xen
//! guest's memory past the IOMMU. It has no loop inside: what is sent comes back only where somebody on the wire sends it
//! back. No interrupt of a queue is held back: where none was asked for as something came, none comes for it later.
//!
//! Known of QEMU's model (hw/net/virtio-net.c, up to 10.0): without further features it receives frames for any address.

mod chip;
mod regs;
mod structures;

#[cfg(test)]
mod tests;

use super::rings::{self, chip::Chip as _};
use crate::{
    arch::time::Clock,
    device::{Registers, StartError},
    pci::cap::Vendor,
};
use chip::Chip;
use structures::Structures;

/// Resets the device whose structures are where its own capabilities say, whatever it was left doing. `map` maps a BAR.
/// Memory decoding must be on.
pub fn reset<'m, R: Registers + 'm>(
    vendor: &[Vendor],
    map: impl FnMut(u8) -> Result<R, StartError>,
    clock: &'m dyn Clock,
) -> Result<rings::Idle<'m>, StartError> {
    let mut chip = Chip::new(Structures::find(vendor, map)?, clock);
    chip.reset()?;
    let mac = chip.identify()?;
    // Each start begins with features, and the first is no other.
    let stopped = chip.reset()?;
    rings::Idle::new(chip, clock, mac, stopped)
}

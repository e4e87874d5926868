//! Which driver runs which device.

use super::{Nic, error::StartError, rtl8139};
use crate::{
    arch::time::Clock,
    dma::{self, DeviceStopped, Limits},
    mm::pages::DeviceMemory,
};
use alloc::boxed::Box;

/// A driver of this guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// Realtek RTL8139C and C+: a receive ring and four transmit slots, 32-bit addresses, INTx.
    Rtl8139,
}

/// Vendor, device, driver.
const DRIVERS: [(u16, u16, DriverKind); 1] = [(0x10ec, 0x8139, DriverKind::Rtl8139)];

/// The driver for a device with these numbers in its configuration space.
pub fn driver_for(vendor: u16, device: u16) -> Option<DriverKind> {
    let mut drivers = DRIVERS.iter();
    drivers.find(|&&(v, d, _)| (v, d) == (vendor, device)).map(|&(.., kind)| kind)
}

/// The names of all drivers, for a message about a device without one.
pub fn driver_names() -> impl Iterator<Item = &'static str> {
    DRIVERS.iter().map(|(.., kind)| kind.name())
}

impl DriverKind {
    /// The chip.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rtl8139 => rtl8139::NAME,
        }
    }

    /// The memory BAR its registers are in.
    pub const fn bar(self) -> usize {
        match self {
            Self::Rtl8139 => 1,
        }
    }

    /// What the device demands of addresses.
    pub const fn limits(self) -> Limits {
        match self {
            Self::Rtl8139 => rtl8139::limits(),
        }
    }

    /// Stops the device behind `bar`, which the driver keeps, whatever it was left doing. Memory decoding must be on; bus mastering is better
    /// off until this has returned.
    pub fn reset<'m>(
        self,
        bar: DeviceMemory<'m>,
        clock: &'m dyn Clock,
    ) -> Result<Idle<'m>, StartError> {
        match self {
            Self::Rtl8139 => Ok(Idle::Rtl8139(rtl8139::Idle::reset(bar, clock)?)),
        }
    }
}

/// A device that was seen to stop and was given no memory yet.
#[derive(Debug)]
#[must_use = "it does nothing before it is started"]
pub enum Idle<'m> {
    /// See [`DriverKind::Rtl8139`].
    Rtl8139(rtl8139::Idle<'m, DeviceMemory<'m>>),
}

impl<'m> Idle<'m> {
    /// The proof that the device was seen to stop.
    pub const fn stopped(&self) -> &DeviceStopped {
        match self {
            Self::Rtl8139(idle) => idle.stopped(),
        }
    }

    /// Gives the device memory and starts it. Bus mastering must be on ([`crate::pci::Decoding::allow_dma`]).
    pub fn start(self, dma: dma::Device<'m>) -> Result<Box<dyn Nic + 'm>, StartError> {
        match self {
            Self::Rtl8139(idle) => Ok(Box::new(idle.start(dma)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_both_numbers() {
        assert_eq!(driver_for(0x10ec, 0x8139), Some(DriverKind::Rtl8139));
        assert_eq!(driver_for(0x10ec, 0x8168), None);
        assert_eq!(driver_for(0x8139, 0x10ec), None);
        assert!(driver_names().eq(["rtl8139"]));
        assert_eq!(DriverKind::Rtl8139.bar(), 1, "BAR 0 has the same registers as I/O ports");
    }
}

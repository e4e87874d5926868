//! Which driver runs which device.

use super::{
    Nic,
    error::StartError,
    rtl8139::{self, Rtl8139},
};
use crate::{
    arch::time::Clock,
    dma::{self, Limits},
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

    /// Resets and starts the device behind `bar`, which the driver keeps. Memory decoding and bus mastering must be on.
    pub fn start<'m>(
        self,
        bar: DeviceMemory<'m>,
        dma: dma::Device<'m>,
        clock: &'m dyn Clock,
    ) -> Result<Box<dyn Nic + 'm>, StartError> {
        match self {
            Self::Rtl8139 => Ok(Box::new(Rtl8139::start(bar, dma, clock)?)),
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
    }
}

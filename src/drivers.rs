//! Which driver runs which device: one table, by the numbers or the class in config space.
//!
//! A row is a device's vendor and number, or its class, and the function that maps its registers and resets it. A new
//! family of devices is a folder with an [`Idle`] and a [`Driver`], and its rows here.

use crate::{
    arch::time::Clock,
    device::{Driver, Idle, Mover, StartError},
    dma::{self, DeviceStopped, Limits},
    engine::edu,
    mm::{memory::Memory, pages::DeviceMemory},
    nic::{
        Loopback, Nic, cplus,
        e1000::{self, Model},
        igb, pcnet, rtl8139, virtio,
    },
    pci::{
        Resources,
        ids::{Class, DeviceId},
    },
    storage::{ahci, nvme},
    usb::xhci,
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::fmt;

/// A driver of this guest.
#[derive(Debug)]
pub struct Entry {
    /// The devices it drives.
    pub drives: Drives,
    /// The chip.
    pub name: &'static str,
    reset: Reset,
}

/// What a driver drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drives {
    /// Devices of this maker with these numbers.
    Ids {
        /// The maker.
        vendor: u16,
        /// The devices.
        devices: &'static [u16],
    },
    /// Any device of this class, whoever made it: its registers are a standard's.
    Class(Class),
}

/// Maps a device's registers and stops it, whatever it was left doing.
type Reset =
    for<'m> fn(&Bars<'_, 'm>, &'m dyn Clock) -> Result<Box<dyn Ready<'m> + 'm>, StartError>;

/// RTL8168, 8111 and 8101.
const RTL8168: [u16; 3] = [0x8168, 0x8161, 0x8136];
/// 82576, I350, I210 and I211, for copper.
const IGB: [u16; 8] = [0x10c9, 0x10e8, 0x1526, 0x150a, 0x1521, 0x1533, 0x157b, 0x1539];
/// I225 and I226.
const IGC: [u16; 10] =
    [0x15f2, 0x15f3, 0x15f8, 0x0d9f, 0x3100, 0x3101, 0x125b, 0x125c, 0x125d, 0x3102];

const DRIVERS: [Entry; 14] = [
    entry(ids(0x10ec, &[0x8139]), "rtl8139", |bars, clock| {
        // BAR 0 has the same registers as I/O ports.
        Ok(card(rtl8139::Idle::reset(bars.map(1)?, clock)?))
    }),
    // Of two drivers for a device the first, unless the command line names the other.
    entry(ids(0x10ec, &[0x8139]), "rtl8139-cplus", |bars, clock| {
        Ok(card(cplus::reset(cplus::Model::Rtl8139, bars.map(1)?, clock)?))
    }),
    entry(ids(0x10ec, &RTL8168), "rtl8168", |bars, clock| {
        Ok(card(cplus::reset(cplus::Model::Rtl8168, bars.map(2)?, clock)?))
    }),
    entry(ids(0x10ec, &[0x8125]), "rtl8125", |bars, clock| {
        Ok(card(cplus::reset(cplus::Model::Rtl8125, bars.map(2)?, clock)?))
    }),
    entry(ids(0x1022, &[0x2000]), "pcnet", |bars, clock| {
        // BAR 0 has the same registers as I/O ports.
        Ok(card(pcnet::reset(bars.map(1)?, clock)?))
    }),
    entry(ids(0x8086, &[0x100e]), "e1000", |bars, clock| {
        Ok(card(e1000::reset(Model::I82540, bars.map(0)?, clock)?))
    }),
    entry(ids(0x8086, &[0x10d3]), "e1000e", |bars, clock| {
        Ok(card(e1000::reset(Model::I82574, bars.map(0)?, clock)?))
    }),
    entry(ids(0x8086, &IGB), "igb", |bars, clock| {
        Ok(card(igb::reset(igb::Model::Igb, bars.map(0)?, clock)?))
    }),
    entry(ids(0x8086, &IGC), "igc", |bars, clock| {
        Ok(card(igb::reset(igb::Model::Igc, bars.map(0)?, clock)?))
    }),
    // The second is what a device is called that is a legacy one, too.
    entry(ids(0x1af4, &[0x1041, 0x1000]), "virtio-net", |bars, clock| {
        Ok(card(virtio::reset(&bars.resources.vendor, |bar| bars.map(bar), clock)?))
    }),
    entry(ids(0x1234, &[0x11e8]), "edu", |bars, clock| {
        Ok(mover(edu::Idle::reset(bars.map(0)?, clock)?))
    }),
    // Non-volatile memory controllers with the NVM Express interface.
    entry(class(0x01, 0x08, 0x02), "nvme", |bars, clock| {
        Ok(mover(nvme::Idle::reset(bars.map(0)?, clock)?))
    }),
    // Serial ATA controllers with the AHCI interface.
    entry(class(0x01, 0x06, 0x01), "ahci", |bars, clock| {
        Ok(mover(ahci::Idle::reset(bars.map(5)?, clock)?))
    }),
    // USB controllers with the eXtensible Host Controller Interface.
    entry(class(0x0c, 0x03, 0x30), "xhci", |bars, clock| {
        Ok(mover(xhci::Idle::reset(bars.map(0)?, clock)?))
    }),
];

const fn entry(drives: Drives, name: &'static str, reset: Reset) -> Entry {
    Entry { drives, name, reset }
}

const fn ids(vendor: u16, devices: &'static [u16]) -> Drives {
    Drives::Ids { vendor, devices }
}

const fn class(base: u8, sub: u8, interface: u8) -> Drives {
    Drives::Class(Class { base, sub, interface })
}

/// The driver for a device with these numbers and this class in its configuration space; one for the very device comes
/// before one for its class, and the one that is `named` before both if it drives the device at all.
pub fn driver_for(
    id: DeviceId,
    class: Class,
    named: Option<&'static str>,
) -> Option<&'static Entry> {
    let by_id = |entry: &&Entry| match entry.drives {
        Drives::Ids { vendor, devices } => vendor == id.vendor && devices.contains(&id.device),
        Drives::Class(_) => false,
    };
    let all = || const { &DRIVERS }.iter();
    let asked = all().filter(|entry| Some(entry.name) == named);
    let by_class = || all().find(|entry| entry.drives == Drives::Class(class));
    asked.chain(all()).find(by_id).or_else(by_class)
}

/// The names of all drivers, for a message about a device without one.
pub fn names() -> impl Iterator<Item = &'static str> {
    DRIVERS.iter().map(|entry| entry.name)
}

/// What to do about a device without a driver.
pub fn remedy() -> String {
    let names: Vec<_> = names().collect();
    format!("use one of these: {}", names.join(", "))
}

impl Entry {
    /// Stops the device, whatever it was left doing. Memory decoding must be on; bus mastering is better off until
    /// this has returned.
    pub fn reset<'m>(
        &self,
        bars: &Bars<'_, 'm>,
        clock: &'m dyn Clock,
    ) -> Result<Box<dyn Ready<'m> + 'm>, StartError> {
        (self.reset)(bars, clock)
    }
}

/// Where a driver gets its device's registers.
#[derive(Clone, Copy, Debug)]
pub struct Bars<'a, 'm> {
    /// Where they are mapped.
    pub memory: &'m Memory<'m>,
    /// What the function offers.
    pub resources: &'a Resources,
}

impl<'m> Bars<'_, 'm> {
    /// Maps a memory BAR, whole.
    pub fn map(&self, index: u8) -> Result<DeviceMemory<'m>, StartError> {
        let (address, len) = self.resources.memory_bar(index)?;
        Ok(DeviceMemory::map(self.memory, address, len)?)
    }
}

/// A device that was seen to stop and was given no memory yet, whatever its family.
pub trait Ready<'m>: fmt::Debug {
    /// What the device demands of addresses.
    fn limits(&self) -> Limits;

    /// The proof that the device was seen to stop.
    fn stopped(&self) -> &DeviceStopped;

    /// Gives the device memory and starts it: see [`Idle::start`].
    fn start(self: Box<Self>, dma: dma::Device<'m>) -> Result<Started<'m>, StartError>;
}

/// A started device, by what can be asked of it.
#[derive(Debug)]
pub enum Started<'m> {
    /// A network card.
    Nic(Loopback<'m>),
    /// One that only moves bytes.
    Mover(Box<dyn Mover + 'm>),
}

impl<'m> Started<'m> {
    /// As a device that moves bytes, which each of them is.
    pub fn mover(&mut self) -> &mut (dyn Mover + 'm) {
        match self {
            Self::Nic(card) => card,
            Self::Mover(mover) => &mut **mover,
        }
    }

    /// As a device with a driver.
    pub fn driver(&self) -> &(dyn Driver + 'm) {
        match self {
            Self::Nic(card) => card,
            Self::Mover(mover) => &**mover,
        }
    }

    /// As a network card, if it is one.
    pub const fn card(&mut self) -> Option<&mut Loopback<'m>> {
        match self {
            Self::Nic(card) => Some(card),
            Self::Mover(_) => None,
        }
    }
}

/// A family's [`Idle`], with what its running driver is.
struct Family<'m, I: Idle<'m>> {
    idle: I,
    started: fn(I::Running) -> Started<'m>,
}

impl<'m, I: Idle<'m>> fmt::Debug for Family<'m, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.idle.fmt(f)
    }
}

impl<'m, I: Idle<'m>> Ready<'m> for Family<'m, I> {
    fn limits(&self) -> Limits {
        self.idle.limits()
    }

    fn stopped(&self) -> &DeviceStopped {
        self.idle.stopped()
    }

    fn start(self: Box<Self>, dma: dma::Device<'m>) -> Result<Started<'m>, StartError> {
        Ok((self.started)(self.idle.start(dma)?))
    }
}

fn card<'m, I: Idle<'m, Running: Nic> + 'm>(idle: I) -> Box<dyn Ready<'m> + 'm> {
    Box::new(Family { idle, started: |nic| Started::Nic(Loopback::new(Box::new(nic))) })
}

fn mover<'m, I: Idle<'m, Running: Mover> + 'm>(idle: I) -> Box<dyn Ready<'m> + 'm> {
    Box::new(Family { idle, started: |mover| Started::Mover(Box::new(mover)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_CLASS: Class = Class { base: 0, sub: 0xff, interface: 0 };

    fn name(vendor: u16, device: u16, class: Class) -> Option<&'static str> {
        driver_for(DeviceId { vendor, device }, class, None).map(|entry| entry.name)
    }

    #[test]
    fn a_device_is_known_by_both_numbers() {
        assert_eq!(name(0x10ec, 0x8139, NO_CLASS), Some("rtl8139"));
        assert_eq!(name(0x10ec, 0x8168, NO_CLASS), Some("rtl8168"));
        assert_eq!(name(0x10ec, 0x8125, NO_CLASS), Some("rtl8125"));
        assert_eq!(name(0x1022, 0x2000, NO_CLASS), Some("pcnet"));
        assert_eq!(name(0x10ec, 0x8169, NO_CLASS), None);
        assert_eq!(name(0x8139, 0x10ec, NO_CLASS), None);
        assert_eq!(name(0x1234, 0x11e8, NO_CLASS), Some("edu"));
        assert_eq!(name(0x8086, 0x100e, NO_CLASS), Some("e1000"));
        assert_eq!(name(0x8086, 0x10d3, NO_CLASS), Some("e1000e"));
        for device in [0x1041, 0x1000] {
            assert_eq!(name(0x1af4, device, NO_CLASS), Some("virtio-net"), "{device:x}");
        }
        assert_eq!(name(0x1af4, 0x1042, NO_CLASS), None);
        for device in [0x10c9, 0x1521, 0x1533, 0x1539] {
            assert_eq!(name(0x8086, device, NO_CLASS), Some("igb"), "{device:x}");
        }
        for device in [0x15f2, 0x15f3, 0x125b, 0x125c] {
            assert_eq!(name(0x8086, device, NO_CLASS), Some("igc"), "{device:x}");
        }
        assert!(names().eq(crate::options::DRIVERS));
        assert!(names().all(|name| remedy().contains(name)), "{}", remedy());
    }

    #[test]
    fn of_two_drivers_for_a_device_the_command_line_names_one() {
        let asked = |device, named| {
            let id = DeviceId { vendor: 0x10ec, device };
            driver_for(id, NO_CLASS, named).map(|entry| entry.name)
        };
        assert_eq!(asked(0x8139, Some("rtl8139-cplus")), Some("rtl8139-cplus"));
        assert_eq!(asked(0x8139, Some("rtl8139")), Some("rtl8139"));
        assert_eq!(asked(0x8168, Some("rtl8139-cplus")), Some("rtl8168"), "it drives no such card");
        assert_eq!(asked(0x8169, Some("rtl8168")), None);
    }

    #[test]
    fn some_devices_are_known_by_their_whole_class_whoever_made_them() {
        let disk = |interface| Class { base: 0x01, sub: 0x08, interface };
        assert_eq!(name(0x1b36, 0x0010, disk(0x02)), Some("nvme"));
        assert_eq!(name(0x144d, 0xa808, disk(0x02)), Some("nvme"));
        assert_eq!(name(0x144d, 0xa808, disk(0x01)), None);
        let serial = |interface| Class { base: 0x01, sub: 0x06, interface };
        assert_eq!(name(0x8086, 0x2922, serial(0x01)), Some("ahci"));
        assert_eq!(name(0x8086, 0x2922, serial(0x00)), None);
        let serial_bus = |interface| Class { base: 0x0c, sub: 0x03, interface };
        assert_eq!(name(0x1b36, 0x000d, serial_bus(0x30)), Some("xhci"));
        assert_eq!(name(0x8086, 0x24cd, serial_bus(0x20)), None, "EHCI");
        assert_eq!(name(0x10ec, 0x8139, disk(0x02)), Some("rtl8139"), "the very device first");
    }
}

//! One function's config space, typed. Source of truth: PCI Local Bus Specification 3.0, chapter 6.

use super::{
    Bdf, ConfigAccess, ConfigError, Width,
    ids::{Class, DeviceId},
};

/// Offsets of the registers every function has.
pub(super) mod reg {
    pub(in super::super) const VENDOR: u16 = 0x00;
    pub(in super::super) const COMMAND: u16 = 0x04;
    pub(in super::super) const STATUS: u16 = 0x06;
    pub(in super::super) const CLASS: u16 = 0x08;
    pub(in super::super) const CACHE_LINE_SIZE: u16 = 0x0c;
    pub(in super::super) const LATENCY_TIMER: u16 = 0x0d;
    pub(in super::super) const HEADER_TYPE: u16 = 0x0e;
    pub(in super::super) const BAR0: u16 = 0x10;
    pub(in super::super) const BUSES: u16 = 0x18;
    /// Of a bridge: where a device has its BAR 3, the upper half is a second status.
    pub(in super::super) const SECONDARY_STATUS: u16 = 0x1c;
    pub(in super::super) const CAPABILITIES: u16 = 0x34;
    pub(in super::super) const INTERRUPT_LINE: u16 = 0x3c;
    pub(in super::super) const INTERRUPT_PIN: u16 = 0x3d;
}

bitflags::bitflags! {
    /// The command register: what the device may do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers at its I/O ports.
        const IO = 1 << 0;
        /// Answers at its memory BARs.
        const MEMORY = 1 << 1;
        /// May do DMA and send MSIs.
        const MASTER = 1 << 2;
        /// Must not use its INTx pin.
        const INTX_DISABLE = 1 << 10;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// The status register: what happened. Error bits are cleared by writing them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u16 {
        /// The INTx pin would be asserted now.
        const INTERRUPT = 1 << 3;
        /// There is a capability list.
        const CAPABILITIES = 1 << 4;
        /// A parity error on data it read or wrote as a master.
        const MASTER_PARITY_ERROR = 1 << 8;
        /// It refused an access.
        const SIGNALED_TARGET_ABORT = 1 << 11;
        /// An access it made was refused.
        const RECEIVED_TARGET_ABORT = 1 << 12;
        /// An access it made reached nobody: what a blocked DMA address looks like to many devices.
        const RECEIVED_MASTER_ABORT = 1 << 13;
        /// It reported an error on the bus.
        const SIGNALED_SYSTEM_ERROR = 1 << 14;
        /// It saw bad parity.
        const PARITY_ERROR = 1 << 15;
        const _ = !0;
    }
}

impl Status {
    /// All the bits that say something went wrong.
    pub const ERRORS: Self = Self::from_bits_retain(0xf900);
}

/// Config space answered, but what it says can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PciError {
    /// It did not answer.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A base address register no device can have.
    #[error("{bdf}: BAR {index} reads {value:#x} and sizes to {mask:#x}: {why}")]
    BadBar {
        /// The function.
        bdf: Bdf,
        /// Which BAR, 0 to 5.
        index: u8,
        /// What it held.
        value: u64,
        /// What it read after all ones were written.
        mask: u64,
        /// Which rule that breaks.
        why: &'static str,
    },
    /// A capability list that leaves config space, runs in circles or contradicts itself.
    #[error("{bdf}: bad capability at {offset:#x}: {why}")]
    BadCapability {
        /// The function.
        bdf: Bdf,
        /// Where.
        offset: u16,
        /// Which rule that breaks.
        why: &'static str,
    },
}

impl PciError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code(),
            Self::BadBar { .. } => "pci-bad-bar",
            Self::BadCapability { .. } => "pci-bad-capability",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Config(error) => error.remedy(),
            Self::BadBar { .. } | Self::BadCapability { .. } => {
                "compare with `lspci -vvxxx` in dom0: the device may have fallen off the bus"
            }
        }
    }
}

protocol::coded!(PciError);

/// The interrupt registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptPin {
    /// 1 to 4 for INTA to INTD.
    pub pin: u8,
    /// What firmware or dom0 routed it to; through pciback this is the PIRQ.
    pub line: u8,
}

/// A function and a way to its config space.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    access: &'a dyn ConfigAccess,
    bdf: Bdf,
}

impl<'a> Function<'a> {
    /// The function at `bdf`, `None` when nobody is there.
    pub fn probe(access: &'a dyn ConfigAccess, bdf: Bdf) -> Result<Option<Self>, ConfigError> {
        match access.read(bdf, reg::VENDOR, Width::U16) {
            Ok(vendor) if vendor == DeviceId::ABSENT_VENDOR.into() => Ok(None),
            Ok(_) => Ok(Some(Self { access, bdf })),
            Err(ConfigError::NoDevice(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where it is.
    pub const fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// The way to its config space.
    pub const fn access(&self) -> &'a dyn ConfigAccess {
        self.access
    }

    /// One byte of config space.
    pub fn read_u8(&self, offset: u16) -> Result<u8, ConfigError> {
        let [byte, ..] = self.read(offset, Width::U8)?.to_le_bytes();
        Ok(byte)
    }

    /// Two bytes of config space.
    pub fn read_u16(&self, offset: u16) -> Result<u16, ConfigError> {
        let [low, high, ..] = self.read(offset, Width::U16)?.to_le_bytes();
        Ok(u16::from_le_bytes([low, high]))
    }

    /// Four bytes of config space.
    pub fn read_u32(&self, offset: u16) -> Result<u32, ConfigError> {
        self.read(offset, Width::U32)
    }

    /// Writes two bytes of config space.
    pub fn write_u16(&self, offset: u16, value: u16) -> Result<(), ConfigError> {
        self.access.write(self.bdf, offset, Width::U16, value.into())
    }

    /// Writes four bytes of config space.
    pub fn write_u32(&self, offset: u16, value: u32) -> Result<(), ConfigError> {
        self.access.write(self.bdf, offset, Width::U32, value)
    }

    /// Vendor and device number.
    pub fn id(&self) -> Result<DeviceId, ConfigError> {
        Ok(DeviceId {
            vendor: self.read_u16(reg::VENDOR)?,
            device: self.read_u16(reg::VENDOR + 2)?,
        })
    }

    /// What it does.
    pub fn class(&self) -> Result<Class, ConfigError> {
        self.read_u32(reg::CLASS).map(Class::from_register)
    }

    /// The header's layout: 0 for devices, 1 for bridges; the multi-function bit is left out.
    pub fn header_type(&self) -> Result<u8, ConfigError> {
        Ok(self.read_u8(reg::HEADER_TYPE)? & 0x7f)
    }

    /// What it may do now.
    pub fn command(&self) -> Result<Command, ConfigError> {
        self.read_u16(reg::COMMAND).map(Command::from_bits_retain)
    }

    /// Sets what it may do.
    pub fn set_command(&self, command: Command) -> Result<(), ConfigError> {
        self.write_u16(reg::COMMAND, command.bits())
    }

    /// Allows `more` on top; returns what was allowed before.
    pub fn enable(&self, more: Command) -> Result<Command, ConfigError> {
        let before = self.command()?;
        if !before.contains(more) {
            self.set_command(before | more)?;
        }
        Ok(before)
    }

    /// Forbids `less`; returns what was allowed before.
    pub fn disable(&self, less: Command) -> Result<Command, ConfigError> {
        let before = self.command()?;
        if before.intersects(less) {
            self.set_command(before - less)?;
        }
        Ok(before)
    }

    /// What happened so far.
    pub fn status(&self) -> Result<Status, ConfigError> {
        self.read_u16(reg::STATUS).map(Status::from_bits_retain)
    }

    /// Its INTx pin, `None` when it has none.
    pub fn interrupt_pin(&self) -> Result<Option<InterruptPin>, ConfigError> {
        let pin = self.read_u8(reg::INTERRUPT_PIN)?;
        let line = self.read_u8(reg::INTERRUPT_LINE)?;
        Ok((1..=4).contains(&pin).then_some(InterruptPin { pin, line }))
    }

    fn read(&self, offset: u16, width: Width) -> Result<u32, ConfigError> {
        self.access.read(self.bdf, offset, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::fake::{FakeBus, FakeDevice};

    #[test]
    fn registers_come_out_typed() {
        let bdf = "00:03.0".parse().unwrap();
        let device = FakeDevice::new(0x10ec, 0x8139, 0x02_0000).interrupt(1, 19);
        let bus = FakeBus::hardware().with(bdf, device);
        let nic = Function::probe(&bus, bdf).unwrap().unwrap();
        assert_eq!(nic.id().unwrap().vendor, 0x10ec);
        assert_eq!(nic.class().unwrap().name(), "Ethernet controller");
        assert_eq!(nic.header_type().unwrap(), 0);
        let pin = nic.interrupt_pin().unwrap().unwrap();
        assert_eq!((pin.pin, pin.line), (1, 19));
    }

    #[test]
    fn command_bits_are_added_and_taken_away() {
        let bdf = "00:03.0".parse().unwrap();
        let bus = FakeBus::hardware().with(bdf, FakeDevice::new(1, 2, 0));
        let function = Function::probe(&bus, bdf).unwrap().unwrap();
        assert!(function.enable(Command::MEMORY).unwrap().is_empty());
        let both = Command::MEMORY | Command::MASTER;
        assert_eq!(function.enable(both).unwrap(), Command::MEMORY, "one is on already");
        assert_eq!(function.command().unwrap(), both);
        let before = function.disable(Command::MEMORY).unwrap();
        assert_eq!(before, Command::MEMORY | Command::MASTER);
        assert_eq!(function.command().unwrap(), Command::MASTER);
    }

    #[test]
    fn absent_functions_are_none() {
        let bus = FakeBus::hardware();
        let gone = Function::probe(&bus, "00:04.0".parse().unwrap()).unwrap();
        assert!(gone.is_none());
        let bus = FakeBus::behind_pciback();
        let gone = Function::probe(&bus, "00:04.0".parse().unwrap()).unwrap();
        assert!(gone.is_none());
    }
}

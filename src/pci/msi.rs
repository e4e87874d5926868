//! The two capabilities for interrupts sent as messages. Read only here: behind pciback the backend
//! turns them on, through pcifront, and the guest may not write them.

use super::{
    cap::CapabilityId,
    function::{Function, PciError},
};

/// MSI: up to 32 vectors, set up in config space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// Where the record starts.
    pub offset: u16,
    /// Whether it is on.
    pub enabled: bool,
    /// How many vectors the device could use, 1 to 32.
    pub vectors: u8,
    /// Whether it can send to addresses above 4 GiB.
    pub wide: bool,
    /// Whether single vectors can be masked.
    pub maskable: bool,
    /// Address and data of its message, while it is on.
    pub message: Option<(u64, u16)>,
}

/// A structure in one of the device's BARs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InBar {
    /// Which BAR.
    pub bar: u8,
    /// Bytes from its start.
    pub offset: u32,
}

/// MSI-X: up to 2048 vectors, set up in a table in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// Where the record starts.
    pub offset: u16,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether all vectors are masked.
    pub masked: bool,
    /// Entries in the table, 1 to 2048.
    pub vectors: u16,
    /// The table: 16 bytes an entry. Its pages become read-only once the backend turned MSI-X on.
    pub table: InBar,
    /// The pending bits.
    pub pending: InBar,
}

impl Function<'_> {
    /// The MSI capability, if there is one.
    pub fn msi(&self) -> Result<Option<Msi>, PciError> {
        let Some(record) = self.capability(CapabilityId::MSI)? else {
            return Ok(None);
        };
        let control = self.read_u16(record.offset + 2)?;
        let log = control >> 1 & 0b111;
        if record.offset > 0xf0 {
            return Err(self.bad_capability(record.offset, "MSI runs past 0xff"));
        }
        if log > 5 {
            return Err(self.bad_capability(record.offset, "more than 32 MSI vectors"));
        }
        let (enabled, wide) = (control & 1 != 0, control & 1 << 7 != 0);
        Ok(Some(Msi {
            offset: record.offset,
            enabled,
            vectors: 1 << log,
            wide,
            maskable: control & 1 << 8 != 0,
            message: if enabled { Some(self.message(record.offset, wide)?) } else { None },
        }))
    }

    /// The message that an MSI capability holds (PCI 3.0, section 6.8.1).
    fn message(&self, offset: u16, wide: bool) -> Result<(u64, u16), PciError> {
        let low = self.read_u32(offset + 4)?;
        let high = if wide { self.read_u32(offset + 8)? } else { 0 };
        let data = self.read_u16(offset + if wide { 12 } else { 8 })?;
        Ok((u64::from(high) << 32 | u64::from(low), data))
    }

    /// The MSI-X capability, if there is one.
    pub fn msix(&self) -> Result<Option<Msix>, PciError> {
        let Some(record) = self.capability(CapabilityId::MSIX)? else {
            return Ok(None);
        };
        if record.offset > 0xf4 {
            return Err(self.bad_capability(record.offset, "MSI-X runs past 0xff"));
        }
        let control = self.read_u16(record.offset + 2)?;
        Ok(Some(Msix {
            offset: record.offset,
            enabled: control & 1 << 15 != 0,
            masked: control & 1 << 14 != 0,
            vectors: (control & 0x7ff) + 1,
            table: self.in_bar(record.offset + 4)?,
            pending: self.in_bar(record.offset + 8)?,
        }))
    }

    fn in_bar(&self, at: u16) -> Result<InBar, PciError> {
        let register = self.read_u32(at)?;
        let [low, ..] = register.to_le_bytes();
        match low & 0b111 {
            bar @ 0..=5 => Ok(InBar { bar, offset: register & !0b111 }),
            _ => Err(self.bad_capability(at, "there are only six BARs")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::fake::{FakeBus, FakeDevice};

    fn with<T>(device: FakeDevice, look: impl FnOnce(&Function<'_>) -> T) -> T {
        let bdf = "00:01.0".parse().unwrap();
        let bus = FakeBus::hardware().with(bdf, device);
        look(&Function::probe(&bus, bdf).unwrap().unwrap())
    }

    #[test]
    fn msi_control_is_taken_apart() {
        let device = FakeDevice::new(1, 2, 0).capability(0x50, 0x05, &[0x87, 0x01]);
        let msi = with(device, |f| f.msi()).unwrap().unwrap();
        assert!(msi.enabled && msi.wide && msi.maskable);
        assert_eq!(msi.vectors, 8);
        let none = with(FakeDevice::new(1, 2, 0), |f| f.msi()).unwrap();
        assert_eq!(none, None);
        let bad = FakeDevice::new(1, 2, 0).capability(0x50, 0x05, &[0x0c, 0x00]);
        assert!(with(bad, |f| f.msi()).is_err());
    }

    #[test]
    fn a_message_is_read_where_the_record_has_it_and_only_while_it_is_on() {
        let narrow = [0x18, 0x03, 0xe0, 0xfe, 0x21, 0x40];
        let wide = [0x18, 0x03, 0xe0, 0xfe, 0x01, 0, 0, 0, 0x21, 0x40];
        for (control, rest, message) in [
            ([0x01, 0x00], &narrow[..], Some((0xfee0_0318, 0x4021))),
            ([0x81, 0x00], &wide, Some((0x1_fee0_0318, 0x4021))),
            ([0x80, 0x00], &wide, None),
        ] {
            let body = [&control, rest].concat();
            let device = FakeDevice::new(1, 2, 0).capability(0x50, 0x05, &body);
            let msi = with(device, |f| f.msi()).unwrap().unwrap();
            let on = control[0] & 1 != 0;
            assert_eq!(
                (msi.enabled, msi.maskable, msi.message),
                (on, false, message),
                "{control:x?}"
            );
        }
    }

    #[test]
    fn a_record_ends_within_config_space_and_has_32_vectors_at_most() {
        let of = |offset: u8, control: u8| {
            let device = FakeDevice::new(1, 2, 0).capability(offset, 0x05, &[control, 0]);
            with(device, |f| f.msi()).map(|msi| msi.unwrap().vectors)
        };
        assert_eq!((of(0xf0, 0).unwrap(), of(0xf0, 0x0a).unwrap()), (1, 32));
        assert_eq!(of(0xf4, 0).unwrap_err().code(), "pci-bad-capability");
        assert_eq!(of(0x50, 0x0c).unwrap_err().code(), "pci-bad-capability");
    }

    #[test]
    fn msix_says_where_table_and_pending_bits_are() {
        let record = [0x04, 0x80, 0x03, 0x20, 0, 0, 0x04, 0x30, 0, 0];
        let device = FakeDevice::new(1, 2, 0).capability(0x70, 0x11, &record);
        let msix = with(device, |f| f.msix()).unwrap().unwrap();
        assert!(msix.enabled && !msix.masked);
        assert_eq!(msix.vectors, 5);
        assert_eq!((msix.table.bar, msix.table.offset), (3, 0x2000));
        assert_eq!((msix.pending.bar, msix.pending.offset), (4, 0x3000));
        for (high, state) in [(0, (false, false)), (0x40, (false, true)), (0xc0, (true, true))] {
            let record = [0x04, high, 0x03, 0x20, 0, 0, 0x04, 0x30, 0, 0];
            let device = FakeDevice::new(1, 2, 0).capability(0x70, 0x11, &record);
            let msix = with(device, |f| f.msix()).unwrap().unwrap();
            assert_eq!((msix.enabled, msix.masked), state, "{high:#x}");
        }
        let bad = FakeDevice::new(1, 2, 0).capability(0x70, 0x11, &[0, 0, 0x07, 0, 0, 0]);
        assert!(with(bad, |f| f.msix()).is_err());
        let last = FakeDevice::new(1, 2, 0).capability(0xf4, 0x11, &record);
        assert_eq!(with(last, |f| f.msix()).unwrap().unwrap().vectors, 5, "up to the last byte");
        let late = FakeDevice::new(1, 2, 0).capability(0xfc, 0x11, &[0, 0]);
        let refused = with(late, |f| f.msix()).unwrap_err();
        assert_eq!(refused.code(), "pci-bad-capability");
    }
}

//! What a device is: vendor and device numbers, and class codes (PCI code and ID assignment).

use core::fmt;

/// Who made it and which one it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// Assigned by the PCI SIG.
    pub vendor: u16,
    /// Assigned by the vendor.
    pub device: u16,
}

impl DeviceId {
    /// What hardware answers for a function that is not there.
    pub const ABSENT_VENDOR: u16 = 0xffff;
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What it does.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class {
    /// Broad kind.
    pub base: u8,
    /// Kind within it.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

impl Class {
    /// From the 32-bit register that also has the revision, at offset 8.
    pub const fn from_register(register: u32) -> Self {
        let [_revision, interface, sub, base] = register.to_le_bytes();
        Self { base, sub, interface }
    }

    /// Whether it is an IOMMU.
    pub const fn is_iommu(self) -> bool {
        self.base == 0x08 && self.sub == 0x06
    }

    /// The kind in words; for the report.
    pub const fn name(self) -> &'static str {
        match (self.base, self.sub) {
            (0x01, 0x06) => "SATA controller",
            (0x01, 0x08) => "NVMe controller",
            (0x01, _) => "storage controller",
            (0x02, 0x00) => "Ethernet controller",
            (0x02, _) => "network controller",
            (0x03, _) => "display controller",
            (0x04, _) => "multimedia device",
            (0x06, _) => "bridge",
            (0x08, 0x06) => "IOMMU",
            (0x07, _) => "communication controller",
            (0x0c, 0x03) => "USB controller",
            (0x0c, _) => "serial bus controller",
            (0x0d, _) => "wireless controller",
            (0x12, _) => "accelerator",
            _ => "device of another class",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:02x}{:02x})", self.name(), self.base, self.sub)
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString as _};

    #[test]
    fn a_class_is_named_by_its_most_special_name() {
        for (base, sub, name) in [
            (0x01, 0x06, "SATA controller"),
            (0x01, 0x08, "NVMe controller"),
            (0x01, 0x00, "storage controller"),
            (0x02, 0x00, "Ethernet controller"),
            (0x02, 0x80, "network controller"),
            (0x03, 0x00, "display controller"),
            (0x04, 0x03, "multimedia device"),
            (0x06, 0x04, "bridge"),
            (0x07, 0x00, "communication controller"),
            (0x08, 0x06, "IOMMU"),
            (0x08, 0x05, "device of another class"),
            (0x09, 0x06, "device of another class"),
            (0x0c, 0x03, "USB controller"),
            (0x0c, 0x05, "serial bus controller"),
            (0x0d, 0x11, "wireless controller"),
            (0x12, 0x00, "accelerator"),
            (0x00, 0x00, "device of another class"),
        ] {
            let class = Class::from_register(u32::from_le_bytes([0x20, 0x30, sub, base]));
            assert_eq!((class.name(), class.interface), (name, 0x30));
            assert_eq!(class.is_iommu(), name == "IOMMU", "{name}");
            assert_eq!(class.to_string(), format!("{name} ({base:02x}{sub:02x})"));
        }
    }
}

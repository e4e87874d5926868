//! Which of the machine's devices are behind an IOMMU, and by which of QEMU's traces that is watched.

use clap::ValueEnum;

/// The machine's IOMMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Iommu {
    /// There is none: what a device puts on the bus is where it goes.
    None,
    /// Intel's, with all devices behind it.
    #[default]
    All,
    /// Intel's, with those behind it that are on a root of their own; the first device is.
    Some,
    /// AMD's, with all devices behind it.
    Amd,
}

/// The number of the root bus that has the devices behind the IOMMU where only some are.
const ROOT: u8 = 0x40;

impl Iommu {
    /// What the machine's own word has of it.
    pub(super) const fn machine(self) -> &'static str {
        match self {
            Self::Some => ",default_bus_bypass_iommu=true",
            Self::None | Self::All | Self::Amd => "",
        }
    }

    /// QEMU's devices: the IOMMU, and what leads to a root behind it.
    pub(super) fn devices(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::All => vec!["intel-iommu,intremap=on".to_owned()],
            Self::Amd => vec!["amd-iommu,intremap=on,dma-remap=on".to_owned()],
            // Xen has no messages for a device that is behind none, as long as it remaps interrupts.
            Self::Some => vec![
                "intel-iommu,intremap=off".to_owned(),
                format!("pxb-pcie,id=pxb,bus=pcie.0,addr=0x1e,bus_nr={ROOT}"),
                "pcie-root-port,id=behind,bus=pxb,addr=0,chassis=64".to_owned(),
            ],
        }
    }

    /// Whether the machine's n-th device is behind it.
    pub(crate) const fn covers(self, device: usize) -> bool {
        match self {
            Self::None => false,
            Self::All | Self::Amd => true,
            Self::Some => device == 0,
        }
    }

    /// The bus that the n-th device is on, if that is not the machine's first, as QEMU calls it.
    pub(super) const fn bus(self, device: usize) -> Option<&'static str> {
        match self {
            Self::Some if device == 0 => Some("behind"),
            _ => None,
        }
    }

    /// The n-th device's address there, if it is not on the machine's first bus: firmware numbers the bus after the root's.
    pub(crate) fn bdf(self, device: usize) -> Option<String> {
        self.bus(device).map(|_| format!("0000:{:02x}:00.0", ROOT + 1))
    }

    /// The event of QEMU's that tells of each address.
    pub(super) const fn event(self) -> &'static str {
        match self {
            Self::Amd => "amdvi_translation_result",
            Self::None | Self::All | Self::Some => "vtd_dmar_translate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_some_are_behind_it_the_first_is() {
        assert!(Iommu::Some.covers(0) && !Iommu::Some.covers(1));
        assert_eq!(Iommu::Some.bdf(0).as_deref(), Some("0000:41:00.0"));
        assert_eq!(Iommu::Some.bdf(1), None);
        for (iommu, covers) in [(Iommu::None, false), (Iommu::All, true), (Iommu::Amd, true)] {
            assert_eq!((iommu.covers(0), iommu.covers(1), iommu.bdf(0)), (covers, covers, None));
        }
    }
}

//! What Xen does for the hardware domain's devices (`public/physdev.h`): it is told of them, and routes their messages.

use super::{errno::XenError, events::Pirq};
use crate::addr::BusAddr;
use core::fmt::{self, Debug};

/// Where a PCI function is, as Xen takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Segment.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function, packed as `device << 3 | function`.
    pub devfn: u8,
}

impl From<protocol::Bdf> for Place {
    fn from(bdf: protocol::Bdf) -> Self {
        Self { segment: bdf.bus().segment, bus: bdf.bus().number, devfn: bdf.devfn() }
    }
}

/// Config space in memory (ECAM): a page for each function of these buses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigRegion {
    /// Where bus 0 of the segment is, or would be.
    pub base: BusAddr,
    /// Segment.
    pub segment: u16,
    /// The first bus.
    pub first: u8,
    /// The last one.
    pub last: u8,
}

impl ConfigRegion {
    /// Bytes of a bus: 256 functions of a page each.
    pub const BUS: u64 = 256 << 12;

    /// Where its first bus is. Who makes one sees to it that this and the end are addresses.
    pub const fn start(&self) -> BusAddr {
        BusAddr(self.base.0 + self.first as u64 * Self::BUS)
    }

    /// Its bytes.
    pub const fn len(&self) -> u64 {
        (self.last.saturating_sub(self.first) as u64 + 1) * Self::BUS
    }

    /// Where a function's page is; `None` if this has it not.
    pub fn page(&self, at: Place) -> Option<BusAddr> {
        let mine = self.segment == at.segment && (self.first..=self.last).contains(&at.bus);
        let page = u64::from(at.bus) << 8 | u64::from(at.devfn);
        mine.then(|| BusAddr(self.base.0 + (page << 12)))
    }
}

impl fmt::Display for ConfigRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, first, last, .. } = self;
        write!(f, "segment {segment:04x}, buses {first:02x} to {last:02x}, at {}", self.start())
    }
}

/// Which of a function's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first of its MSI capability.
    Msi,
    /// An entry of the table of MSI-X.
    Msix {
        /// Where the BAR starts that the table is in: a machine address.
        table_base: u64,
        /// Which entry.
        entry: u16,
    },
}

/// The operations that only the hardware domain may ask for.
pub trait Physdev: Debug {
    /// Tells Xen of a function (`PHYSDEVOP_pci_device_add`). One that it knows already is no error.
    fn add_device(&self, at: Place) -> Result<(), XenError>;

    /// Tells Xen that firmware means a region for config space (`PHYSDEVOP_pci_mmcfg_reserved`), so that it carries out
    /// what is written there. One that it does not know from the same table it refuses.
    fn reserve(&self, region: &ConfigRegion) -> Result<(), XenError>;

    /// Has Xen route a message (`PHYSDEVOP_map_pirq`) and write it to the function, masked: it arrives once the PIRQ is
    /// bound and the function's capability turned on, which is left to the caller.
    fn map_message(&self, at: Place, message: Message) -> Result<Pirq, XenError>;

    /// Ends that (`PHYSDEVOP_unmap_pirq`). Close the event channel first.
    fn unmap(&self, pirq: Pirq) -> Result<(), XenError>;
}

//! What Xen does for the hardware domain's devices (`public/physdev.h`): it is told of them, and routes their messages.

use super::{errno::XenError, events::Pirq};
use core::fmt::Debug;

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

    /// Has Xen route a message (`PHYSDEVOP_map_pirq`) and write it to the function, masked: it arrives once the PIRQ is
    /// bound and the function's capability turned on, which is left to the caller.
    fn map_message(&self, at: Place, message: Message) -> Result<Pirq, XenError>;

    /// Ends that (`PHYSDEVOP_unmap_pirq`). Close the event channel first.
    fn unmap(&self, pirq: Pirq) -> Result<(), XenError>;
}

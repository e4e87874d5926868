//! `public/physdev.h`: interrupts and I/O privilege of physical devices.

/// `PHYSDEVOP_set_iopl`.
pub const SET_IOPL: u32 = 6;
/// `PHYSDEVOP_eoi`.
pub const EOI: u32 = 12;
/// `PHYSDEVOP_map_pirq`.
pub const MAP_PIRQ: u32 = 13;
/// `PHYSDEVOP_unmap_pirq`.
pub const UNMAP_PIRQ: u32 = 14;
/// `PHYSDEVOP_pci_mmcfg_reserved`.
pub const PCI_MMCFG_RESERVED: u32 = 24;
/// `PHYSDEVOP_pci_device_add`.
pub const PCI_DEVICE_ADD: u32 = 25;
/// `MAP_PIRQ_TYPE_MSI_SEG`: a message, with the segment above the bus.
pub const MAP_MSI_SEG: i32 = 3;

/// `struct physdev_map_pirq`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MapPirq {
    /// For whom.
    pub domid: u16,
    /// [`MAP_MSI_SEG`].
    pub kind: i32,
    /// The interrupt as Xen numbers it; -1 has it take a free one.
    pub index: i32,
    /// In: -1 for a free one. Out: the PIRQ.
    pub pirq: i32,
    /// Bus, and the segment from bit 16.
    pub bus: i32,
    /// Device and function.
    pub devfn: i32,
    /// Which entry of the table of MSI-X.
    pub entry: i32,
    /// Where the BAR starts that the table is in; 0 asks for MSI.
    pub table_base: u64,
}

/// `struct physdev_unmap_pirq`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UnmapPirq {
    /// Whose.
    pub domid: u16,
    /// Which.
    pub pirq: i32,
}

/// `struct physdev_pci_device_add` without its optional parameters.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PciDeviceAdd {
    /// Segment.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// `XEN_PCI_DEV_*`.
    pub flags: u32,
    /// The physical function of a virtual one: bus, device and function.
    pub physfn: [u8; 2],
}

/// `struct physdev_pci_mmcfg_reserved`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PciMmcfgReserved {
    /// Where bus 0 is.
    pub address: u64,
    /// Segment.
    pub segment: u16,
    /// The first bus.
    pub start_bus: u8,
    /// The last one.
    pub end_bus: u8,
    /// [`MMCFG_RESERVED`].
    pub flags: u32,
}

/// `XEN_PCI_MMCFG_RESERVED`: the region is to be used.
pub const MMCFG_RESERVED: u32 = 1;

const _: () = assert!(size_of::<PciMmcfgReserved>() == 16);
const _: () = assert!(size_of::<MapPirq>() == 40);
const _: () = assert!(core::mem::offset_of!(MapPirq, table_base) == 32);
const _: () = assert!(size_of::<UnmapPirq>() == 8);
const _: () = assert!(size_of::<PciDeviceAdd>() == 12);

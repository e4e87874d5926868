//! The hardware domain's devices. No unsafe code: the structures are handed over as they are.

use super::physdev_op;
use crate::xen::{
    abi::physdev::{
        self, MAP_MSI_SEG, MMCFG_RESERVED, MapPirq, PciDeviceAdd, PciMmcfgReserved, UnmapPirq,
    },
    errno::XenError,
    events::{DomainId, Pirq},
    failing::{self, Operation},
    physdev::{ConfigRegion, Message, Physdev, Place},
};

/// This domain, if it is the hardware domain.
#[derive(Debug)]
pub struct HardwareDomain;

impl Physdev for HardwareDomain {
    fn add_device(&self, at: Place) -> Result<(), XenError> {
        let Place { segment, bus, devfn } = at;
        failing::check(Operation::AddDevice)?;
        let mut add = PciDeviceAdd { segment, bus, devfn, flags: 0, physfn: [0; 2] };
        physdev_op(physdev::PCI_DEVICE_ADD, &mut add)
    }

    fn reserve(&self, region: &ConfigRegion) -> Result<(), XenError> {
        let ConfigRegion { base, segment, first: start_bus, last: end_bus } = *region;
        failing::check(Operation::ReserveConfig)?;
        let address = base.0;
        let flags = MMCFG_RESERVED;
        let mut reserved = PciMmcfgReserved { address, segment, start_bus, end_bus, flags };
        physdev_op(physdev::PCI_MMCFG_RESERVED, &mut reserved)
    }

    fn map_message(&self, at: Place, message: Message) -> Result<Pirq, XenError> {
        let (table_base, entry) = match message {
            Message::Msi => (0, 0),
            Message::Msix { table_base, entry } => (table_base, entry.into()),
        };
        let mut map = MapPirq {
            domid: DomainId::SELF.0,
            kind: MAP_MSI_SEG,
            index: -1,
            pirq: -1,
            bus: i32::from(at.bus) | i32::from(at.segment) << 16,
            devfn: at.devfn.into(),
            entry,
            table_base,
        };
        failing::check(Operation::MapPirq)?;
        physdev_op(physdev::MAP_PIRQ, &mut map)?;
        u32::try_from(map.pirq).map(Pirq).map_err(|_| XenError::OutOfRange)
    }

    fn unmap(&self, pirq: Pirq) -> Result<(), XenError> {
        failing::check(Operation::UnmapPirq)?;
        let mut unmap = UnmapPirq { domid: DomainId::SELF.0, pirq: pirq.0.cast_signed() };
        physdev_op(physdev::UNMAP_PIRQ, &mut unmap)
    }
}

//! What a function offers: everything a driver can need of it, read once.

use super::{
    Bar, BarKind, Bdf, ConfigAccess, Function, PciError, Status,
    cap::Vendor,
    function::InterruptPin,
    ids::{Class, DeviceId},
    msi::{Msi, Msix},
};
use crate::addr::{BusAddr, to_usize};
use alloc::vec::Vec;

/// One function as its config space describes it.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Where it is, as the guest sees it.
    pub bdf: Bdf,
    /// Which one it is.
    pub id: DeviceId,
    /// What it does.
    pub class: Class,
    /// Where it answers.
    pub bars: Vec<Bar>,
    /// Its interrupt pin and line, if it has them.
    pub pin: Option<InterruptPin>,
    /// Whether the line is where its interrupt arrives.
    pub routed: bool,
    /// Its MSI capability.
    pub msi: Option<Msi>,
    /// Its MSI-X capability.
    pub msix: Option<Msix>,
    /// The vendor's own capabilities.
    pub vendor: Vec<Vendor>,
    /// The errors that its status register told of already: a guest may not clear them.
    pub errors: Status,
}

impl Resources {
    /// Reads the config space of the function at `bdf`; `None` if nobody answers there.
    pub fn read(access: &dyn ConfigAccess, bdf: Bdf) -> Result<Option<Self>, PciError> {
        let Some(function) = Function::probe(access, bdf)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            bdf,
            id: function.id()?,
            class: function.class()?,
            bars: function.bars()?,
            pin: function.interrupt_pin()?,
            routed: access.lines_are_pirqs(),
            msi: function.msi()?,
            msix: function.msix()?,
            vendor: function.vendor_capabilities()?,
            errors: function.status()? & Status::ERRORS,
        }))
    }

    /// Looks whether its status register tells of an error since.
    ///
    /// One that does not answer says nothing; who asked it for something knows.
    pub fn check_status(&self, access: &dyn ConfigAccess) -> Result<(), BusErrors> {
        let function = Function::probe(access, self.bdf).ok().flatten();
        let status = function.and_then(|function| function.status().ok());
        let errors = status.unwrap_or(Status::empty()) & (Status::ERRORS - self.errors);
        if errors.is_empty() { Ok(()) } else { Err(BusErrors { bdf: self.bdf, errors }) }
    }

    /// Where the memory BAR with this number is, and how many bytes it has.
    pub fn memory_bar(&self, index: u8) -> Result<(BusAddr, usize), NoBar> {
        let bar = self.bars.iter().find(|bar| bar.index == index);
        let at = bar.and_then(|bar| Some((bar.placed()?, to_usize(bar.size))));
        let is_memory = bar.is_some_and(|bar| matches!(bar.kind, BarKind::Memory { .. }));
        at.ok_or(NoBar { index, is_memory })
    }
}

/// A device met an error on its bus while the guest had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the status register of {bdf} has {errors:?}, which it had not before")]
pub struct BusErrors {
    /// The function.
    pub bdf: Bdf,
    /// The error bits.
    pub errors: Status,
}

impl BusErrors {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        "pci-status-errors"
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        "see dom0's kernel log and Xen's: a master abort is a DMA address that nobody answered, or that an IOMMU refused"
    }
}

protocol::coded!(BusErrors);

/// A function lacks the memory range that its driver needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("BAR {index} {}", if *.is_memory { "has no address" } else { "is no memory" })]
pub struct NoBar {
    /// Its number.
    pub index: u8,
    /// Whether it is memory at least.
    pub is_memory: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::fake::{FakeBus, FakeDevice};
    use alloc::string::ToString;

    const BDF: &str = "00:03.0";

    fn read(device: FakeDevice) -> Result<Option<Resources>, PciError> {
        let bdf = BDF.parse().unwrap();
        Resources::read(&FakeBus::hardware().with(bdf, device), bdf)
    }

    #[test]
    fn a_function_says_all_at_once_and_one_that_is_not_there_nothing() {
        let device = FakeDevice::new(0x8086, 0x10d3, 0x02_0000)
            .bar(0, 0xfeb0_0000, 0x2_0000)
            .capability(0x50, 0x05, &[0x80, 0x00])
            .interrupt(1, 0x0b);
        let resources = read(device).unwrap().unwrap();
        assert_eq!(resources.id.to_string(), "8086:10d3");
        assert_eq!(resources.class.name(), "Ethernet controller");
        assert_eq!(resources.memory_bar(0), Ok((BusAddr(0xfeb0_0000), 0x2_0000)));
        assert_eq!(resources.pin.unwrap().line, 0x0b);
        assert!(resources.msi.unwrap().wide && resources.msix.is_none());
        let bus = FakeBus::hardware();
        assert!(Resources::read(&bus, BDF.parse().unwrap()).unwrap().is_none());
    }

    #[test]
    fn an_error_on_the_bus_is_told_unless_it_was_there_before() {
        let bdf = BDF.parse().unwrap();
        let bus = FakeBus::hardware().with(bdf, FakeDevice::new(1, 2, 0));
        bus.set_status(bdf, Status::PARITY_ERROR | Status::CAPABILITIES);
        let resources = Resources::read(&bus, bdf).unwrap().unwrap();
        bus.set_status(bdf, Status::PARITY_ERROR | Status::INTERRUPT);
        assert_eq!(resources.check_status(&bus), Ok(()));
        for errors in [Status::RECEIVED_MASTER_ABORT, Status::RECEIVED_TARGET_ABORT] {
            bus.set_status(bdf, Status::PARITY_ERROR | errors);
            let told = resources.check_status(&bus).unwrap_err();
            assert_eq!(told, BusErrors { bdf, errors });
            assert_eq!(told.code(), "pci-status-errors");
            assert!(told.to_string().contains(BDF) && told.remedy().contains("IOMMU"));
        }
        bus.remove(bdf);
        assert_eq!(resources.check_status(&bus), Ok(()));
    }

    #[test]
    fn a_bar_that_is_missing_or_has_no_address_is_named() {
        let resources = read(FakeDevice::new(1, 2, 0).bar(0, 0, 0x1000)).unwrap().unwrap();
        assert_eq!(resources.memory_bar(0).unwrap_err().to_string(), "BAR 0 has no address");
        assert_eq!(resources.memory_bar(1).unwrap_err().to_string(), "BAR 1 is no memory");
    }
}

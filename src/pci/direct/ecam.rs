//! Config space in memory (PCI Express 6.0, 7.2.2): a page for each function, and what there is against one.

use crate::{
    acpi::TableError,
    addr::BusAddr,
    mm::{
        e820::{Entry, Map},
        memory::MemoryError,
        pages::DeviceMemory,
    },
    pci::{Bdf, ConfigAccess, ConfigError, Width, function::reg},
    xen::{
        errno::XenError,
        physdev::{ConfigRegion, Physdev},
    },
};
use alloc::boxed::Box;

/// Maps functions' pages.
pub trait Mapper {
    /// Maps the page at a machine address, uncached, until it is dropped.
    fn map(&self, at: BusAddr) -> Result<Box<dyn Page>, MemoryError>;
}

/// A function's page of config space. Accesses are aligned and inside of it.
pub trait Page {
    /// Reads `width` bytes at `offset`; bits above the width are zero.
    fn read(&self, offset: u16, width: Width) -> u32;

    /// Writes the low `width` bytes of `value`.
    fn write(&self, offset: u16, width: Width, value: u32);
}

impl Page for DeviceMemory<'_> {
    fn read(&self, offset: u16, width: Width) -> u32 {
        let (window, at) = (self.window(), usize::from(offset));
        match width {
            Width::U8 => window.read_u8(at).into(),
            Width::U16 => window.read_u16(at).into(),
            Width::U32 => window.read_u32(at),
        }
    }

    fn write(&self, offset: u16, width: Width, value: u32) {
        let (window, at) = (self.window(), usize::from(offset));
        let [low, high, ..] = value.to_le_bytes();
        match width {
            Width::U8 => window.write_u8(at, low),
            Width::U16 => window.write_u16(at, u16::from_le_bytes([low, high])),
            Width::U32 => window.write_u32(at, value),
        }
    }
}

/// Why config space is not reached in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EcamError {
    /// Firmware does not say where it is.
    #[error(transparent)]
    Tables(TableError),
    /// Firmware says so of RAM.
    #[error("{0} lies under RAM: {1}")]
    UnderRam(ConfigRegion, Entry),
    /// Xen does not know of it.
    #[error("Xen does not take {0}: {1}")]
    Refused(ConfigRegion, XenError),
    /// The page of a function can't be mapped.
    #[error("{0}: {1}")]
    Mapping(Bdf, MemoryError),
    /// Memory says something else than the ports.
    #[error("{bdf} at {offset:#04x}: {memory:#010x} in memory, {ports:#010x} by ports")]
    Differs {
        /// The function.
        bdf: Bdf,
        /// The register.
        offset: u16,
        /// What memory has.
        memory: u32,
        /// What the ports have.
        ports: u32,
    },
}

impl EcamError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tables(error) => error.code(),
            Self::UnderRam(..) => "pci-ecam-under-ram",
            Self::Refused(..) => "pci-ecam-refused",
            Self::Mapping(..) => "pci-ecam-map",
            Self::Differs { .. } => "pci-ecam-differs",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Tables(error) => error.remedy(),
            Self::UnderRam(..) | Self::Differs { .. } => {
                "the board's firmware says where it is: update that; the ports were used"
            }
            Self::Refused(..) => {
                "see Xen's log for `MCFG`: is `mmcfg=off` on its command line, or firmware's table not as its map has it?"
            }
            Self::Mapping(..) => "see Xen's log for what it refused; the ports were used",
        }
    }

    /// Whether a board may be like that, or was told to.
    pub const fn is_absence(&self) -> bool {
        match self {
            Self::Tables(error) => error.is_absence(),
            Self::Refused(_, error) => {
                matches!(error, XenError::NoDevice | XenError::NotImplemented)
            }
            _ => false,
        }
    }
}

protocol::coded!(EcamError);

/// Has Xen take a region, if it can be one.
pub(super) fn admit(
    region: &ConfigRegion,
    physdev: &dyn Physdev,
    ram: &Map,
) -> Result<(), EcamError> {
    match ram.ram_under(region.start().0, region.len()) {
        Some(entry) => Err(EcamError::UnderRam(*region, entry)),
        None => physdev.reserve(region).map_err(|error| EcamError::Refused(*region, error)),
    }
}

/// The first register of a function's header that both ways tell differently. Status may change from one look to the next.
pub(super) fn compare(
    ports: &dyn ConfigAccess,
    bdf: Bdf,
    page: &dyn Page,
) -> Result<Option<EcamError>, ConfigError> {
    let is_bridge = ports.read(bdf, reg::HEADER_TYPE, Width::U8)? & 0x7f == 1;
    for offset in (0..0x40).step_by(4) {
        let told = match offset {
            reg::COMMAND => 0xffff,
            reg::SECONDARY_STATUS if is_bridge => 0xffff,
            _ => u32::MAX,
        };
        let ports = ports.read(bdf, offset, Width::U32)?;
        let memory = page.read(offset, Width::U32);
        if (ports ^ memory) & told != 0 {
            return Ok(Some(EcamError::Differs { bdf, offset, memory, ports }));
        }
    }
    Ok(None)
}

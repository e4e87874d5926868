//! The hardware domain's own bus: all functions of the board, with Xen's help and nobody in between.
//!
//! ```text
//! scan       each segment: root buses, and behind bridges -> functions
//! tell Xen   of each: PHYSDEVOP_pci_device_add          -> its messages can be routed, its DMA translated
//! sort       no driver: left as it is. Xen's: left alone. The rest: BARs sized, against RAM and each other
//! messages   MSI, MSI-X: PHYSDEVOP_map_pirq
//! ```
//! A function without a driver is only read. An interrupt line leads to an input of an I/O APIC that only firmware's
//! bytecode names, so there is none here: what has no messages is polled.

mod messages;
mod scan;

pub use messages::MessageError;
pub use scan::ScanError;

use super::{
    Bdf, Command, ConfigAccess, ConfigError, Delivery, Function, Resources, Width,
    direct::Direct,
    ids::{Class, DeviceId},
    place::{self, Objection, Range},
};
use crate::{
    mm::e820::Map,
    xen::{events::Pirq, physdev::Physdev},
};
use alloc::vec::Vec;
use core::{cell::RefCell, fmt};

/// All functions of the machine.
#[derive(Debug)]
pub struct Board<'a> {
    config: &'a Direct<'a>,
    physdev: &'a dyn Physdev,
    /// Those that a driver may have.
    functions: Vec<Bdf>,
    others: Vec<Other>,
    buses: usize,
    odd: Vec<ScanError>,
    ranges: Vec<Range>,
    objections: Vec<(Bdf, Objection)>,
    on: RefCell<Vec<(Bdf, Delivery, Pirq)>>,
}

/// A function that is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// Where it is.
    pub bdf: Bdf,
    /// Which one it is.
    pub id: DeviceId,
    /// What it does.
    pub class: Class,
    /// Why.
    pub why: Alone,
}

/// Why a function is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// There is no driver for it.
    NoDriver,
    /// Xen has it: an IOMMU by its class, or a console, as Xen drops what is written to its registers.
    Xens,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bdf, id, class, why } = self;
        let why = if *why == Alone::Xens { ", Xen's own" } else { "" };
        write!(f, "{bdf} {id} {class}{why}")
    }
}

impl<'a> Board<'a> {
    /// Looks at all that there is, and tells Xen. `driven` says what there is a driver for; `ram` is the machine's.
    pub fn open(
        config: &'a Direct<'a>,
        physdev: &'a dyn Physdev,
        ram: &Map,
        driven: &dyn Fn(DeviceId, Class) -> bool,
    ) -> Result<Self, ConfigError> {
        let scan::Scan { found, buses, odd } = scan::all(config, &config.segments())?;
        let mut board = Self {
            config,
            physdev,
            functions: Vec::new(),
            others: Vec::new(),
            buses,
            odd,
            ranges: Vec::new(),
            objections: Vec::new(),
            on: RefCell::default(),
        };
        let mut starts = Vec::new();
        for bdf in found {
            if let Err(error) = physdev.add_device(bdf.into()) {
                board.objections.push((bdf, Objection::NotAdded(bdf, error)));
            }
            board.sort(bdf, driven, &mut starts)?;
        }
        let found = place::objections(&board.ranges, &starts, ram);
        board.objections.extend(found);
        Ok(board)
    }

    /// Takes note of a function: whether it is driven, and where it answers.
    fn sort(
        &mut self,
        bdf: Bdf,
        driven: &dyn Fn(DeviceId, Class) -> bool,
        starts: &mut Vec<Range>,
    ) -> Result<(), ConfigError> {
        let Some(function) = Function::probe(self.config, bdf)? else { return Ok(()) };
        let (id, class) = (function.id()?, function.class()?);
        let why = match driven(id, class) {
            _ if class.is_iommu() => Some(Alone::Xens),
            true if !takes_writes(&function)? => Some(Alone::Xens),
            true => None,
            false => Some(Alone::NoDriver),
        };
        match why {
            Some(why) => {
                self.others.push(Other { bdf, id, class, why });
                starts.extend(place::starts(&function)?);
            }
            None => {
                self.functions.push(bdf);
                // What can't be read now can't be when it is to be driven, and is told then.
                if let Ok(Some(resources)) = Resources::read(self.config, bdf) {
                    self.ranges.extend(place::sized(&resources));
                }
            }
        }
        Ok(())
    }

    /// The ways to config space.
    pub const fn ways(&self) -> &Direct<'a> {
        self.config
    }

    /// The functions that are left as they are, in the order of their addresses.
    pub fn others(&self) -> &[Other] {
        &self.others
    }

    /// How many buses have functions.
    pub const fn buses(&self) -> usize {
        self.buses
    }

    /// What the board says of its buses, and can't be.
    pub fn oddities(&self) -> &[ScanError] {
        &self.odd
    }

    /// The memory ranges of what may be driven.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// What there is against driving some functions.
    pub fn objections(&self) -> impl Iterator<Item = &Objection> {
        self.objections.iter().map(|(_, objection)| objection)
    }
}

/// Whether a function's command register is this domain's to change. What Xen keeps for itself it lets be read.
///
/// It can do no DMA while this is tried, nor afterwards until its driver lets it.
fn takes_writes(function: &Function<'_>) -> Result<bool, ConfigError> {
    function.disable(Command::MASTER)?;
    let before = function.command()?;
    function.set_command(before ^ Command::MEMORY)?;
    let sticks = function.command()? ^ before == Command::MEMORY;
    if sticks {
        function.set_command(before)?;
    }
    Ok(sticks)
}

impl ConfigAccess for Board<'_> {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        self.config.read(bdf, offset, width)
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        self.config.write(bdf, offset, width, value)
    }

    fn lines_are_pirqs(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;

//! Config space of the board, with no backend in between: in memory (ECAM) where firmware says so, by ports elsewhere.
//!
//! ```text
//! segment 0   is anybody there?  ports, so that no page is mapped for what is not
//!             first touch        the function's page is mapped, and its header read by both ways
//!             after that         memory, if both said the same; else ports
//! others      memory alone
//! ```
//! What is written in memory Xen carries out, as it does with the ports: it has the pages read-only for its domains.

mod ecam;
mod ports;

pub use ecam::{EcamError, Mapper, Page};
pub use ports::Ports;

use super::{Bdf, ConfigAccess, ConfigError, Width, access::check, function::reg, ids::DeviceId};
use crate::{
    acpi::{TableError, Tables},
    mm::e820::Map,
    xen::physdev::{ConfigRegion, Physdev},
};
use alloc::{boxed::Box, vec::Vec};
use core::{cell::RefCell, fmt};

/// Both ways to config space.
pub struct Direct<'a> {
    ports: &'a dyn ConfigAccess,
    mapper: &'a dyn Mapper,
    regions: Vec<ConfigRegion>,
    /// Why not all of it is reached in memory.
    lacks: RefCell<Vec<EcamError>>,
    /// Functions that were touched, in order.
    ways: RefCell<Vec<(Bdf, Way)>>,
}

/// Whoever holds a way to config space can be shown; what is mapped where would be a lot of the image for nobody.
impl fmt::Debug for Direct<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

/// By which way a function is reached.
enum Way {
    Ports,
    Memory(Box<dyn Page>),
}

impl<'a> Direct<'a> {
    /// The regions that firmware's tables name, each if Xen knows it and no RAM of the machine's lies there.
    pub fn new(
        ports: &'a dyn ConfigAccess,
        mapper: &'a dyn Mapper,
        physdev: &dyn Physdev,
        tables: Result<&Tables, &TableError>,
        ram: &Map,
    ) -> Self {
        let named = tables.map_err(|error| *error).and_then(|tables| tables.regions.clone());
        let (named, none) = match named {
            Ok(regions) => (regions, None),
            Err(error) => (Vec::new(), Some(EcamError::Tables(error))),
        };
        let mut lacks = Vec::from_iter(none);
        let mut regions = Vec::new();
        for region in named {
            match ecam::admit(&region, physdev, ram) {
                Ok(()) => regions.push(region),
                Err(error) => lacks.push(error),
            }
        }
        let (lacks, ways) = (RefCell::new(lacks), RefCell::default());
        Self { ports, mapper, regions, lacks, ways }
    }

    /// What of config space is reached in memory.
    pub fn regions(&self) -> &[ConfigRegion] {
        &self.regions
    }

    /// Why some of it is not.
    pub fn lacks(&self) -> Vec<EcamError> {
        self.lacks.borrow().clone()
    }

    /// How many functions are reached in memory.
    pub fn in_memory(&self) -> usize {
        let ways = self.ways.borrow();
        ways.iter().filter(|(_, way)| matches!(way, Way::Memory(_))).count()
    }

    /// The segments that there are ways to, the first of which is 0.
    pub fn segments(&self) -> Vec<u16> {
        let mut segments = Vec::from([0]);
        for region in &self.regions {
            if !segments.contains(&region.segment) {
                segments.push(region.segment);
            }
        }
        segments
    }

    /// Does something by the way to a function; `None` if nobody is there.
    fn by<T>(
        &self,
        bdf: Bdf,
        act: impl FnOnce(&Way) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        let known = || self.ways.borrow().binary_search_by_key(&bdf, |(known, _)| *known);
        if let Err(place) = known() {
            let Some(way) = self.way(bdf)? else { return Ok(None) };
            self.ways.borrow_mut().insert(place, (bdf, way));
        }
        let ways = self.ways.borrow();
        let way = known().ok().and_then(|place| ways.get(place));
        way.map(|(_, way)| act(way)).transpose()
    }

    /// Finds the way to a function that was not touched before.
    fn way(&self, bdf: Bdf) -> Result<Option<Way>, ConfigError> {
        let has_ports = bdf.bus().segment == 0;
        let absent = |vendor| vendor == u32::from(DeviceId::ABSENT_VENDOR);
        if has_ports && absent(self.ports.read(bdf, reg::VENDOR, Width::U16)?) {
            return Ok(None);
        }
        let page = self.regions.iter().find_map(|region| region.page(bdf.into()));
        let mapped = page.map(|page| self.mapper.map(page));
        let page = match mapped {
            None => None,
            Some(Ok(page)) => Some(page),
            Some(Err(error)) => {
                self.lacks.borrow_mut().push(EcamError::Mapping(bdf, error));
                None
            }
        };
        match (has_ports, page) {
            (true, None) => Ok(Some(Way::Ports)),
            (false, None) => Ok(None),
            (false, Some(page)) => {
                let there = !absent(page.read(reg::VENDOR, Width::U16));
                Ok(there.then_some(Way::Memory(page)))
            }
            (true, Some(page)) => match ecam::compare(self.ports, bdf, &*page)? {
                None => Ok(Some(Way::Memory(page))),
                Some(differs) => {
                    self.lacks.borrow_mut().push(differs);
                    Ok(Some(Way::Ports))
                }
            },
        }
    }
}

impl ConfigAccess for Direct<'_> {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        check(bdf, offset, width)?;
        let read = self.by(bdf, |way| match way {
            Way::Ports => self.ports.read(bdf, offset, width),
            Way::Memory(page) => Ok(page.read(offset, width)),
        })?;
        Ok(read.unwrap_or(width.mask()))
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        check(bdf, offset, width)?;
        let written = self.by(bdf, |way| match way {
            Way::Ports => self.ports.write(bdf, offset, width, value),
            Way::Memory(page) => {
                page.write(offset, width, value);
                Ok(())
            }
        })?;
        written.ok_or(ConfigError::NoDevice(bdf))
    }

    fn lines_are_pirqs(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;

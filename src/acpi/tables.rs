//! All tables of a board, by its root table: their names, and what those say that are asked.

use super::{
    mcfg,
    pointer::Directory,
    table::{HEAD, Physical, Signature, TableError, number, read, table},
};
use crate::{addr::BusAddr, xen::physdev::ConfigRegion};
use alloc::vec::Vec;

/// Tables looked at. Boards have some thirty.
pub(super) const MOST: usize = 256;

/// What the tables say.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Their names, in the order of the root table.
    pub names: Vec<Signature>,
    /// Config space in memory, or why it is not known.
    pub regions: Result<Vec<ConfigRegion>, TableError>,
    /// Where event timers are.
    pub timers: Vec<u64>,
    /// Where I/O APICs are.
    pub io_apics: Vec<u32>,
    /// What of the others can't be.
    pub odd: Vec<TableError>,
}

impl Tables {
    /// Reads them, from what [`super::find`] found.
    pub fn read(physical: &dyn Physical, root: Directory) -> Result<Self, TableError> {
        let mut tables = Self {
            names: Vec::new(),
            regions: Err(TableError::Missing(Signature::MCFG)),
            timers: Vec::new(),
            io_apics: Vec::new(),
            odd: Vec::new(),
        };
        let Directory { name, at, entry } = root;
        let bytes = table(physical, name, at)?;
        for pointer in bytes[HEAD..].chunks_exact(entry).take(MOST) {
            match number(pointer, 0, entry) {
                0 => {}
                at => tables.take(physical, BusAddr(at)),
            }
        }
        Ok(tables)
    }

    /// Whether there is one of this name.
    fn has(&self, name: Signature) -> bool {
        self.names.contains(&name)
    }

    /// The table of the machine's IOMMUs, if there is one.
    pub fn iommus(&self) -> Option<Signature> {
        let known = [Signature::DMAR, Signature::RMAD, Signature::IVRS];
        known.into_iter().find(|name| self.has(*name))
    }

    fn take(&mut self, physical: &dyn Physical, at: BusAddr) {
        let name = match read::<4>(physical, Signature([b'?'; 4]), at) {
            Ok(name) => Signature(name),
            Err(error) => return self.odd.push(error),
        };
        let first = !self.has(name);
        self.names.push(name);
        match name {
            Signature::MCFG if first => {
                self.regions = table(physical, name, at).and_then(|bytes| mcfg::read(&bytes, at));
            }
            Signature::HPET | Signature::APIC => match table(physical, name, at) {
                Ok(bytes) if name == Signature::HPET => self.timers.extend(timer(&bytes)),
                Ok(bytes) => self.io_apics.extend(io_apics(&bytes)),
                Err(error) => self.odd.push(error),
            },
            _ => {}
        }
    }
}

/// The address of an event timer that is reached in memory (IA-PC HPET 1.0a, 3.2.4).
pub(super) fn timer(bytes: &[u8]) -> Option<u64> {
    const SPACE: usize = 40;
    const ADDRESS: usize = 44;
    let in_memory = bytes.get(SPACE) == Some(&0);
    (in_memory && bytes.len() >= ADDRESS + 8).then(|| number(bytes, ADDRESS, 8))
}

/// The addresses of I/O APICs (ACPI 6.5, 5.2.12.3). A record that is not as long as its kind ends the list.
pub(super) fn io_apics(bytes: &[u8]) -> Vec<u32> {
    const RECORDS: usize = 44;
    const IO_APIC: u8 = 1;
    let (mut found, mut rest) = (Vec::new(), bytes.get(RECORDS..).unwrap_or_default());
    while let [kind, len, ..] = *rest {
        let Some((record, after)) = rest.split_at_checked(len.into()).filter(|_| len >= 2) else {
            break;
        };
        if let (IO_APIC, &[_, _, _, _, a, b, c, d, ..]) = (kind, record) {
            found.push(u32::from_le_bytes([a, b, c, d]));
        }
        rest = after;
    }
    found
}

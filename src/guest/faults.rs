//! Faults on purpose between a driver and whoever calls it, and on the way to config space; docs/testing.md lists all.

use crate::pci::{Bdf, Command, ConfigAccess, ConfigError, Width};

/// The command register, with its low byte.
const COMMAND: u16 = 4;

/// A way to config space on which bus mastering can't be turned off.
#[derive(Debug)]
pub struct StuckMaster<'a>(pub &'a dyn ConfigAccess);

impl ConfigAccess for StuckMaster<'_> {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        self.0.read(bdf, offset, width)
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        let stuck = if offset == COMMAND { Command::MASTER.bits().into() } else { 0 };
        self.0.write(bdf, offset, width, value | stuck)
    }

    fn bars_are_virtual(&self) -> bool {
        self.0.bars_are_virtual()
    }

    fn lines_are_pirqs(&self) -> bool {
        self.0.lines_are_pirqs()
    }
}

/// Interrupts that come before they don't any more.
pub(super) const RINGS: u32 = 3;

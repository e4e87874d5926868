//! A device that sees only what was mapped for it, and remembers each attempt to see more.

use super::machine::FakeMachine;
use crate::{
    addr::{BusAddr, DmaMask},
    dma::{buffer::Buffer, coherent::Coherent, direction::Direction, mapping::Mapping},
};
use alloc::vec::Vec;

/// Why the device could not do what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusFault {
    /// The address has more bits than the device.
    #[error("{0} is beyond the device's mask")]
    OutOfReach(BusAddr),
    /// No mapping in that direction covers all the bytes.
    #[error("{len} bytes at {bus} are not mapped that way")]
    NotMapped {
        /// The first byte.
        bus: BusAddr,
        /// How many.
        len: usize,
    },
    /// There is no memory.
    #[error("no memory at {0}")]
    NoMemory(BusAddr),
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    bus: BusAddr,
    len: usize,
    read: bool,
    write: bool,
}

/// A bus master with a mask and a list of what it may touch.
#[derive(Debug)]
pub struct FakeDevice<'a> {
    machine: &'a FakeMachine,
    mask: DmaMask,
    grants: Vec<Grant>,
    faults: usize,
}

impl<'a> FakeDevice<'a> {
    /// A device that may touch nothing yet.
    pub const fn new(machine: &'a FakeMachine, mask: DmaMask) -> Self {
        Self { machine, mask, grants: Vec::new(), faults: 0 }
    }

    /// Lets the device at a mapping, in its direction.
    pub fn allow<D: Direction, B: Buffer<D>>(&mut self, mapping: &Mapping<'_, D, B>) {
        self.grants.push(Grant {
            bus: mapping.bus(),
            len: mapping.len(),
            read: D::TO_DEVICE,
            write: D::FROM_DEVICE,
        });
    }

    /// Lets the device at shared memory.
    pub fn allow_coherent(&mut self, memory: &Coherent<'_>) {
        let (bus, len) = (memory.bus(), memory.len());
        self.grants.push(Grant { bus, len, read: true, write: true });
    }

    /// Takes the permission for what starts at `bus` away.
    pub fn forget(&mut self, bus: BusAddr) {
        self.grants.retain(|grant| grant.bus != bus);
    }

    /// How often the device was stopped.
    pub const fn faults(&self) -> usize {
        self.faults
    }

    /// Reads by DMA.
    pub fn read(&mut self, bus: BusAddr, to: &mut [u8]) -> Result<(), BusFault> {
        self.check(bus, to.len(), |grant| grant.read)?;
        self.found(bus, self.machine.bus_read(bus, to))
    }

    /// Writes by DMA.
    pub fn write(&mut self, bus: BusAddr, from: &[u8]) -> Result<(), BusFault> {
        self.check(bus, from.len(), |grant| grant.write)?;
        self.found(bus, self.machine.bus_write(bus, from))
    }

    /// Writes where it has no business: what a faulty device does when no IOMMU is in the way.
    pub fn write_stray(&mut self, bus: BusAddr, from: &[u8]) -> Result<(), BusFault> {
        self.found(bus, self.machine.bus_write(bus, from))
    }

    fn check(
        &mut self,
        bus: BusAddr,
        len: usize,
        allowed: impl Fn(&Grant) -> bool,
    ) -> Result<(), BusFault> {
        if !self.mask.covers(bus, len) {
            self.faults += 1;
            return Err(BusFault::OutOfReach(bus));
        }
        let end = bus.0 + len as u64;
        let inside = |grant: &&Grant| grant.bus <= bus && end <= grant.bus.0 + grant.len as u64;
        if !self.grants.iter().filter(inside).any(allowed) {
            self.faults += 1;
            return Err(BusFault::NotMapped { bus, len });
        }
        Ok(())
    }

    fn found(&mut self, bus: BusAddr, there: bool) -> Result<(), BusFault> {
        if there {
            return Ok(());
        }
        self.faults += 1;
        Err(BusFault::NoMemory(bus))
    }
}

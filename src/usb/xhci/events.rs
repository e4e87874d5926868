//! An event ring of one segment, in memory that was mapped for it, gone round once at most (xHCI 1.2, section 4.9.4).
//!
//! The controller keeps two blocks free: one before it says that the ring
//! is full, one for saying so. A port's state changes once, since nobody says to have seen it; so there is a block for each.

use super::trb::{Event, LEAST, MOST, TRB, Trb};
use crate::{
    addr::BusAddr,
    dma::{Bidirectional, Device, DeviceStopped, FinishError, Lent, MapError, Mapping},
};
use alloc::{vec, vec::Vec};

/// Blocks that stay free.
const FREE: usize = 2;

// A segment has at least 16 blocks, and at most 4096 (section 6.5).
const _: () = assert!(LEAST / TRB >= 16 && MOST / TRB + u8::MAX as usize + FREE <= 4096);

/// Memory that the controller writes events to.
#[derive(Debug)]
pub(super) struct Events<'m> {
    /// Bidirectional, though the controller mostly writes: it must see the zeroes that were put there.
    pub(super) memory: Lent<Mapping<'m, Bidirectional, Vec<u8>>>,
    /// Its blocks.
    blocks: usize,
    /// How many of them were taken.
    taken: usize,
}

impl<'m> Events<'m> {
    /// Room for as many answers, and for a change of each port.
    pub(super) fn map(dma: &Device<'m>, answers: usize, ports: u8) -> Result<Self, MapError> {
        let blocks = answers + usize::from(ports) + FREE;
        let memory = Lent::new(dma.map::<Bidirectional, _>(vec![0; blocks * TRB])?);
        Ok(Self { memory, blocks, taken: 0 })
    }

    /// Where the segment is.
    pub(super) fn bus(&self) -> BusAddr {
        self.memory.bus()
    }

    /// How many blocks it has.
    pub(super) const fn blocks(&self) -> usize {
        self.blocks
    }

    /// Where the next event will be.
    pub(super) fn next(&self) -> BusAddr {
        BusAddr(self.bus().0 + (self.taken % self.blocks * TRB) as u64)
    }

    /// Takes an event that is no port's, if one is there.
    pub(super) fn take(&mut self) -> Option<Event> {
        self.pass_over_ports();
        let event = self.event(self.taken)?;
        self.taken += 1;
        Some(event)
    }

    /// Takes what only says that a port's state changed.
    pub(super) fn pass_over_ports(&mut self) {
        let is_of_a_port = |nth: &usize| self.event(*nth).is_some_and(|event| event.is_of_a_port());
        self.taken += (self.taken..self.blocks).take_while(is_of_a_port).count();
    }

    fn event(&self, nth: usize) -> Option<Event> {
        if nth >= self.blocks {
            return None;
        }
        // The cycle bit is what is written last: only what is read after it was seen belongs to it.
        Event::of(&self.read(nth)).and_then(|_| Event::of(&self.read(nth)))
    }

    fn read(&self, nth: usize) -> Trb {
        let mut trb = [0; TRB];
        self.memory.read(nth * TRB, &mut trb);
        trb
    }

    /// Ends the mapping: whether nothing but events was written.
    pub(super) fn end(mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.pass_over_ports();
        let Self { memory, taken, .. } = self;
        let (bus, len) = (memory.bus(), memory.len());
        let memory = memory.reclaim(stopped);
        let mut bytes = vec![0; len];
        memory.read(0, &mut bytes);
        memory.end(0)?;
        let odd = (taken * TRB..len).find(|at| bytes[*at] != 0);
        odd.map_or(Ok(()), |at| {
            let offset = at.cast_signed();
            Err(FinishError::Overrun { offset, found: bytes[at], len, bus })
        })
    }
}

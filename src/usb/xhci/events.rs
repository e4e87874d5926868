//! An event ring of one segment, in memory that was mapped for it, gone round once at most (xHCI 1.2, section 4.9.4).
//!
//! Events begin at the mapping's first multiple of 64. The controller keeps two blocks free: one before it says that the ring
//! is full, one for saying so. A port's state changes once, since nobody says to have seen it; so there is a block for each.

use super::trb::{Event, LEAST, MOST, TRB, Trb};
use crate::{
    addr::{BusAddr, to_usize},
    dma::{Bidirectional, Device, DeviceStopped, FinishError, Lent, MapError, Mapping},
};
use alloc::{vec, vec::Vec};

/// What a segment's address is a multiple of (table 6-1).
const ALIGNMENT: usize = 64;
/// Blocks that stay free.
const FREE: usize = 2;

// A segment has at least 16 blocks, and at most 4096 (section 6.5).
const _: () = assert!(LEAST / TRB >= 16 && MOST / TRB + u8::MAX as usize + FREE <= 4096);

/// Memory that the controller writes events to.
#[derive(Debug)]
pub(super) struct Events<'m> {
    /// The controller has to find zeroes there, so it is one that it reads as well.
    pub(super) memory: Lent<Mapping<'m, Bidirectional, Vec<u8>>>,
    /// The first byte of the segment.
    first: usize,
    /// Its blocks.
    blocks: usize,
    /// How many of them were taken.
    taken: usize,
}

impl<'m> Events<'m> {
    /// Room for as many answers, and for a change of each port.
    pub(super) fn map(dma: &Device<'m>, answers: usize, ports: u8) -> Result<Self, MapError> {
        let blocks = answers + usize::from(ports) + FREE;
        let memory = vec![0; blocks * TRB + ALIGNMENT - TRB];
        let memory = Lent::new(dma.map::<Bidirectional, _>(memory)?);
        let behind = to_usize(memory.bus().0 % ALIGNMENT as u64);
        let first = (ALIGNMENT - behind) % ALIGNMENT;
        Ok(Self { memory, first, blocks, taken: 0 })
    }

    /// Where the segment is.
    pub(super) fn bus(&self) -> BusAddr {
        BusAddr(self.memory.bus().0 + self.first as u64)
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
        self.memory.read(self.first + nth * TRB, &mut trb);
        trb
    }

    /// Ends the mapping: whether nothing but events was written.
    pub(super) fn end(mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.pass_over_ports();
        let Self { memory, first, taken, .. } = self;
        let (bus, len) = (memory.bus(), memory.len());
        let memory = memory.reclaim(stopped);
        let mut bytes = vec![0; len];
        memory.read(0, &mut bytes);
        memory.end(0)?;
        let end = first + taken * TRB;
        let odd = (0..first).chain(end..len).find(|at| bytes[*at] != 0);
        odd.map_or(Ok(()), |at| {
            let offset = at.cast_signed();
            Err(FinishError::Overrun { offset, found: bytes[at], len, bus })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::DmaMask,
        dma::{
            Limits, Plan, Policy, Pool, PowerOfTwo, Table,
            fake::{FakeMachine, Frames},
        },
    };
    use alloc::boxed::Box;

    #[test]
    fn a_segment_begins_at_a_multiple_of_64_and_nothing_is_written_before_it() {
        let machine = FakeMachine::new(Frames::default());
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        let [block, page] = [TRB, 4096].map(|bytes| PowerOfTwo::new(bytes).unwrap());
        // Wherever the heap has them in their page.
        let limits = Limits::new(DmaMask::BITS_32).aligned_to(block).keeping_offset(page);
        let device = Device::new(&pool, &machine, limits, Policy::Auto);
        let map = || Events::map(&device, 20, 3).unwrap();
        let kept: Vec<_> = (0..40).map(|n| (map(), vec![0_u8; 16 * n + 1])).collect();
        assert!(kept.iter().any(|(events, _)| events.first != 0));
        for (events, _) in kept {
            let (bus, before) = (events.memory.bus(), events.first);
            assert!(events.bus().0.is_multiple_of(64) && before < 64);
            assert_eq!((events.blocks(), events.memory.len()), (25, 25 * TRB + 48));
            if before > 0 {
                let last = BusAddr(bus.0 + before as u64 - 1);
                assert!(machine.bus_write(last, &[7]));
            }
            let ended = events.end(&DeviceStopped::seen());
            assert_eq!(ended.is_err(), before > 0, "{before}");
        }
        assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
    }
}

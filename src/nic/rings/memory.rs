//! What a card has for as long as its driver runs: both rings, and the buffers that frames are received into.
//!
//! ```text
//! 0                  1 KiB              2 KiB                4 KiB
//! | receive ring     | (init block)     | transmit ring      |       one page that device and CPU share
//! ```
//! Each buffer is a mapping of its own, with guard bytes around it where it is bounced; a descriptor of the receive
//! ring has the same buffer for good. Descriptors are never read back but for the word that a device writes. Split
//! virtqueues have half of the page each.

use super::{
    chip::{BUFFER, Chip, DESCRIPTOR, Places, RECEIVE, TRANSMIT},
    split::{self, Queue},
};
use crate::{
    addr::{BusAddr, PAGE_SIZE},
    arch::volatile,
    device::{Cause, StartError, evidence::Ranges},
    dma::{self, Coherent, DeviceStopped, FinishError, FromDevice, HalfPage, Lent, Mapping},
};
use alloc::{boxed::Box, vec::Vec};

/// Where an initialization block is, for a chip that reads one.
const INIT_AT: usize = 1024;
/// Where the transmit ring is.
const TRANSMIT_AT: usize = 2048;
const _: () = assert!(RECEIVE * DESCRIPTOR <= INIT_AT);
const _: () = assert!(TRANSMIT_AT + TRANSMIT * DESCRIPTOR <= PAGE_SIZE);
const _: () = assert!(BUFFER == HalfPage::LEN);

/// A receive buffer in the device's hands.
pub(super) type RxBuffer<'m> = Lent<Mapping<'m, FromDevice, HalfPage>>;

/// Rings and buffers.
#[derive(Debug)]
pub(super) struct Memory<'m> {
    rings: Lent<Coherent<'m>>,
    buffers: Vec<RxBuffer<'m>>,
    /// See [`Chip::status_word`] and [`Chip::end_of_ring`].
    status: usize,
    end: u64,
    /// See [`Chip::is_split`].
    split: Option<Box<Queues>>,
}

/// Split virtqueues.
#[derive(Debug)]
struct Queues {
    receive: Queue,
    transmit: Queue,
}

impl<'m> Memory<'m> {
    /// Takes memory for a device that does not know of it yet.
    pub(super) fn new(
        chip: &dyn Chip,
        dma: &dma::Device<'m>,
        stopped: &DeviceStopped,
        ranges: &mut Ranges,
    ) -> Result<Self, StartError> {
        let rings = dma.coherent(PAGE_SIZE)?;
        ranges.add_shared(&rings);
        let mut memory = Self {
            rings: Lent::new(rings),
            buffers: Vec::with_capacity(RECEIVE),
            status: chip.status_word(),
            end: chip.end_of_ring(),
            split: chip.is_split().then(|| {
                let (receive, transmit) = (Queue::new(0), Queue::with_headers(TRANSMIT_AT));
                Box::new(Queues { receive, transmit })
            }),
        };
        for _ in 0..RECEIVE {
            match dma.map::<FromDevice, _>(HalfPage::new()) {
                Ok(buffer) => {
                    ranges.add(&buffer);
                    memory.buffers.push(Lent::new(buffer));
                }
                Err(error) => {
                    // What it failed for says more than what became of the rest.
                    let _ = memory.take_back(stopped);
                    return Err(error.into());
                }
            }
        }
        Ok(memory)
    }

    pub(super) fn places(&self) -> Places {
        let BusAddr(page) = self.rings.bus();
        let at = |offset: usize| BusAddr(page + offset as u64);
        Places { init: at(INIT_AT), receive: at(0), transmit: at(TRANSMIT_AT) }
    }

    /// Writes an initialization block.
    pub(super) fn initialize(&self, block: [u64; 4]) {
        for (n, word) in block.into_iter().enumerate() {
            self.rings.write_u64(INIT_AT + 8 * n, word);
        }
        volatile::write_barrier();
    }

    /// As after a reset: all buffers filled, and no descriptor is anybody's.
    pub(super) fn clear(&mut self) {
        for buffer in &mut self.buffers {
            buffer.rearm(0..BUFFER);
        }
        for at in (0..PAGE_SIZE).step_by(size_of::<u64>()) {
            self.rings.write_u64(at, 0);
        }
        if let Some(split) = &mut self.split {
            split.receive.clear(&self.rings);
            split.transmit.clear(&self.rings);
        }
    }

    /// Bytes before each received frame.
    pub(super) const fn header(&self) -> usize {
        if self.split.is_some() { split::HEADER } else { 0 }
    }

    /// Lets split queues interrupt for these causes only; other chips have registers for that.
    pub(super) fn enable_interrupts(&self, causes: Cause) {
        let Some(split) = &self.split else { return };
        split.receive.set_interrupts(&self.rings, causes.contains(Cause::RECEIVED));
        split.transmit.set_interrupts(&self.rings, causes.contains(Cause::SENT));
    }

    /// What split queues interrupted for; other chips have registers for that.
    pub(super) fn acknowledge(&mut self) -> Cause {
        let Some(split) = &mut self.split else { return Cause::empty() };
        let mut causes = Cause::empty();
        causes.set(Cause::RECEIVED, split.receive.acknowledge(&self.rings));
        causes.set(Cause::SENT, split.transmit.acknowledge(&self.rings));
        causes
    }

    /// Writes descriptor `index` of the receive ring.
    pub(super) fn offer(&mut self, chip: &dyn Chip, index: usize) {
        let words = chip.receive_descriptor(self.buffers[index].bus());
        self.write(index * DESCRIPTOR, words, index + 1 == RECEIVE);
        if let Some(split) = &mut self.split {
            split.receive.offer(&self.rings, index);
        }
    }

    /// What the device wrote to descriptor `index` of the receive ring: read once, and before what it stands for.
    pub(super) fn received(&mut self, index: usize) -> u64 {
        match &mut self.split {
            Some(split) => split.receive.look(&self.rings, index),
            None => self.read(index * DESCRIPTOR),
        }
    }

    /// The buffer of descriptor `index` of the receive ring.
    pub(super) fn buffer(&mut self, index: usize) -> &mut RxBuffer<'m> {
        &mut self.buffers[index]
    }

    /// Writes descriptor `index` of the transmit ring.
    pub(super) fn send(&mut self, index: usize, words: [u64; 2]) {
        self.write(TRANSMIT_AT + index * DESCRIPTOR, words, index + 1 == TRANSMIT);
        if let Some(split) = &mut self.split {
            split.transmit.offer(&self.rings, index);
        }
    }

    /// What the device wrote to descriptor `index` of the transmit ring.
    pub(super) fn sent(&mut self, index: usize) -> u64 {
        match &mut self.split {
            Some(split) => split.transmit.look(&self.rings, index),
            None => self.read(TRANSMIT_AT + index * DESCRIPTOR),
        }
    }

    fn write(&self, at: usize, words: [u64; 2], last: bool) {
        let (status, other) = (self.status % 2, 1 - self.status % 2);
        let end = if last { self.end } else { 0 };
        self.rings.write_u64(at + 8 * other, words[other]);
        // By this word a device may take the descriptor for its own.
        volatile::write_barrier();
        self.rings.write_u64(at + 8 * status, words[status] | end);
        // The doorbell that follows must not overtake it.
        volatile::write_barrier();
    }

    fn read(&self, at: usize) -> u64 {
        let word = self.rings.read_u64(at + 8 * (self.status % 2));
        volatile::read_barrier();
        word
    }

    /// Whether the guard bytes around all buffers hold.
    pub(super) fn check_guards(&self) -> Result<(), FinishError> {
        self.buffers.iter().try_for_each(|buffer| buffer.check_guards())
    }

    /// Gives everything back; the first thing that was wrong with it.
    pub(super) fn take_back(self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        let Self { rings, buffers, .. } = self;
        // What can't be released is counted there.
        let _ = rings.reclaim(stopped).close();
        let ends = buffers.into_iter().map(|buffer| buffer.reclaim(stopped).end(0).map(drop));
        // All of them, also after one that was wrong.
        ends.fold(Ok(()), Result::and)
    }
}

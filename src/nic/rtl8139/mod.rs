//! The Realtek RTL8139C(L)+ in its plain mode: one receive ring, four transmit slots, 32-bit addresses.
//!
//! ```text
//! regs      offsets and bits, by their datasheet names
//! ring      positions, lengths, slots: logic without a device
//! chip      which register when
//! receive   frames out of the ring        transmit   frames into the slots
//! ```
//!
//! The whole receive buffer is one mapping for as long as the driver runs, and frames are copied from it
//! straight to where they are wanted; each transmitted frame is a mapping of its own. Only memory BAR
//! registers are used.
//!
//! Known of QEMU's model (hw/net/rtl8139.c, up to 10.0): a frame is sent within the write to TSD, and what
//! the network answers at once is in the ring when that write returns; the ring starts anew when RCR is
//! written; with the overflow interrupt disabled, frames are held back while less than 1514 bytes of ring
//! are free; once a frame found no room, all are held back until CAPR is written, and MPC counts it although
//! nothing is lost; in loopback RCR's filters apply, frames from the wire mix in, and a frame that finds no
//! room is lost.

mod chip;
mod receive;
mod regs;
mod ring;
mod transmit;

#[cfg(test)]
mod tests;

use super::{
    Nic, QuiesceError,
    cause::{Cause, Counters},
    error::{ReceiveError, StartError, TransmitError, Unsent},
    evidence::{DmaRange, Ranges, TxRecord},
    mmio::Registers,
};
use crate::{
    addr::DmaMask,
    arch::time::Clock,
    dma::{self, FinishError, FromDevice, Limits, Mapping, PowerOfTwo, ToDevice},
};
use alloc::{vec, vec::Vec};
use chip::Chip;
use core::fmt;
use ring::{BUFFER, RxRing, SLOTS, TxSlots};

/// The chip's name.
pub(super) const NAME: &str = "rtl8139";

/// 32-bit addresses that are multiples of four (datasheet, TSAD and RBSTART).
pub(super) const fn limits() -> Limits {
    let limits = Limits::new(DmaMask::BITS_32);
    match PowerOfTwo::new(4) {
        Some(four) => limits.aligned_to(four),
        None => limits,
    }
}

/// A started RTL8139.
pub struct Rtl8139<'m, R: Registers> {
    chip: Chip<'m, R>,
    dma: dma::Device<'m>,
    mac: [u8; 6],
    loopback: bool,
    enabled: Cause,
    ring: RxRing,
    /// `None` once quiesced.
    buffer: Option<Mapping<'m, FromDevice, Vec<u8>>>,
    slots: TxSlots,
    in_flight: [Option<Mapping<'m, ToDevice, Vec<u8>>>; SLOTS],
    /// Buffers of frames that were sent while waiting for another.
    sent: Vec<Vec<u8>>,
    counters: Counters,
    ranges: Ranges,
    last_tx: Option<TxRecord>,
}

impl<R: Registers> fmt::Debug for Rtl8139<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtl8139")
            .field("ring", &self.ring)
            .field("slots", &self.slots)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Rtl8139<'m, R> {
    /// Resets the chip behind `regs` and starts receiving. No interrupt is enabled yet.
    ///
    /// Memory decoding and bus mastering must be on, and `dma` made with the chip's limits
    /// ([`super::DriverKind::limits`]).
    pub fn start(regs: R, dma: dma::Device<'m>, clock: &'m dyn Clock) -> Result<Self, StartError> {
        if regs.len() < regs::LEN {
            return Err(StartError::BarTooSmall { len: regs.len(), needed: regs::LEN });
        }
        let chip = Chip::new(regs, clock);
        chip.reset()?;
        let mac = chip.mac();
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(StartError::BadAddress(mac));
        }
        let buffer = dma.map::<FromDevice, _>(vec![0; BUFFER])?;
        let mut card = Self {
            chip,
            dma,
            mac,
            loopback: false,
            enabled: Cause::empty(),
            ring: RxRing::EMPTY,
            buffer: None,
            slots: TxSlots::EMPTY,
            in_flight: [const { None }; SLOTS],
            sent: Vec::new(),
            counters: Counters::default(),
            ranges: Ranges::default(),
            last_tx: None,
        };
        card.ranges.add(&buffer);
        card.buffer = Some(buffer);
        card.begin()?;
        Ok(card)
    }

    /// Starts both directions of a chip that was just reset.
    fn begin(&mut self) -> Result<(), StartError> {
        let buffer = self.buffer.as_ref().ok_or(StartError::Stopped)?;
        let bus = buffer.bus();
        let address = u32::try_from(bus.0).map_err(|_| StartError::BeyondRegisters(bus.0))?;
        self.ring = RxRing::EMPTY;
        self.chip.start(address, self.loopback);
        self.chip.enable_interrupts(self.enabled);
        Ok(())
    }

    /// Resets and starts again; frames in flight are dropped.
    fn restart(&mut self) -> Result<(), StartError> {
        self.counters.rx_missed += self.chip.take_missed();
        self.chip.reset()?;
        self.drop_in_flight();
        self.begin()
    }

    /// Takes the frames in flight back. Only after a reset.
    fn drop_in_flight(&mut self) {
        for mapping in self.in_flight.iter_mut().filter_map(Option::take) {
            self.sent.push(mapping.abandon());
            self.counters.tx_dropped += 1;
        }
        self.slots = TxSlots::EMPTY;
    }
}

impl<R: Registers> Nic for Rtl8139<'_, R> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn link_up(&self) -> bool {
        self.chip.link_up()
    }

    fn set_loopback(&mut self, on: bool) -> Result<(), StartError> {
        self.loopback = on;
        self.restart()
    }

    fn transmit(&mut self, frame: Vec<u8>) -> Result<(), Unsent> {
        self.queue(frame)
    }

    fn transmit_in_place(&mut self, frame: &[u8]) -> Result<TxRecord, TransmitError> {
        self.send_in_place(frame)
    }

    fn reclaim(&mut self) -> Result<Option<Vec<u8>>, TransmitError> {
        match self.sent.pop() {
            Some(frame) => Ok(Some(frame)),
            None => self.finish_oldest(),
        }
    }

    fn has_room(&self) -> bool {
        self.slots.free().is_some()
    }

    fn in_flight(&self) -> usize {
        self.slots.used() + self.sent.len()
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> Result<Option<usize>, ReceiveError> {
        self.next_frame(frame)
    }

    fn acknowledge(&mut self) -> Cause {
        let cause = self.chip.acknowledge();
        self.counters.interrupts += u64::from(!cause.is_empty());
        if cause.contains(Cause::OVERFLOW) {
            self.counters.rx_missed += self.chip.take_missed();
        }
        cause
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.enabled = causes;
        self.chip.enable_interrupts(causes);
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        self.ranges.all()
    }

    fn last_tx(&self) -> Option<TxRecord> {
        self.last_tx
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.buffer.as_ref().map_or(Ok(()), Mapping::check_guards)
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        let buffer = self.buffer.take();
        if let Err(error) = self.chip.reset() {
            // It may still write: what is dropped unfinished is lost rather than given to someone else.
            self.in_flight = [const { None }; SLOTS];
            return Err(error.into());
        }
        self.drop_in_flight();
        self.sent.clear();
        buffer.map(|buffer| buffer.finish(0)).transpose()?;
        Ok(())
    }
}

impl<R: Registers> Drop for Rtl8139<'_, R> {
    fn drop(&mut self) {
        if self.buffer.is_some() {
            // What is wrong now was not asked for; `quiesce` tells.
            let _ = self.quiesce();
        }
    }
}

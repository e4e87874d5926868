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
//! A frame is back once its slot reads as read and sent; an aborted one is sent once more (the transmitter halts
//! until then), and whatever else goes wrong, or takes too long, ends in a reset. A reset that is not seen to end
//! leaves all memory lent.
//!
//! Known of QEMU's model (hw/net/rtl8139.c, up to 10.0): a frame is sent within the write to TSD, and what
//! the network answers at once is in the ring when that write returns; the ring starts anew when RCR is
//! written; with the overflow interrupt disabled, frames are held back while less than 1514 bytes of ring
//! are free; once a frame found no room, all are held back until CAPR is written, and MPC counts it although
//! nothing is lost; in loopback RCR's filters apply, frames from the wire mix in, and a frame that finds no
//! room is lost.

pub(in crate::nic) mod chip;
mod receive;
pub(in crate::nic) mod regs;
mod ring;
mod transmit;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing;

use super::{
    Counters, Nic,
    error::{Mac, ReceiveError, TransmitError, Unsent},
    sending::{self, Outgoing},
};
use crate::{
    addr::DmaMask,
    arch::time::Clock,
    device::{
        self, Cause, DmaRange, Driver, Ended, QuiesceError, Registers, ResetError, Sent,
        StartError, Traffic, evidence::Ranges, life::Life,
    },
    dma::{
        self, DeviceStopped, FinishError, FromDevice, Lent, Limits, Mapping, PowerOfTwo, Source,
    },
};
use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};
use chip::{Chip, Width};
use core::fmt;
use ring::{BUFFER, RxRing, SLOTS};

/// The chip's name.
const NAME: &str = "rtl8139";

/// 32-bit addresses that are multiples of four (datasheet, TSAD and RBSTART).
const fn limits() -> Limits {
    let limits = Limits::new(DmaMask::BITS_32);
    match PowerOfTwo::new(4) {
        Some(four) => limits.aligned_to(four),
        None => limits,
    }
}

/// An RTL8139 that was seen to stop and was given no memory yet.
#[derive(Debug)]
#[must_use = "it does nothing before it is started"]
pub struct Idle<'m, R: Registers> {
    chip: Chip<'m, R>,
    mac: [u8; 6],
    stopped: DeviceStopped,
}

/// A started RTL8139.
pub struct Rtl8139<'m, R: Registers> {
    chip: Chip<'m, R>,
    mac: [u8; 6],
    loopback: bool,
    enabled: Cause,
    life: Life,
    ring: RxRing,
    /// `None` once taken back.
    buffer: Option<Lent<Mapping<'m, FromDevice, Vec<u8>>>>,
    /// Where the buffer is, for the chip.
    buffer_at: u32,
    out: Outgoing<'m>,
    /// The oldest frame was aborted, and is sent once more.
    retried: bool,
    counters: Counters,
    ranges: Ranges,
}

impl<R: Registers> fmt::Debug for Rtl8139<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtl8139")
            .field("life", &self.life)
            .field("ring", &self.ring)
            .field("out", &self.out)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Idle<'m, R> {
    /// Resets the chip behind `regs`, whatever it was left doing. Memory decoding must be on.
    pub fn reset(regs: R, clock: &'m dyn Clock) -> Result<Self, StartError> {
        device::registers::at_least(&regs, regs::LEN)?;
        let chip = Chip::new(regs, clock, Width::Narrow);
        let stopped = chip.reset()?;
        let mac = chip.mac();
        chip.check_there()?;
        if mac[0] & 1 != 0 || mac == [0; 6] {
            let [a, b, c, d, e, f] = mac;
            let value = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
            return Err(StartError::Unfit { what: "address", value });
        }
        Ok(Self { chip, mac, stopped })
    }
}

impl<'m, R: Registers + fmt::Debug + 'm> device::Idle<'m> for Idle<'m, R> {
    type Running = Rtl8139<'m, R>;

    fn limits(&self) -> Limits {
        limits()
    }

    fn stopped(&self) -> &DeviceStopped {
        &self.stopped
    }

    fn start(self, dma: dma::Device<'m>) -> Result<Rtl8139<'m, R>, StartError> {
        let Self { chip, mac, stopped } = self;
        let buffer = dma.map::<FromDevice, _>(vec![0; BUFFER])?;
        let bus = buffer.bus();
        let buffer_at = u32::try_from(bus.0).map_err(|_| StartError::BeyondRegisters(bus.0))?;
        let mut ranges = Ranges::default();
        ranges.add(&buffer);
        let mut card = Rtl8139 {
            chip,
            mac,
            loopback: false,
            enabled: Cause::empty(),
            life: Life::Running,
            ring: RxRing::EMPTY,
            buffer: Some(Lent::new(buffer)),
            buffer_at,
            out: Outgoing::new(dma, DmaMask::BITS_32, SLOTS, SLOTS),
            retried: false,
            counters: Counters::default(),
            ranges,
        };
        card.begin(stopped)?;
        Ok(card)
    }
}

impl<R: Registers> Rtl8139<'_, R> {
    /// Starts both directions of a chip that was just reset.
    fn begin(&mut self, stopped: DeviceStopped) -> Result<(), ResetError> {
        self.ring = RxRing::EMPTY;
        if let Some(buffer) = &mut self.buffer {
            buffer.rearm(0..BUFFER);
        }
        self.chip.start(stopped, self.buffer_at, self.loopback).map_err(|e| self.life.lose(e))?;
        self.chip.enable_interrupts(self.enabled);
        self.life = Life::Running;
        Ok(())
    }

    /// Resets and starts again; frames in flight are dropped.
    fn restart(&mut self) -> Result<(), ResetError> {
        self.counters.rx_missed += self.chip.take_missed();
        let stopped = self.chip.reset().map_err(|e| self.life.lose(e))?;
        self.drop_in_flight(&stopped);
        self.begin(stopped)
    }

    /// Takes the frames in flight back.
    fn drop_in_flight(&mut self, stopped: &DeviceStopped) {
        self.counters.tx_dropped += self.out.drop_all(stopped);
        self.retried = false;
    }
}

impl<R: Registers> Driver for Rtl8139<'_, R> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn label(&self) -> String {
        Mac(&self.mac).to_string()
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

    fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        self.ranges.all()
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.buffer.as_ref().map_or(Ok(()), |buffer| buffer.check_guards())
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        let stopped = self.chip.reset().map_err(|e| self.life.lose(e))?;
        Ok(self.take_back(&stopped)?)
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.life = Life::Ended;
        self.drop_in_flight(stopped);
        self.out.forget();
        let buffer = self.buffer.take();
        buffer.map(|buffer| buffer.reclaim(stopped).end(0)).transpose().map(drop)
    }
}

impl<R: Registers> Nic for Rtl8139<'_, R> {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn link_up(&self) -> bool {
        self.chip.link_up()
    }

    fn set_loopback(&mut self, on: bool) -> Result<(), StartError> {
        if self.life.is_ended() {
            return Err(Ended.into());
        }
        self.loopback = on;
        Ok(self.restart()?)
    }

    fn transmit(&mut self, frame: Vec<u8>) -> Result<(), Unsent> {
        sending::queue(self, frame)
    }

    fn transmit_in_place(&mut self, frame: Source) -> Result<(Sent, Source), TransmitError> {
        sending::send_in_place(self, frame)
    }

    fn reclaim(&mut self) -> Result<Option<Vec<u8>>, TransmitError> {
        sending::reclaim(self)
    }

    fn has_room(&self) -> bool {
        self.out.free().is_some()
    }

    fn in_flight(&self) -> usize {
        self.out.unclaimed()
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> Result<Option<usize>, ReceiveError> {
        self.next_frame(frame)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn last_tx(&self) -> Option<Sent> {
        self.out.last()
    }
}

impl<R: Registers> Drop for Rtl8139<'_, R> {
    fn drop(&mut self) {
        if !self.life.is_ended() {
            // What is wrong now was not asked for; `quiesce` tells. What is still lent after this is kept.
            let _ = self.quiesce();
        }
    }
}

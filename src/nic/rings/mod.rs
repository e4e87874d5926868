//! A card with a ring of descriptors each way, whatever its family: one piece of code, since a chip is asked through a
//! table ([`Chip`] as a trait object) and what it is asked for is an access to a register, which takes far longer.
//!
//! ```text
//! chip      what a family has of its own: registers, and what a descriptor looks like
//! ring      positions: logic without a device            memory    both rings, and the receive buffers
//! split     virtqueues, where the rings are such
//! receive   frames out of the ring                       transmit  frames into it
//! ```
//!
//! Descriptors are written whole by the driver and read one word at a time, once: what that word says is checked before
//! it is used, and whatever else a device writes to a ring is never looked at. A frame to send is back once its
//! descriptor says so; whatever goes wrong, or takes too long, ends in a reset. A reset that is not seen to end leaves
//! all memory lent.

pub mod chip;
mod memory;
mod receive;
mod ring;
pub mod split;
mod transmit;

#[cfg(test)]
pub(super) mod bench;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing;

use super::{
    Counters, Mirror, Nic,
    error::{Mac, ReceiveError, TransmitError, Unsent},
    sending::{self, Outgoing},
};
use crate::{
    arch::{
        time::{Clock, Instant},
        wait::Deadline,
    },
    device::{
        self, Cause, DmaRange, Driver, Ended, QuiesceError, ResetError, Sent, StartError, Traffic,
        evidence::Ranges, life::Life,
    },
    dma::{self, DeviceStopped, FinishError, Limits, Source},
    pci::Delivery,
};
use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use chip::{Chip, RECEIVE, TRANSMIT};
use core::{fmt, hint, mem, time::Duration};
use memory::Memory;
use ring::Ring;

/// How long a loop inside the card may take to carry frames once it is closed.
const LOOP_LIMIT: Duration = Duration::from_millis(1500);
/// How long one frame may take through it.
const LOOP_TRIP: Duration = Duration::from_millis(5);
/// How long a link may take to come back once the loop is open again: the two ends negotiate anew.
const LINK_LIMIT: Duration = Duration::from_secs(4);

/// A card that was seen to stop and was given no memory yet.
#[must_use = "it does nothing before it is started"]
pub struct Idle<'m> {
    chip: Box<dyn Chip + 'm>,
    clock: &'m dyn Clock,
    mac: [u8; 6],
    stopped: DeviceStopped,
}

/// A started card.
pub struct Card<'m> {
    chip: Box<dyn Chip + 'm>,
    clock: &'m dyn Clock,
    mac: [u8; 6],
    loopback: bool,
    /// Whether a frame came back since the loop was last closed.
    mirrored: bool,
    enabled: Cause,
    life: Life,
    /// `None` once taken back.
    memory: Option<Memory<'m>>,
    rx: Ring<RECEIVE>,
    /// Buffers that the device may have and was not told of.
    unreported: usize,
    /// When the device was last asked whether it is there.
    asked: Instant,
    /// Whether the device said since then that it needs a reset.
    may_be_broken: bool,
    out: Outgoing<'m>,
    counters: Counters,
    ranges: Ranges,
}

impl fmt::Debug for Idle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle")
            .field("chip", &self.chip)
            .field("mac", &self.mac)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Card<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("chip", &self.chip)
            .field("life", &self.life)
            .field("rx", &self.rx)
            .field("out", &self.out)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<'m> Idle<'m> {
    /// A chip that was just reset, with the address it has for itself.
    pub(super) fn new(
        chip: impl Chip + 'm,
        clock: &'m dyn Clock,
        mac: [u8; 6],
        stopped: DeviceStopped,
    ) -> Result<Self, StartError> {
        if mac[0] & 1 != 0 || mac == [0; 6] {
            let [a, b, c, d, e, f] = mac;
            let value = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
            return Err(StartError::Unfit { what: "address", value });
        }
        Ok(Self { chip: Box::new(chip), clock, mac, stopped })
    }
}

impl<'m> device::Idle<'m> for Idle<'m> {
    type Running = Card<'m>;

    fn limits(&self) -> Limits {
        self.chip.limits()
    }

    fn stopped(&self) -> &DeviceStopped {
        &self.stopped
    }

    fn start(self, dma: dma::Device<'m>) -> Result<Card<'m>, StartError> {
        let Self { chip, clock, mac, stopped } = self;
        let mut ranges = Ranges::default();
        let memory = Memory::new(&*chip, &dma, &stopped, &mut ranges)?;
        // To the device a tail at the oldest descriptor is an empty ring: it never has all of them.
        let out = Outgoing::new(dma, chip.limits().mask, TRANSMIT, TRANSMIT - 1);
        let mut card = Card {
            chip,
            clock,
            mac,
            loopback: false,
            mirrored: false,
            enabled: Cause::empty(),
            life: Life::Running,
            memory: Some(memory),
            rx: Ring::EMPTY,
            unreported: 0,
            asked: clock.now(),
            may_be_broken: false,
            out,
            counters: Counters::default(),
            ranges,
        };
        card.begin(stopped)?;
        Ok(card)
    }
}

impl Card<'_> {
    /// Starts both directions of a chip that was just reset.
    fn begin(&mut self, stopped: DeviceStopped) -> Result<(), ResetError> {
        self.rx = Ring::EMPTY;
        if let Some(memory) = &mut self.memory {
            memory.clear();
            memory.enable_interrupts(self.enabled);
            let places = memory.places();
            if let Some(block) = self.chip.init_block(places, self.loopback) {
                memory.initialize(block);
            }
            self.offer_buffers();
            let started = self.chip.start(stopped, places, self.loopback);
            started.map_err(|e| self.life.lose(e))?;
        }
        self.report_buffers();
        self.chip.enable_interrupts(self.enabled);
        self.chip.check_there().map_err(|e| self.life.lose(e))?;
        self.life = Life::Running;
        Ok(())
    }

    /// Resets and starts again; frames in flight are dropped.
    fn restart(&mut self) -> Result<(), ResetError> {
        self.counters.rx_missed += self.chip.take_missed();
        let stopped = self.chip.reset().map_err(|e| self.life.lose(e))?;
        self.counters.tx_dropped += self.out.drop_all(&stopped);
        self.begin(stopped)
    }

    fn acknowledge_all(&mut self) -> Cause {
        let cause = self.chip.acknowledge();
        match &mut self.memory {
            Some(memory) if cause != Cause::GONE => cause | memory.acknowledge(),
            _ => cause,
        }
    }

    /// Sends frames to the card itself until one comes back: a loop is closed by the PHY, which takes its time.
    ///
    /// Whether one did. A loop that carries nothing is left to whoever sends through it.
    fn wait_for_loop(&mut self) -> Result<bool, ResetError> {
        let probe = probe(&self.mac);
        let mut received = Vec::new();
        let wait = Deadline::new(self.clock, LOOP_LIMIT);
        let carried = wait.turns(|_| match sending::send_in_place(self, probe.clone().into()) {
            Ok(_) => self.wait_for_frame(&probe, &mut received),
            Err(TransmitError::Lost(error)) => Err(error),
            Err(_) => Ok(Some(false)),
        })?;
        Ok(carried.unwrap_or(false))
    }

    /// Whether `sent` came back: `Some(true)`, or nothing in the time that it has.
    fn wait_for_frame(
        &mut self,
        sent: &[u8],
        received: &mut Vec<u8>,
    ) -> Result<Option<bool>, ResetError> {
        Deadline::new(self.clock, LOOP_TRIP).turns(|_| match self.next_frame(received) {
            Ok(Some(len)) if received[..len] == *sent => Ok(Some(true)),
            Err(ReceiveError::Lost(error)) => Err(error),
            _ => {
                hint::spin_loop();
                Ok(None)
            }
        })
    }

    /// Waits for the link to come back; one that does not is no error.
    fn wait_for_link(&mut self) -> Result<(), ResetError> {
        let came = Deadline::new(self.clock, LINK_LIMIT).turns(|_| match self.chip.link_up() {
            true => Ok(Some(())),
            false => self.chip.check_there().map(|()| None),
        });
        came.map(drop).map_err(|e| self.life.lose(e))
    }
}

/// A short frame from a card to itself.
fn probe(mac: &[u8; 6]) -> Vec<u8> {
    let mut frame = vec![0; super::FRAME_MIN];
    frame[..6].copy_from_slice(mac);
    frame[6..12].copy_from_slice(mac);
    frame[12..14].copy_from_slice(&super::EXPERIMENTAL);
    frame
}

impl Driver for Card<'_> {
    fn name(&self) -> &'static str {
        self.chip.name()
    }

    fn label(&self) -> String {
        Mac(&self.mac).to_string()
    }

    fn deliveries(&self) -> &'static [Delivery] {
        self.chip.deliveries()
    }

    fn deliver(&mut self, how: Delivery) -> Result<(), ResetError> {
        self.chip.deliver(how)
    }

    fn acknowledge(&mut self) -> Cause {
        let cause = self.acknowledge_all();
        self.counters.interrupts += u64::from(!cause.is_empty());
        if cause.contains(Cause::OVERFLOW) {
            self.counters.rx_missed += self.chip.take_missed();
        }
        self.may_be_broken |= cause.contains(Cause::BROKEN);
        cause
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.enabled = causes;
        if let Some(memory) = &self.memory {
            memory.enable_interrupts(causes);
        }
        self.chip.enable_interrupts(causes);
    }

    fn holds_back(&self) -> bool {
        !self.chip.is_split()
    }

    fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        self.ranges.all()
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.memory.as_ref().map_or(Ok(()), Memory::check_guards)
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        let stopped = self.chip.reset().map_err(|e| self.life.lose(e))?;
        Ok(self.take_back(&stopped)?)
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.life = Life::Ended;
        self.counters.tx_dropped += self.out.drop_all(stopped);
        self.out.forget();
        self.memory.take().map_or(Ok(()), |memory| memory.take_back(stopped))
    }
}

impl Nic for Card<'_> {
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
        (self.loopback, self.mirrored) = (on, false);
        // What is sent in order to see the loop closed is nobody's interrupt.
        let enabled = mem::take(&mut self.enabled);
        let turned = self.restart().and_then(|()| match on {
            true => self.wait_for_loop().map(|came| self.mirrored = came),
            false => self.wait_for_link(),
        });
        self.enabled = enabled;
        turned?;
        self.acknowledge_all();
        self.enable_interrupts(enabled);
        Ok(())
    }

    fn mirror(&self) -> Mirror {
        if self.chip.loops() { Mirror::Card } else { Mirror::Wire { seen: self.mirrored } }
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

impl Drop for Card<'_> {
    fn drop(&mut self) {
        if !self.life.is_ended() {
            // What is wrong now was not asked for; `quiesce` tells. What is still lent after this is kept.
            let _ = self.quiesce();
        }
    }
}

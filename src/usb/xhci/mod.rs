//! xHCI controllers, of which nothing is used but command ring and event ring: **no transfer is made over USB**, no port's
//! register is written and no slot enabled (eXtensible Host Controller Interface 1.2). What a reset of the controller itself
//! does to the links of its ports (section 5.4.1) is done, so what hangs there may have to be found anew.
//!
//! ```text
//! regs        registers, by their names           trb       commands, and the events that answer them
//! hc          which register when                 events    memory that the controller writes events to
//! memory      what it keeps                       transfer  commands given and waited for
//! ```
//!
//! The bytes that [`Mover::fill`] makes are a segment of the command ring: commands that do nothing, each one of two, and a
//! link back to the driver's own ring. [`Mover::send`] has the controller read them from where they lie; it answers each with
//! an event, in a ring whose segment is memory that was mapped for it. An event has the address of the command, and says
//! which of the two it was: [`Mover::fetch`] gives the commands as the controller says to have read them. So what is compared
//! are a command's kind, slot and place on the way out, and each event on the way in; and what is not an event has to be as
//! it was.
//!
//! The controller is halted before it gets other rings, since it may be told where they are at no other time; interrupts
//! that are due stay so.

pub mod error;
mod events;
mod hc;
mod memory;
mod regs;
mod transfer;
mod trb;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing;

pub use error::XhciError;
pub use trb::Event;

use crate::{
    addr::{BusAddr, DmaMask},
    arch::time::Clock,
    device::{
        self, Arrival, Cause, DmaRange, Driver, Lengths, Mover, QuiesceError, Registers, Sent,
        StartError, Traffic, evidence::Ranges, life::Life,
    },
    dma::{self, DeviceStopped, FinishError, Lent, Limits, Mapping, PowerOfTwo, Source, ToDevice},
    pci::Delivery,
    report::{Outcome, Reason},
};
use alloc::{format, string::String, vec::Vec};
use core::{fmt, time::Duration};
use events::Events;
use hc::Hc;
use memory::Memory;
use trb::{LEAST, MOST, TRB, Trb};

/// How long answers may take before they are missed.
const PATIENCE: Duration = Duration::from_secs(2);
/// A ring segment begins at a multiple of this (table 6-1).
const ALIGNMENT: usize = 64;
/// No ring segment crosses a multiple of this (table 6-1).
const BOUNDARY: usize = 64 << 10;

/// How far it reaches, and how a segment lies.
const fn limits(reach: DmaMask) -> Limits {
    let limits = Limits { max_len: BOUNDARY, ..Limits::new(reach) };
    match (PowerOfTwo::new(ALIGNMENT), PowerOfTwo::new(BOUNDARY)) {
        (Some(alignment), Some(boundary)) => limits.aligned_to(alignment).within(boundary),
        _ => limits,
    }
}

/// A controller that was seen to stop and was given no memory yet.
#[derive(Debug)]
#[must_use = "it does nothing before it is started"]
pub struct Idle<'m, R: Registers> {
    hc: Hc<'m, R>,
    stopped: DeviceStopped,
}

/// A started controller.
pub struct Xhci<'m, R: Registers> {
    hc: Hc<'m, R>,
    dma: dma::Device<'m>,
    life: Life,
    unmasked: bool,
    /// What it keeps; `None` once taken back.
    memory: Option<Memory<'m>>,
    /// What was filled last.
    asked: Vec<Trb>,
    /// The same, as far as the controller has answered.
    answers: Vec<Trb>,
    /// Whether that was sent, answered, and not yet asked for.
    inside: bool,
    /// What the controller reads, until it has answered.
    leaving: Option<Lent<Mapping<'m, ToDevice, Source>>>,
    /// Where that was.
    commands: BusAddr,
    /// Where it writes its answers, for as long as it runs.
    events: Option<Events<'m>>,
    /// What went wrong while an interrupt was acknowledged.
    failed: Option<XhciError>,
    traffic: Traffic,
    ranges: Ranges,
}

impl<R: Registers> fmt::Debug for Xhci<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xhci")
            .field("life", &self.life)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Idle<'m, R> {
    /// Takes the controller behind `regs` over from the firmware, and resets it, whatever it was left doing. Memory decoding
    /// must be on.
    pub fn reset(regs: R, clock: &'m dyn Clock) -> Result<Self, StartError> {
        let (hc, stopped) = Hc::reset_of(regs, clock)?;
        Ok(Self { hc, stopped })
    }
}

impl<'m, R: Registers + fmt::Debug + 'm> device::Idle<'m> for Idle<'m, R> {
    type Running = Xhci<'m, R>;

    /// As wide as the controller says (AC64).
    fn limits(&self) -> Limits {
        limits(self.hc.reach())
    }

    fn stopped(&self) -> &DeviceStopped {
        &self.stopped
    }

    fn start(self, dma: dma::Device<'m>) -> Result<Xhci<'m, R>, StartError> {
        let Self { hc, stopped } = self;
        let mut ranges = Ranges::default();
        let memory = Memory::new(&dma, hc.traits.scratchpads, &mut ranges)?;
        Ok(Xhci {
            hc,
            dma,
            life: Life::Down(stopped),
            unmasked: false,
            memory: Some(memory),
            asked: Vec::new(),
            answers: Vec::new(),
            inside: false,
            leaving: None,
            commands: BusAddr(0),
            events: None,
            failed: None,
            traffic: Traffic::default(),
            ranges,
        })
    }
}

impl<R: Registers> Mover for Xhci<'_, R> {
    fn lengths(&self) -> Lengths {
        Lengths { min: LEAST, max: MOST, step: TRB }
    }

    fn prepare(&mut self) -> Result<(), Outcome> {
        Ok(self.life.check::<XhciError>()?)
    }

    fn fill(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), Outcome> {
        Ok(self.fill_ring(bytes, seed)?)
    }

    fn only_filled(&self) -> Option<Reason> {
        let why = "what the controller reads are commands to it, which a page table is not";
        Some(Reason::new("xhci-own-commands", why))
    }

    fn send(&mut self, bytes: Source) -> Result<(Sent, Source), Outcome> {
        Ok(self.do_commands(bytes)?)
    }

    fn fetch(&mut self, _sent: &[u8], back: &mut Vec<u8>) -> Result<Arrival, Outcome> {
        Ok(self.fetch_answers(back)?)
    }

    fn missing(&self, sent: &Sent) -> Outcome {
        let (Sent { len, dma, .. }, answers) = (sent, self.answers.len());
        let detail = format!("{answers} answers to {len} bytes of commands at {dma}");
        let remedy = "see `xl dmesg` for IOMMU faults; without any, the controller is stuck";
        Outcome::Failure(Reason::new("xhci-stuck", detail).remedy(remedy))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl<R: Registers> Driver for Xhci<'_, R> {
    fn name(&self) -> &'static str {
        "xhci"
    }

    /// The version of the specification, and what the controller has.
    fn label(&self) -> String {
        let hc::Traits { version, slots, ports, scratchpads, .. } = self.hc.traits;
        let [minor, major] = version.to_le_bytes();
        format!("{major:x}.{minor:x}, {ports} ports, {slots} slots, {scratchpads} scratchpads")
    }

    /// Interrupter 0 has the first message.
    fn deliveries(&self) -> &'static [Delivery] {
        &[Delivery::Msix, Delivery::Msi, Delivery::Intx]
    }

    fn acknowledge(&mut self) -> Cause {
        self.take_interrupts()
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.unmasked = causes.contains(Cause::RECEIVED);
        if self.life.is_running() {
            self.hc.set_mask(self.unmasked);
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        self.ranges.all()
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.events.as_ref().map_or(Ok(()), |events| events.memory.check_guards())
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        let stopped = self.hc.reset().map_err(|e| self.life.lose(e))?;
        Ok(self.take_back(&stopped)?)
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.life = Life::Ended;
        if let Some(memory) = self.memory.take() {
            memory.close(stopped);
        }
        self.reclaim(stopped)
    }
}

impl<R: Registers> Drop for Xhci<'_, R> {
    fn drop(&mut self) {
        if !self.life.is_ended() {
            // What is wrong now was not asked for; `quiesce` tells. What is still lent after this is kept.
            let _ = self.quiesce();
        }
    }
}

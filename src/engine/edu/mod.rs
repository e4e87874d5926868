//! QEMU's `edu`, as a DMA engine: it reads memory into a buffer of 4 KiB and writes the buffer to memory, each byte
//! wherever it is told. With its 28 address lines it is the sharpest check of a bounce pool.
//!
//! ```text
//! regs      offsets and bits
//! chip      which register when
//! ```
//!
//! A transfer has two halves, each a command of its own: the first is waited for, the second interrupts once it is
//! done. The device has no interrupt mask, so the driver plays one: while interrupts are masked commands are given
//! without the interrupt bit, what is pending is taken from the device, and both are raised when they may come again.
//!
//! There is no reset. A transfer under way comes to its end, and that is how the device is seen to stop; with bus
//! mastering off it reaches no memory meanwhile.
//!
//! Known of QEMU's model (hw/misc/edu.c, up to 10.0): each transfer takes 100 ms, whatever its length; an address
//! beyond the 28 bits loses its high bits and is used; writes to the DMA registers are dropped while one is under way;
//! with bus mastering off a transfer ends as if it had been done.

mod chip;
mod regs;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vanishing;

use super::EngineError;
use crate::{
    addr::DmaMask,
    arch::time::Clock,
    device::{
        self, Arrival, Cause, DmaRange, Driver, Ended, Lengths, Mover, QuiesceError, Registers,
        ResetError, Sent, StartError, Traffic, evidence::Ranges, life::Life, pattern,
    },
    dma::{
        self, DeviceStopped, Direction, FinishError, FromDevice, Lent, Limits, Mapping, Source,
        ToDevice, buffer::Buffer,
    },
    pci::Delivery,
    report::{Outcome, Reason},
};
use alloc::{format, string::String, vec, vec::Vec};
use chip::{Chip, Progress};
use core::{fmt, mem, time::Duration};
use regs::{ADDRESS_BITS, BUFFER_LEN, Command, Interrupt};

/// How long a half may take before its bytes are missed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Two series of so many make a thousand transfers in 200 s: QEMU takes 200 ms over both halves of each.
const SERIES: usize = 500;

/// 28-bit addresses, and its buffer's length.
const fn limits() -> Limits {
    let limits = match DmaMask::from_bits(ADDRESS_BITS) {
        Some(mask) => Limits::new(mask),
        None => Limits::new(DmaMask::BITS_32),
    };
    Limits { max_len: BUFFER_LEN, ..limits }
}

/// An `edu` that was seen to stop and was given no memory yet.
#[derive(Debug)]
#[must_use = "it does nothing before it is started"]
pub struct Idle<'m, R: Registers> {
    chip: Chip<'m, R>,
    identification: u32,
    stopped: DeviceStopped,
}

/// A started `edu`.
pub struct Edu<'m, R: Registers> {
    chip: Chip<'m, R>,
    dma: dma::Device<'m>,
    identification: u32,
    life: Life,
    unmasked: bool,
    /// What would have interrupted, had it not been masked.
    due: Interrupt,
    /// Bytes in its buffer that were not asked for yet.
    inside: Option<usize>,
    /// Memory the engine was reading when it timed out; it may still read it.
    leaving: Option<Lent<Mapping<'m, ToDevice, Source>>>,
    /// What it writes.
    arriving: Option<Arriving<'m>>,
    traffic: Traffic,
    ranges: Ranges,
}

/// Memory that the engine writes to.
struct Arriving<'m> {
    memory: Lent<Mapping<'m, FromDevice, Vec<u8>>>,
    command: Command,
}

impl<R: Registers> fmt::Debug for Edu<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edu")
            .field("life", &self.life)
            .field("unmasked", &self.unmasked)
            .field("inside", &self.inside)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Idle<'m, R> {
    /// Waits until the device behind `regs` does nothing any more. Memory decoding must be on, and bus mastering off.
    pub fn reset(regs: R, clock: &'m dyn Clock) -> Result<Self, StartError> {
        device::registers::at_least(&regs, regs::LEN)?;
        let chip = Chip::new(regs, clock);
        let identification = chip.identify()?;
        let stopped = chip.stop()?;
        Ok(Self { chip, identification, stopped })
    }
}

impl<'m, R: Registers + fmt::Debug + 'm> device::Idle<'m> for Idle<'m, R> {
    type Running = Edu<'m, R>;

    fn limits(&self) -> Limits {
        limits()
    }

    fn stopped(&self) -> &DeviceStopped {
        &self.stopped
    }

    fn start(self, dma: dma::Device<'m>) -> Result<Edu<'m, R>, StartError> {
        let Self { chip, identification, stopped: _ } = self;
        Ok(Edu {
            chip,
            dma,
            identification,
            life: Life::Running,
            unmasked: false,
            due: Interrupt::empty(),
            inside: None,
            leaving: None,
            arriving: None,
            traffic: Traffic::default(),
            ranges: Ranges::default(),
        })
    }
}

impl<'m, R: Registers> Edu<'m, R> {
    /// Stops a device that did not do as told, and takes its memory back.
    fn give_up(&mut self, error: EngineError) -> EngineError {
        let stopped = match self.chip.stop() {
            Ok(stopped) => stopped,
            Err(error) => return self.life.lose(error).into(),
        };
        self.traffic.resets += 1;
        // What it did to memory of a transfer that failed matters less than why it failed.
        let _ = self.reclaim(&stopped);
        error
    }

    fn reclaim(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.inside = None;
        let (leaving, arriving) = (self.leaving.take(), self.arriving.take());
        self.traffic.lost += u64::from(leaving.is_some()) + u64::from(arriving.is_some());
        leaving.into_iter().for_each(|memory| drop(memory.reclaim(stopped).abandon()));
        let ended = arriving.map(|arriving| arriving.memory.reclaim(stopped).end(0));
        ended.transpose().map(drop)
    }

    /// Has the engine copy between a mapping and its buffer.
    fn begin<D: Direction, B: Buffer<D>>(
        &mut self,
        command: Command,
        mapping: Mapping<'m, D, B>,
    ) -> Result<Lent<Mapping<'m, D, B>>, EngineError> {
        let (at, len) = (mapping.bus().0, mapping.len());
        let (Ok(bus), Ok(count)) = (u32::try_from(at), u32::try_from(len)) else {
            mapping.abandon();
            return Err(EngineError::BeyondRegisters(at));
        };
        self.ranges.add(&mapping);
        let lent = Lent::new(mapping);
        self.chip.begin(command, bus, count);
        Ok(lent)
    }

    fn read_memory(&mut self, bytes: Source) -> Result<(Sent, Source), EngineError> {
        self.life.check::<EngineError>()?;
        if bytes.is_empty() || bytes.len() > BUFFER_LEN {
            return Err(EngineError::Length { len: bytes.len(), max: BUFFER_LEN });
        }
        self.end_arriving()?;
        let mapping = self.dma.map::<ToDevice, _>(bytes)?;
        let record = Sent::of(&mapping);
        let command = Command::empty();
        self.leaving = Some(self.begin(command, mapping)?);
        self.finish(command)?;
        let memory = self.leaving.take().ok_or(Ended)?;
        self.traffic.sent += 1;
        self.traffic.sent_bounced += u64::from(record.bounced.is_some());
        self.inside = Some(record.len);
        Ok((record, memory.reported_done().end(0)?))
    }

    /// Waits for the command that was given last.
    fn finish(&mut self, command: Command) -> Result<(), EngineError> {
        match self.chip.finish(command) {
            Ok(progress) => self.judge(progress, command).map(drop),
            Err(late) => Err(self.give_up(EngineError::Late(late))),
        }
    }

    /// Whether a transfer is done; an error if it never will be.
    fn judge(&mut self, progress: Progress, command: Command) -> Result<bool, EngineError> {
        match progress {
            Progress::Running => Ok(false),
            Progress::Done => Ok(true),
            Progress::Odd(found) => {
                let begun = (command | Command::START).bits();
                Err(self.give_up(EngineError::Status { begun, found }))
            }
            Progress::Gone => Err(self.life.lose(ResetError::Gone).into()),
        }
    }

    /// Looks for what came, or has the engine write it.
    fn write_memory(&mut self, back: &mut Vec<u8>) -> Result<Arrival, EngineError> {
        self.life.check::<EngineError>()?;
        let Some(Arriving { command, .. }) = self.arriving else {
            let Some(len) = self.inside.take() else {
                return Ok(Arrival::Nothing);
            };
            let interrupt = if self.unmasked { Command::INTERRUPT } else { Command::empty() };
            let command = Command::TO_MEMORY | interrupt;
            let mapping = self.dma.map::<FromDevice, _>(vec![0; len])?;
            let memory = self.begin(command, mapping)?;
            self.arriving = Some(Arriving { memory, command });
            return Ok(Arrival::Nothing);
        };
        let progress = self.chip.progress(command);
        if !self.judge(progress, command)? {
            return Ok(Arrival::Nothing);
        }
        let Some(bytes) = self.take_arrived()? else {
            return Ok(Arrival::Nothing);
        };
        self.traffic.received += 1;
        Ok(Arrival::of(&bytes, back))
    }

    /// The bytes of a transfer that is done.
    fn take_arrived(&mut self) -> Result<Option<Vec<u8>>, FinishError> {
        let Some(Arriving { memory, command }) = self.arriving.take() else {
            return Ok(None);
        };
        if !command.contains(Command::INTERRUPT) {
            self.due |= Interrupt::DMA;
            self.raise_what_is_due();
        }
        let memory = memory.reported_done();
        let len = memory.len();
        memory.end(len).map(Some)
    }

    /// Waits for bytes that nobody asks for any more.
    fn end_arriving(&mut self) -> Result<(), EngineError> {
        if let Some(Arriving { command, .. }) = self.arriving {
            self.finish(command)?;
            self.traffic.lost += 1;
            self.take_arrived()?;
        }
        Ok(())
    }

    fn raise_what_is_due(&mut self) {
        if self.unmasked && !self.due.is_empty() {
            self.chip.raise(mem::replace(&mut self.due, Interrupt::empty()));
        }
    }
}

impl<R: Registers> Mover for Edu<'_, R> {
    fn lengths(&self) -> Lengths {
        Lengths { min: 1, max: BUFFER_LEN, step: 1 }
    }

    fn series(&self) -> usize {
        SERIES
    }

    fn prepare(&mut self) -> Result<(), Outcome> {
        Ok(self.life.check::<EngineError>()?)
    }

    fn fill(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), Outcome> {
        pattern::fill(bytes, seed);
        Ok(())
    }

    fn send(&mut self, bytes: Source) -> Result<(Sent, Source), Outcome> {
        Ok(self.read_memory(bytes)?)
    }

    fn fetch(&mut self, _sent: &[u8], back: &mut Vec<u8>) -> Result<Arrival, Outcome> {
        Ok(self.write_memory(back)?)
    }

    fn missing(&self, sent: &Sent) -> Outcome {
        let Sent { len, dma, .. } = sent;
        let progress = self.arriving.as_ref().map(|a| self.chip.progress(a.command));
        let detail = format!(
            "{len} bytes read from {dma} were not written back within {} s; the engine: {progress:?}",
            PATIENCE.as_secs()
        );
        let remedy =
            "see `xl dmesg` for IOMMU faults; without any, the device is stuck or very slow";
        Outcome::Failure(Reason::new("engine-stuck", detail).remedy(remedy))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl<R: Registers> Driver for Edu<'_, R> {
    fn name(&self) -> &'static str {
        "edu"
    }

    /// Its version.
    fn label(&self) -> String {
        let [_, _, minor, major] = self.identification.to_le_bytes();
        format!("{major}.{minor}")
    }

    /// It sends a message wherever it would assert its pin, and has to be told nothing.
    fn deliveries(&self) -> &'static [Delivery] {
        &[Delivery::Msi, Delivery::Intx]
    }

    fn acknowledge(&mut self) -> Cause {
        let Some(pending) = self.chip.pending() else {
            return Cause::GONE;
        };
        if !pending.is_empty() {
            self.chip.clear(pending.bits());
        }
        let done = if pending.contains(Interrupt::DMA) { Cause::RECEIVED } else { Cause::empty() };
        let odd = !pending.difference(Interrupt::DMA).is_empty();
        if odd { done | Cause::ERROR } else { done }
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.unmasked = causes.contains(Cause::RECEIVED);
        if self.unmasked {
            return self.raise_what_is_due();
        }
        if let Some(Arriving { command, .. }) = self.arriving {
            // Whoever looks for its bytes finds out what is wrong with it.
            let _ = self.chip.finish(command);
        }
        if let Some(pending) = self.chip.pending().filter(|pending| !pending.is_empty()) {
            self.due |= pending & Interrupt::DMA;
            self.chip.clear(pending.bits());
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        self.ranges.all()
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.arriving.as_ref().map_or(Ok(()), |arriving| arriving.memory.check_guards())
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        let stopped = self.chip.stop().map_err(|e| self.life.lose(e))?;
        Ok(self.take_back(&stopped)?)
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.life = Life::Ended;
        self.reclaim(stopped)
    }
}

impl<R: Registers> Drop for Edu<'_, R> {
    fn drop(&mut self) {
        if !self.life.is_ended() {
            // What is wrong now was not asked for; `quiesce` tells. What is still lent after this is kept.
            let _ = self.quiesce();
        }
    }
}

//! The device: what is written to which register, and in which order.
//!
//! Writes are posted (PCI Local Bus Specification 3.0, section 3.2.5): where the next step stands on one having
//! arrived, a register is read back.

use super::regs::{
    BUFFER, Command, DMA_COMMAND, DMA_COUNT, DMA_DESTINATION, DMA_SOURCE, Factorial,
    IDENTIFICATION, IDENTITY, INTERRUPT_ACKNOWLEDGE, INTERRUPT_RAISE, INTERRUPT_STATUS, Interrupt,
    LIVENESS, STATUS,
};
use crate::{
    arch::{
        time::{Clock, TimedOut},
        wait::Deadline,
    },
    device::{Registers, ResetError, StartError},
    dma::DeviceStopped,
};
use core::{fmt, time::Duration};

/// How long a transfer may take; QEMU's model takes 100 ms over each.
const TRANSFER_LIMIT: Duration = Duration::from_secs(1);

/// What all registers read as where nobody answers.
const NOBODY: u32 = u32::MAX;

/// The registers and a clock to wait with.
pub(super) struct Chip<'m, R> {
    regs: R,
    clock: &'m dyn Clock,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Under way.
    Running,
    /// Done.
    Done,
    /// The command register holds something else.
    Odd(u32),
    /// Nobody answers.
    Gone,
}

impl<R> fmt::Debug for Chip<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chip")
    }
}

impl<'m, R: Registers> Chip<'m, R> {
    pub(super) const fn new(regs: R, clock: &'m dyn Clock) -> Self {
        Self { regs, clock }
    }

    /// Whether it is one of these, and alive; its identification.
    pub(super) fn identify(&self) -> Result<u32, StartError> {
        /// Any number.
        const QUESTION: u32 = 0x1357_9bdf;
        let unfit = |what, value: u32| StartError::Unfit { what, value: value.into() };
        let identification = self.regs.read_u32(IDENTIFICATION);
        if identification == NOBODY {
            return Err(ResetError::Gone.into());
        }
        if identification & 0xffff != IDENTITY {
            return Err(unfit("identification", identification));
        }
        self.regs.write_u32(LIVENESS, QUESTION);
        match self.regs.read_u32(LIVENESS) {
            answer if answer == !QUESTION => Ok(identification),
            NOBODY => Err(ResetError::Gone.into()),
            answer => Err(unfit("liveness check", answer)),
        }
    }

    /// Waits until nothing is under way any more: there is no reset, and a transfer can't be called off.
    pub(super) fn stop(&self) -> Result<DeviceStopped, ResetError> {
        self.regs.write_u32(STATUS, 0);
        self.deadline().until("the engine to come to an end", || {
            let (status, command) = (self.regs.read_u32(STATUS), self.regs.read_u32(DMA_COMMAND));
            if status == NOBODY || command == NOBODY {
                return Err(ResetError::Gone);
            }
            let computing = Factorial::from_bits_retain(status).contains(Factorial::COMPUTING);
            let copying = Command::from_bits_retain(command).contains(Command::START);
            Ok(!computing && !copying)
        })?;
        self.clear(NOBODY);
        // The last access: what answers it answered all before.
        match self.regs.read_u32(IDENTIFICATION) {
            NOBODY => Err(ResetError::Gone),
            _ => Ok(DeviceStopped::seen()),
        }
    }

    /// Starts a transfer of `len` bytes between memory and the start of the buffer.
    pub(super) fn begin(&self, command: Command, bus: u32, len: u32) {
        let (source, destination) =
            if command.contains(Command::TO_MEMORY) { (BUFFER, bus) } else { (bus, BUFFER) };
        self.regs.write_u32(DMA_SOURCE, source);
        self.regs.write_u32(DMA_DESTINATION, destination);
        self.regs.write_u32(DMA_COUNT, len);
        self.regs.write_u32(DMA_COMMAND, (command | Command::START).bits());
    }

    /// How far the transfer is that was begun with `command`.
    pub(super) fn progress(&self, command: Command) -> Progress {
        match self.regs.read_u32(DMA_COMMAND) {
            NOBODY => Progress::Gone,
            found if found == command.bits() => Progress::Done,
            found if found == (command | Command::START).bits() => Progress::Running,
            found => Progress::Odd(found),
        }
    }

    /// Waits for the transfer that was begun with `command`.
    pub(super) fn finish(&self, command: Command) -> Result<Progress, TimedOut> {
        self.deadline().find("the engine to be done", || {
            Ok(Some(self.progress(command)).filter(|progress| *progress != Progress::Running))
        })
    }

    /// Whether an interrupt is pending, and for what.
    pub(super) fn pending(&self) -> Option<Interrupt> {
        match self.regs.read_u32(INTERRUPT_STATUS) {
            NOBODY => None,
            bits => Some(Interrupt::from_bits_retain(bits)),
        }
    }

    /// Ends what is pending. The line is let go of when this returns.
    pub(super) fn clear(&self, bits: u32) {
        self.regs.write_u32(INTERRUPT_ACKNOWLEDGE, bits);
        self.regs.read_u32(INTERRUPT_STATUS);
    }

    /// Interrupts as a transfer would.
    pub(super) fn raise(&self, interrupt: Interrupt) {
        self.regs.write_u32(INTERRUPT_RAISE, interrupt.bits());
        self.regs.read_u32(INTERRUPT_STATUS);
    }

    /// The end of a wait that begins now.
    fn deadline(&self) -> Deadline<'m> {
        Deadline::new(self.clock, TRANSFER_LIMIT)
    }
}

//! The controller: what is written to which register, and in which order (xHCI 1.2, sections 4.2 and 5).
//!
//! Writes are posted (PCI Local Bus Specification 3.0, section 3.2.5): where the next step stands on one having arrived,
//! a register is read back.

use super::regs::{
    AC64, BIOS_OWNED, CAPABILITIES, CAPLENGTH, CONFIG_PRESERVED, CRCR_PRESERVED, Command, DBOFF,
    EHB, ERSTBA_PRESERVED, ERSTSZ_PRESERVED, HCCPARAMS1, HCSPARAMS1, HCSPARAMS2, IE,
    IMAN_PRESERVED, IP, LEGACY, LEGACY_EVENTS, LEGACY_PRESERVED, OPERATIONAL, OS_OWNED, Op, RCS,
    RTSOFF, RUNTIME, Rt, Status, USBCMD_PRESERVED, scratchpads,
};
use crate::{
    addr::{BusAddr, DmaMask},
    arch::{time::Clock, wait::Deadline},
    device::{Registers, ResetError, StartError, registers},
    dma::DeviceStopped,
};
use core::{fmt, time::Duration};

/// What all registers read as where nobody answers.
const NOBODY: u32 = u32::MAX;
/// How long firmware may take to let go of the controller (section 4.22.1).
const HANDOFF: Duration = Duration::from_secs(1);
/// How long the controller may take to halt: 16 ms (section 5.4.1.1), and a busy host may be slow to see it.
const HALT: Duration = Duration::from_millis(500);
/// How long a reset may take.
const RESET: Duration = Duration::from_secs(10);
/// Extended capabilities that are looked at; real controllers have a handful, and a list may lead round.
const EXTENDED: usize = 64;
/// How long a controller is left alone that was just told to reset: some of Intel's hang when they are looked at.
const REST: Duration = Duration::from_millis(1);

/// What the controller says of itself.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    /// Version, in BCD.
    pub(super) version: u16,
    /// Device slots.
    pub(super) slots: u8,
    /// Ports.
    pub(super) ports: u8,
    /// Pages that it wants for itself.
    pub(super) scratchpads: usize,
    /// Whether it reaches 64 bits.
    wide: bool,
}

/// The registers and a clock to wait with.
pub(super) struct Hc<'m, R> {
    regs: R,
    pub(super) clock: &'m dyn Clock,
    operational: usize,
    runtime: usize,
    doorbell: usize,
    pub(super) traits: Traits,
    /// What USBCMD was told last.
    command: Command,
}

impl<R> fmt::Debug for Hc<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hc")
    }
}

/// Where a controller that is started finds what.
#[derive(Clone, Copy)]
pub(super) struct Rings {
    /// The first command.
    pub(super) commands: BusAddr,
    /// The event ring segment table, of one entry.
    pub(super) table: BusAddr,
    /// The segment in it.
    pub(super) events: BusAddr,
}

impl<'m, R: Registers> Hc<'m, R> {
    /// The controller behind `regs`, taken over from the firmware and reset, whatever it was left doing.
    pub(super) fn reset_of(
        regs: R,
        clock: &'m dyn Clock,
    ) -> Result<(Self, DeviceStopped), StartError> {
        registers::at_least(&regs, CAPABILITIES)?;
        let traits = Traits { version: 0, slots: 0, ports: 0, scratchpads: 0, wide: false };
        let command = Command::empty();
        let (operational, runtime, doorbell) = (0, 0, 0);
        let mut hc = Self { regs, clock, operational, runtime, doorbell, traits, command };
        let extended = hc.find()?;
        hc.take_over(extended)?;
        let stopped = hc.reset()?;
        match hc.op(Op::PageSize)? {
            1 => Ok((hc, stopped)),
            _ => Err(StartError::Lacks("pages of 4 KiB")),
        }
    }

    /// Finds the registers; where the extended capabilities begin.
    fn find(&mut self) -> Result<usize, StartError> {
        const ALL: [usize; 6] = [CAPLENGTH, HCSPARAMS1, HCSPARAMS2, HCCPARAMS1, DBOFF, RTSOFF];
        let mut read = [0; ALL.len()];
        for (value, register) in read.iter_mut().zip(ALL) {
            *value = self.look(register)?;
        }
        let [caplength, hcsparams1, hcsparams2, hccparams1, dboff, rtsoff] = read;
        let [length, _, minor, major] = caplength.to_le_bytes();
        let [slots, _, _, ports] = hcsparams1.to_le_bytes();
        self.operational = length.into();
        self.doorbell = (dboff & !3) as usize;
        self.runtime = (rtsoff & !0x1f) as usize;
        for (what, at, least, needed) in [
            ("CAPLENGTH", self.operational, CAPABILITIES, OPERATIONAL),
            ("DBOFF", self.doorbell, CAPABILITIES, 4),
            ("RTSOFF", self.runtime, CAPABILITIES, RUNTIME),
        ] {
            let end = at.saturating_add(needed);
            if at < least || !at.is_multiple_of(4) || end > self.regs.size() {
                return Err(StartError::Unfit { what, value: at as u64 });
            }
        }
        if slots == 0 {
            return Err(StartError::Unfit { what: "MaxSlots", value: 0 });
        }
        let version = u16::from_le_bytes([minor, major]);
        let scratchpads = scratchpads(hcsparams2);
        self.traits = Traits { version, slots, ports, scratchpads, wide: hccparams1 & AC64 != 0 };
        Ok((hccparams1 >> 16) as usize * 4)
    }

    /// Has the firmware let go of the controller, if it has it, and interrupt for it no more (section 4.22.1).
    ///
    /// `at` is where the extended capabilities begin, 0 if there are none.
    fn take_over(&self, mut at: usize) -> Result<(), StartError> {
        for _ in 0..EXTENDED {
            if at == 0 || at + 8 > self.regs.size() {
                break;
            }
            let capability = self.look(at)?;
            if capability & 0xff == LEGACY {
                return self.take_over_from_firmware(at, capability);
            }
            let [_, next, ..] = capability.to_le_bytes();
            at = if next == 0 { 0 } else { at + usize::from(next) * 4 };
        }
        Ok(())
    }

    fn take_over_from_firmware(&self, at: usize, capability: u32) -> Result<(), StartError> {
        if capability & BIOS_OWNED != 0 {
            self.regs.write_u32(at, capability | OS_OWNED);
            let went = || self.look(at).map(|capability| capability & BIOS_OWNED == 0);
            let answered = Deadline::new(self.clock, HANDOFF).until("the firmware", went);
            answered.map_err(|error| match error {
                ResetError::Stuck(late) => StartError::Firmware(late),
                ResetError::Gone | ResetError::Refused(_) => error.into(),
            })?;
        }
        let control = self.look(at + 4)?;
        self.regs.write_u32(at + 4, control & LEGACY_PRESERVED | LEGACY_EVENTS);
        Ok(())
    }

    /// How far it reaches.
    pub(super) const fn reach(&self) -> DmaMask {
        if self.traits.wide { DmaMask::BITS_64 } else { DmaMask::BITS_32 }
    }

    /// A register, unless nobody answers.
    fn look(&self, register: usize) -> Result<u32, ResetError> {
        match self.regs.read_u32(register) {
            NOBODY => Err(ResetError::Gone),
            bits => Ok(bits),
        }
    }

    fn op(&self, register: Op) -> Result<u32, ResetError> {
        self.look(self.operational + register as usize)
    }

    /// Writes a register, but for these of its bits.
    fn set(&self, offset: usize, preserved: u32, value: u32) {
        let kept = if preserved == 0 { 0 } else { self.regs.read_u32(offset) & preserved };
        self.regs.write_u32(offset, kept | value);
    }

    fn set_op(&self, register: Op, preserved: u32, value: u32) {
        self.set(self.operational + register as usize, preserved, value);
    }

    fn set_rt(&self, register: Rt, preserved: u32, value: u32) {
        self.set(self.runtime + register as usize, preserved, value);
    }

    /// A register of 64 bits, which begins at this offset; what is preserved is in its lower half.
    fn set_u64(&self, offset: usize, preserved: u32, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.set(offset, preserved, u32::from_le_bytes([a, b, c, d]));
        self.regs.write_u32(offset + 4, u32::from_le_bytes([e, f, g, h]));
    }

    fn set_command(&mut self, command: Command) {
        self.command = command;
        self.set_op(Op::UsbCmd, USBCMD_PRESERVED, command.bits());
    }

    pub(super) fn status(&self) -> Result<Status, ResetError> {
        Ok(Status::from_bits_retain(self.op(Op::UsbSts)?))
    }

    /// Has it do nothing more, and sees it let go of its rings; its contexts and scratchpads it keeps until it is reset. What
    /// is interrupted for already stays so.
    pub(super) fn halt(&mut self) -> Result<DeviceStopped, ResetError> {
        self.set_command(self.command & Command::INTE);
        Deadline::new(self.clock, HALT).until("the controller to halt", || {
            self.status().map(|status| status.contains(Status::HCH))
        })?;
        Ok(DeviceStopped::seen())
    }

    /// Resets the whole controller, and sees it let go of all memory. No interrupt comes after that.
    pub(super) fn reset(&mut self) -> Result<DeviceStopped, ResetError> {
        self.wait_until_ready()?;
        self.command = Command::empty();
        self.halt()?;
        self.set_op(Op::UsbCmd, USBCMD_PRESERVED, Command::HCRST.bits());
        Deadline::new(self.clock, REST).sit_out();
        self.wait_until_ready()?;
        self.halt()
    }

    fn wait_until_ready(&self) -> Result<(), ResetError> {
        Deadline::new(self.clock, RESET).until("the controller to come out of its reset", || {
            let in_reset = self.op(Op::UsbCmd)? & Command::HCRST.bits() != 0;
            Ok(!in_reset && !self.status()?.contains(Status::CNR))
        })
    }

    /// Tells a controller that was reset where its contexts are: of all its slots, of which none is ever enabled.
    pub(super) fn enable(&mut self, contexts: BusAddr, unmasked: bool, _: DeviceStopped) {
        self.set_op(Op::Config, CONFIG_PRESERVED, self.traits.slots.into());
        self.set_u64(self.operational + Op::Dcbaap as usize, 0, contexts.0);
        self.set_rt(Rt::Imod, 0, 0);
        // Interrupts are masked as a whole.
        self.set_rt(Rt::Iman, IMAN_PRESERVED, IE);
        self.set_mask(unmasked);
    }

    /// Lets the controller interrupt, or not, from when this returns.
    pub(super) fn set_mask(&mut self, unmasked: bool) {
        let mut command = self.command;
        command.set(Command::INTE, unmasked);
        self.set_command(command);
        // Whoever looks for what it did finds out if it is gone.
        let _ = self.op(Op::UsbCmd);
    }

    /// Runs a controller that is halted, and has it do what is in its command ring.
    pub(super) fn run(&mut self, rings: Rings) -> Result<(), ResetError> {
        let (crcr, erstba) =
            (self.operational + Op::Crcr as usize, self.runtime + Rt::Erstba as usize);
        self.set_u64(crcr, CRCR_PRESERVED, rings.commands.0 | RCS);
        self.set_rt(Rt::Erstsz, ERSTSZ_PRESERVED, 1);
        self.set_u64(self.runtime + Rt::Erdp as usize, 0, rings.events.0);
        self.set_u64(erstba, ERSTBA_PRESERVED, rings.table.0);
        self.set_command(self.command | Command::RS);
        Deadline::new(self.clock, HALT).until("the controller to run", || {
            self.status().map(|status| !status.contains(Status::HCH))
        })?;
        // The host's doorbell: of the command ring.
        self.regs.write_u32(self.doorbell, 0);
        Ok(())
    }

    /// Ends the interrupt, if there is one, after the events before `taken` were; whether there was one. The line is let
    /// go of when this returns.
    ///
    /// EHB tells: it is set with each interrupt, and a message takes IP back at once (section 4.17.2).
    pub(super) fn take_interrupt(&self, taken: BusAddr) -> Result<bool, ResetError> {
        let pending = u64::from(self.look(self.runtime + Rt::Erdp as usize)?) & EHB != 0;
        if pending {
            self.set_rt(Rt::Iman, IMAN_PRESERVED, IP | IE);
            self.set_u64(self.runtime + Rt::Erdp as usize, 0, taken.0 | EHB);
            self.status()?;
        }
        Ok(pending)
    }
}

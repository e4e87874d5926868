//! The controller and its port: what is written to which register, and in which order (AHCI 1.3.1, section 10).
//!
//! Writes are posted (PCI Local Bus Specification 3.0, section 3.2.5): where the next step stands on one having arrived,
//! a register is read back.

use super::{
    command::{LIST, Opcode, RECEIVED},
    error::AhciError,
    regs::{
        BOH, BOHC, CAP, CAP2, Command, Control, GHC, Handoff, IS, Interrupt, PI, Px, S64A,
        SCTL_RESET, SCTL_RUN, SIG_ATA, TaskFile, VS, end_of_port, is_linked,
    },
};
use crate::{
    addr::{BusAddr, DmaMask},
    arch::{time::Clock, wait::Deadline},
    device::{Registers, ResetError, StartError, registers},
    dma::{Coherent, DeviceStopped},
};
use core::{fmt, time::Duration};

/// What all registers read as where nobody answers.
const NOBODY: u32 = u32::MAX;
/// How long firmware may take to say that it is busy, and how long it then may be (section 10.6.3).
const HANDOFF: Duration = Duration::from_millis(25);
const FIRMWARE: Duration = Duration::from_secs(2);
/// How long the whole controller's reset may take (section 10.4.3).
const RESET: Duration = Duration::from_secs(1);
/// How long an engine may take to stop (section 10.1.2).
const ENGINE: Duration = Duration::from_millis(500);
/// How long COMRESET lasts (section 10.4.2).
const COMRESET: Duration = Duration::from_millis(1);
/// How long a link may take to come up.
const LINK: Duration = Duration::from_secs(1);
/// How long a disk may take to spin up.
const SPIN_UP: Duration = Duration::from_secs(20);

/// The registers and a clock to wait with.
pub(super) struct Hba<'m, R> {
    regs: R,
    pub(super) clock: &'m dyn Clock,
    /// Whether it reaches 64 bits.
    wide: bool,
    /// The ports that there are, a bit each.
    ports: u32,
    /// The one in use.
    port: u32,
}

impl<R> fmt::Debug for Hba<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hba")
            .field("ports", &self.ports)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Hba<'m, R> {
    /// The controller behind `regs`, taken over from the firmware and reset, whatever it was left doing.
    pub(super) fn reset_of(
        regs: R,
        clock: &'m dyn Clock,
    ) -> Result<(Self, DeviceStopped), StartError> {
        registers::at_least(&regs, end_of_port(0))?;
        let mut hba = Self { regs, clock, wide: false, ports: 0, port: 0 };
        hba.ports =
            (0..32).filter(|port| end_of_port(*port) <= hba.regs.size()).fold(0, |a, n| a | 1 << n);
        let ports = hba.look(PI)?;
        hba.ports &= ports;
        if hba.ports == 0 {
            return Err(StartError::Unfit { what: "PI", value: ports.into() });
        }
        hba.take_over()?;
        let stopped = hba.reset()?;
        hba.wide = hba.look(CAP)? & S64A != 0;
        Ok((hba, stopped))
    }

    /// How far it reaches.
    pub(super) const fn reach(&self) -> DmaMask {
        if self.wide { DmaMask::BITS_64 } else { DmaMask::BITS_32 }
    }

    /// VS: major, minor.
    pub(super) fn version(&self) -> [u16; 2] {
        let [a, b, c, d] = self.regs.read_u32(VS).to_le_bytes();
        [u16::from_le_bytes([c, d]), u16::from_le_bytes([a, b])]
    }

    /// A register, unless nobody answers.
    fn look(&self, register: usize) -> Result<u32, ResetError> {
        match self.regs.read_u32(register) {
            NOBODY => Err(ResetError::Gone),
            bits => Ok(bits),
        }
    }

    fn px(&self, register: Px) -> Result<u32, ResetError> {
        self.look(register.of(self.port))
    }

    fn set_px(&self, register: Px, value: u32) {
        self.regs.write_u32(register.of(self.port), value);
    }

    fn set_control(&self, control: Control) {
        self.regs.write_u32(GHC, (Control::AE | control).bits());
    }

    /// Whether it answers.
    pub(super) fn check(&self) -> Result<(), ResetError> {
        self.look(GHC).map(drop)
    }

    /// Has the firmware let go of the controller, if it has it (section 10.6.3). One that does not answer has nothing to end.
    fn take_over(&self) -> Result<(), StartError> {
        if !Control::from_bits_retain(self.look(GHC)?).contains(Control::AE) {
            self.set_control(Control::empty());
        }
        let handoff = || Ok::<_, ResetError>(Handoff::from_bits_retain(self.look(BOHC)?));
        if self.look(CAP2)? & BOH == 0 || !handoff()?.contains(Handoff::BOS) {
            return Ok(());
        }
        let asked = handoff()?.difference(Handoff::OOC) | Handoff::OOS;
        self.regs.write_u32(BOHC, asked.bits());
        let went = || handoff().map(|now| !now.contains(Handoff::BOS));
        let wait = |limit| Deadline::new(self.clock, limit);
        let answered =
            wait(HANDOFF).until("the firmware", || Ok(went()? || handoff()?.contains(Handoff::BB)));
        match answered.and_then(|()| wait(FIRMWARE).until("the firmware", went)) {
            Err(ResetError::Stuck(late)) if handoff()?.contains(Handoff::BB) => {
                Err(StartError::Firmware(late))
            }
            // One that is gone shows by its reset.
            _ => Ok(()),
        }
    }

    /// Resets the whole controller, and sees it let go of all memory. No interrupt comes after that.
    pub(super) fn reset(&self) -> Result<DeviceStopped, ResetError> {
        self.look(GHC)?;
        // Not before it is known to be AHCI that is spoken.
        self.set_control(Control::empty());
        self.set_control(Control::HR);
        Deadline::new(self.clock, RESET)
            .until("the controller to come out of its reset", || {
                self.look(GHC).map(|control| control & Control::HR.bits() == 0)
            })?;
        self.set_control(Control::empty());
        for port in self.all_ports() {
            Deadline::new(self.clock, ENGINE).until("the ports to stop", || {
                let running = Command::CR | Command::FR;
                self.look(Px::Cmd.of(port)).map(|command| command & running.bits() == 0)
            })?;
        }
        Ok(DeviceStopped::seen())
    }

    fn all_ports(&self) -> impl Iterator<Item = u32> + use<R> {
        let ports = self.ports;
        (0..32).filter(move |port| ports & 1 << port != 0)
    }

    /// Readies the first port that has a disk, of a controller that was reset, with this memory.
    pub(super) fn enable(
        &mut self,
        memory: &Coherent<'_>,
        _: DeviceStopped,
    ) -> Result<(), AhciError> {
        for port in self.all_ports() {
            self.regs.write_u32(Px::Cmd.of(port), POWERED.bits());
        }
        let linked =
            |port: u32| -> Result<_, ResetError> { Ok(is_linked(self.look(Px::Ssts.of(port))?)) };
        let any = Deadline::new(self.clock, LINK).until("a link", || {
            self.all_ports().try_fold(false, |any, port| Ok(any || linked(port)?))
        });
        match any {
            Ok(()) => {}
            Err(ResetError::Stuck(_)) => return Err(AhciError::NoDisk),
            Err(gone) => return Err(gone.into()),
        }
        for port in self.all_ports() {
            self.port = port;
            if is_linked(self.px(Px::Ssts)?) && self.enable_port(memory)? {
                return Ok(());
            }
        }
        Err(AhciError::NoDisk)
    }

    /// Resets what is at the port, and starts the port if that is a disk.
    fn enable_port(&self, memory: &Coherent<'_>) -> Result<bool, AhciError> {
        self.set_px(Px::Sctl, SCTL_RESET);
        self.px(Px::Sctl)?;
        Deadline::new(self.clock, COMRESET).sit_out();
        self.set_px(Px::Sctl, SCTL_RUN);
        let linked = Deadline::new(self.clock, LINK)
            .until("the link to come up", || self.px(Px::Ssts).map(is_linked));
        if let Err(error) = linked {
            return if error == ResetError::Gone { Err(error.into()) } else { Ok(false) };
        }
        self.set_px(Px::Serr, u32::MAX);
        self.set_px(Px::Is, u32::MAX);
        for (register, offset) in [(Px::Clb, LIST), (Px::Fb, RECEIVED)] {
            let [a, b, c, d, e, f, g, h] = BusAddr(memory.bus().0 + offset as u64).0.to_le_bytes();
            self.set_px(register, u32::from_le_bytes([a, b, c, d]));
            self.regs.write_u32(register.of(self.port) + 4, u32::from_le_bytes([e, f, g, h]));
        }
        let receiving = POWERED | Command::FRE;
        self.set_px(Px::Cmd, receiving.bits());
        let ready = Deadline::new(self.clock, SPIN_UP)
            .until("the disk to become ready", || self.is_ready());
        let is_disk = match ready {
            Ok(()) => self.px(Px::Sig)? == SIG_ATA,
            Err(ResetError::Stuck(_)) => false,
            Err(gone) => return Err(gone.into()),
        };
        if is_disk {
            self.set_px(Px::Cmd, (receiving | Command::ST).bits());
        } else {
            self.stop()?;
        }
        Ok(is_disk)
    }

    fn is_ready(&self) -> Result<bool, ResetError> {
        let busy = TaskFile::BSY | TaskFile::DRQ;
        Ok(self.px(Px::Tfd)? & u32::from(busy.bits()) == 0)
    }

    /// Stops the port's engines, one after the other: what it was to do, then what it receives.
    pub(super) fn stop(&self) -> Result<(), ResetError> {
        for (left, shows) in [(Command::FRE, Command::CR), (Command::empty(), Command::FR)] {
            self.set_px(Px::Cmd, (POWERED | left).bits());
            Deadline::new(self.clock, ENGINE).until("the port to stop", || {
                self.px(Px::Cmd).map(|command| command & shows.bits() == 0)
            })?;
        }
        Ok(())
    }

    /// Lets the controller interrupt, or not.
    pub(super) fn set_mask(&self, unmasked: bool) {
        self.set_control(if unmasked { Control::IE } else { Control::empty() });
        self.regs.read_u32(GHC);
    }

    /// Has the port do what is in slot 0, and interrupt once that is done, or not.
    pub(super) fn issue(&self, interrupts: bool) {
        self.set_px(Px::Ie, 0);
        self.clear(u32::MAX);
        self.set_px(Px::Ie, if interrupts { Interrupt::WANTED.bits() } else { 0 });
        self.set_px(Px::Ci, 1);
    }

    /// Whether slot 0 is done with.
    pub(super) fn is_done(&self, opcode: Opcode) -> Result<bool, AhciError> {
        let left = self.px(Px::Ci)?;
        let [status, error, ..] = self.px(Px::Tfd)?.to_le_bytes();
        if status & TaskFile::ERR.bits() != 0 {
            return Err(AhciError::TaskFile { opcode, status, error });
        }
        let happened = self.px(Px::Is)?;
        if happened & Interrupt::ERRORS.bits() != 0 {
            return Err(AhciError::Bus(happened));
        }
        Ok(left & 1 == 0)
    }

    /// What the port interrupts for, which it is then told is known: the line is let go of when this returns.
    pub(super) fn take_interrupts(&self) -> Result<Interrupt, ResetError> {
        let happened = self.px(Px::Is)?;
        self.clear(happened);
        self.look(GHC)?;
        Ok(Interrupt::from_bits_retain(happened))
    }

    fn clear(&self, happened: u32) {
        self.set_px(Px::Is, happened);
        self.regs.write_u32(IS, 1 << self.port);
    }
}

/// [`Px::Cmd`] of a port that does nothing.
const POWERED: Command = Command::SUD.union(Command::POD);

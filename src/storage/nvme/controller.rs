//! The controller: what is written to which property, and in which order (NVM Express Base Specification 2.0, section
//! 3.5).
//!
//! Writes are posted (PCI Local Bus Specification 3.0, section 3.2.5): where the next step stands on one having arrived,
//! a property is read back.

use super::{
    error::NvmeError,
    queue::{QUEUES, Queue},
    regs::{
        ACQ, AQA, ASQ, CAP, CC, CSTS, Capabilities, Configuration, DOORBELLS, INTMC, INTMS, Status,
        VS,
    },
};
use crate::{
    arch::{time::Clock, wait::Deadline},
    device::{Registers, ResetError, StartError, registers::at_least},
    dma::{Coherent, DeviceStopped},
};
use core::{fmt, time::Duration};

/// What all properties read as where nobody answers.
const NOBODY: u32 = u32::MAX;

/// CC of a controller that is enabled.
const ENABLED: Configuration =
    Configuration::EN.union(Configuration::IOSQES_64).union(Configuration::IOCQES_16);

/// The properties and a clock to wait with.
pub(super) struct Controller<'m, R> {
    regs: R,
    pub(super) clock: &'m dyn Clock,
    pub(super) capabilities: Capabilities,
}

impl<R> fmt::Debug for Controller<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

impl<'m, R: Registers> Controller<'m, R> {
    /// The controller behind `regs`, if it is one that the driver can work with.
    pub(super) fn new(regs: R, clock: &'m dyn Clock) -> Result<Self, StartError> {
        at_least(&regs, DOORBELLS)?;
        let (low, high) = (regs.read_u32(CAP), regs.read_u32(CAP + 4));
        if low == NOBODY || high == NOBODY {
            return Err(ResetError::Gone.into());
        }
        let capabilities = Capabilities(u64::from(high) << 32 | u64::from(low));
        let fits = capabilities.has_nvm_commands()
            && capabilities.takes_small_pages()
            && capabilities.most_entries() > 1;
        if !fits {
            return Err(StartError::Unfit { what: "CAP", value: capabilities.0 });
        }
        // Each queue pair has two.
        at_least(&regs, DOORBELLS + 2 * QUEUES * capabilities.stride())?;
        Ok(Self { regs, clock, capabilities })
    }

    /// VS: major, minor, tertiary.
    pub(super) fn version(&self) -> [u16; 3] {
        let [tertiary, minor, major_low, major_high] = self.regs.read_u32(VS).to_le_bytes();
        [u16::from_le_bytes([major_low, major_high]), minor.into(), tertiary.into()]
    }

    /// CSTS, unless nobody answers.
    fn status(&self) -> Result<Status, ResetError> {
        match self.regs.read_u32(CSTS) {
            NOBODY => Err(ResetError::Gone),
            bits => Ok(Status::from_bits_retain(bits)),
        }
    }

    /// Whether the controller answers, and has no fatal error.
    pub(super) fn check(&self) -> Result<(), NvmeError> {
        let status = self.status()?;
        let fatal = status.contains(Status::CFS);
        if fatal { Err(NvmeError::Fatal(status.bits())) } else { Ok(()) }
    }

    /// Disables the controller, and sees it let go of all memory.
    pub(super) fn disable(&self) -> Result<DeviceStopped, ResetError> {
        let configuration = self.regs.read_u32(CC);
        if configuration == NOBODY {
            return Err(ResetError::Gone);
        }
        if Configuration::from_bits_retain(configuration).contains(Configuration::EN) {
            // One that is on its way to ready may not be disabled before it is there; one that never gets there may.
            let ready = |status: Status| status.intersects(Status::RDY | Status::CFS);
            match self.wait("the controller to become ready", ready) {
                Ok(()) | Err(ResetError::Stuck(_)) => {}
                Err(gone) => return Err(gone),
            }
        }
        self.regs.write_u32(CC, 0);
        self.wait("the controller to be disabled", |status| !status.contains(Status::RDY))?;
        Ok(DeviceStopped::seen())
    }

    /// Tells an enabled controller that it will not be needed any more, and sees it ready to lose power (section 3.6.1).
    /// No command may be under way.
    pub(super) fn shut_down(&self, limit: Duration) -> Result<(), ResetError> {
        self.regs.write_u32(CC, (ENABLED | Configuration::SHN_NORMAL).bits());
        let down = |status: Status| status.intersects(Status::SHST_COMPLETE | Status::CFS);
        self.wait_for(limit, "the controller to shut down", down)
    }

    /// Enables a controller that was disabled, with its admin queue in this memory.
    pub(super) fn enable(
        &self,
        admin: &Queue,
        memory: &Coherent<'_>,
        _: DeviceStopped,
    ) -> Result<(), NvmeError> {
        let last = u32::from(admin.entries - 1);
        self.regs.write_u32(AQA, last << 16 | last);
        for (property, at) in [(ASQ, admin.submissions(memory)), (ACQ, admin.completions(memory))] {
            let [a, b, c, d, e, f, g, h] = at.0.to_le_bytes();
            self.regs.write_u32(property, u32::from_le_bytes([a, b, c, d]));
            self.regs.write_u32(property + 4, u32::from_le_bytes([e, f, g, h]));
        }
        self.regs.write_u32(CC, ENABLED.bits());
        self.wait("the controller to become ready", |status| {
            status.intersects(Status::RDY | Status::CFS)
        })?;
        self.check()
    }

    /// Tells the controller of commands up to `tail`.
    pub(super) fn submitted(&self, queue: u16, tail: u16) {
        self.regs.write_u32(self.doorbell(2 * usize::from(queue)), tail.into());
    }

    /// Tells the controller that completions up to `head` were taken: what interrupted for them is over.
    pub(super) fn taken(&self, queue: u16, head: u16) {
        self.regs.write_u32(self.doorbell(2 * usize::from(queue) + 1), head.into());
    }

    const fn doorbell(&self, number: usize) -> usize {
        DOORBELLS + number * self.capabilities.stride()
    }

    /// Masks vector 0, the only one, of a line or of MSI. The line is let go of when this returns.
    pub(super) fn mask(&self) {
        self.regs.write_u32(INTMS, 1);
        self.regs.read_u32(CSTS);
    }

    /// Lets vector 0 interrupt.
    pub(super) fn unmask(&self) {
        self.regs.write_u32(INTMC, 1);
        self.regs.read_u32(CSTS);
    }

    /// Looks at CSTS until it is as wanted, for as long as CAP.TO says.
    fn wait(&self, what: &'static str, wanted: fn(Status) -> bool) -> Result<(), ResetError> {
        self.wait_for(self.capabilities.timeout(), what, wanted)
    }

    fn wait_for(
        &self,
        limit: Duration,
        what: &'static str,
        wanted: fn(Status) -> bool,
    ) -> Result<(), ResetError> {
        Deadline::new(self.clock, limit).until(what, || self.status().map(wanted))
    }
}

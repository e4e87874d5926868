//! The registers that all families have, and the order in which they are used (SDM chapter 14, 82574 and 82576 section 4).
//!
//! Writes are posted: a bridge may hold them until something is read through it (PCI Local Bus Specification 3.0,
//! section 3.2.5). Where the next step stands on a write having arrived, a register is read.

use super::regs::{
    AddressHigh, CTRL, Control, MDIC, MPC, MTA, MTA_ENTRIES, Mdi, PHY_CONTROL, PhyControl, RAH0,
    RAL0, RCTL, RxControl, STATUS, Status, TCTL, TxControl,
};
use crate::{
    addr::BusAddr,
    arch::{time::Clock, wait::Deadline},
    device::{Registers, ResetError},
    nic::rings::chip::DESCRIPTOR,
};
use core::{mem, time::Duration};

/// How long a reset may take, the loading of the chip's settings included.
pub(in crate::nic) const RESET_LIMIT: Duration = Duration::from_millis(100);
/// How long the chip is left alone after the reset was told: one that loads its settings may not answer, and would look
/// as if it were gone.
const RESET_QUIET: Duration = Duration::from_millis(1);

/// How long the PHY may take for an access; it needs 64 microseconds.
const PHY_LIMIT: Duration = Duration::from_millis(10);

/// The registers of a ring: its address, low and high half, its length, head and tail.
pub(in crate::nic) type RingRegisters = [usize; 5];

/// The registers and a clock to wait with.
pub(in crate::nic) struct Mac<'m, R> {
    pub(in crate::nic) regs: R,
    pub(in crate::nic) clock: &'m dyn Clock,
    /// What [`MPC`] kept when it was last read.
    missed: u32,
}

impl<'m, R: Registers> Mac<'m, R> {
    pub(in crate::nic) const fn new(regs: R, clock: &'m dyn Clock) -> Self {
        Self { regs, clock, missed: 0 }
    }

    /// The card's own address, once the chip has loaded it; `None` if it has none.
    pub(in crate::nic) fn address(&self) -> Result<Option<[u8; 6]>, ResetError> {
        let loaded = Deadline::new(self.clock, RESET_LIMIT)
            .until("the chip to load its address", || {
                Ok(self.ask(RAH0)? & AddressHigh::AV.bits() != 0)
            });
        match loaded {
            Ok(()) => {}
            Err(ResetError::Stuck(_)) => return Ok(None),
            Err(gone) => return Err(gone),
        }
        let [a, b, c, d] = self.regs.read_u32(RAL0).to_le_bytes();
        let [e, f, ..] = self.regs.read_u32(RAH0).to_le_bytes();
        self.ask(STATUS)?;
        Ok(Some([a, b, c, d, e, f]))
    }

    /// Clears what no reset does: which multicast frames are received.
    pub(in crate::nic) fn forget_multicast(&self) {
        (0..MTA_ENTRIES).for_each(|entry| self.regs.write_u32(MTA + 4 * entry, 0));
    }

    /// Reads a register that is never all ones while somebody answers.
    pub(in crate::nic) fn ask(&self, register: usize) -> Result<u32, ResetError> {
        match self.regs.read_u32(register) {
            u32::MAX => Err(ResetError::Gone),
            bits => Ok(bits),
        }
    }

    pub(in crate::nic) fn control(&self) -> Result<Control, ResetError> {
        self.ask(CTRL).map(Control::from_bits_retain)
    }

    /// Has a chip on PCI Express end its accesses to memory.
    fn stop_mastering(&self) -> Result<(), ResetError> {
        let control = (self.control()? - Control::RST) | Control::GIO_MASTER_DISABLE;
        self.regs.write_u32(CTRL, control.bits());
        Deadline::new(self.clock, RESET_LIMIT)
            .until("the chip to end its accesses to memory", || {
                Ok(!self.status()?.contains(Status::GIO_MASTER_ENABLE))
            })
    }

    /// Turns both directions off and resets the chip.
    pub(in crate::nic) fn reset(&self, express: bool) -> Result<(), ResetError> {
        // QEMU's 82540EM takes no reset: what is not turned off goes on.
        self.regs.write_u32(RCTL, 0);
        self.regs.write_u32(TCTL, 0);
        if express {
            self.stop_mastering()?;
        }
        self.regs.write_u32(CTRL, (self.control()? | Control::RST).bits());
        Deadline::new(self.clock, RESET_QUIET).sit_out();
        Deadline::new(self.clock, RESET_LIMIT).until("the chip to come out of its reset", || {
            let receives = self.ask(RCTL)? & RxControl::EN.bits() != 0;
            let sends = self.ask(TCTL)? & TxControl::EN.bits() != 0;
            Ok(!self.control()?.contains(Control::RST) && !receives && !sends)
        })
    }

    pub(in crate::nic) fn status(&self) -> Result<Status, ResetError> {
        self.ask(STATUS).map(Status::from_bits_retain)
    }

    /// One access to the PHY's control register: what it holds, or has just been given.
    pub(in crate::nic) fn phy_control(
        &self,
        operation: Mdi,
        data: PhyControl,
    ) -> Result<PhyControl, ResetError> {
        let command = (operation | Mdi::PHYADD_1).bits() | PHY_CONTROL << 16;
        self.regs.write_u32(MDIC, command | u32::from(data.bits()));
        let answer = Deadline::new(self.clock, PHY_LIMIT).find("the PHY to answer", || {
            let answer = self.ask(MDIC)?;
            let how = Mdi::from_bits_retain(answer);
            let done = how.contains(Mdi::R) && !how.contains(Mdi::E);
            Ok::<_, ResetError>(done.then_some(answer))
        })?;
        let [low, high, ..] = answer.to_le_bytes();
        Ok(PhyControl::from_bits_retain(u16::from_le_bytes([low, high])))
    }

    /// Has the link at the PHY's speed, or at that of its loop.
    pub(in crate::nic) fn set_link(&self, looped: bool) -> Result<(), ResetError> {
        let kept = self.control()?
            - (Control::GIO_MASTER_DISABLE | Control::LRST | Control::ILOS | Control::SPEED)
            - (Control::FRCSPD | Control::FRCDPLX | Control::VME | Control::PHY_RST | Control::RST);
        let forced = Control::FRCSPD | Control::FRCDPLX | Control::SPEED_1000 | Control::FD;
        let link = if looped { forced } else { Control::empty() };
        self.regs.write_u32(CTRL, (kept | Control::SLU | link).bits());
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of an address, and a page at most")]
    pub(in crate::nic) fn set_ring(
        &self,
        [low, high, len, head, tail]: RingRegisters,
        ring: BusAddr,
        descriptors: usize,
    ) {
        self.regs.write_u32(low, ring.0 as u32);
        self.regs.write_u32(high, (ring.0 >> 32) as u32);
        self.regs.write_u32(len, (descriptors * DESCRIPTOR) as u32);
        self.regs.write_u32(head, 0);
        self.regs.write_u32(tail, 0);
    }

    /// The register is cleared by reading it; QEMU's is not.
    pub(in crate::nic) fn take_missed(&mut self) -> u64 {
        let Ok(first @ 1..) = self.ask(MPC) else {
            return 0;
        };
        let again = self.ask(MPC).unwrap_or(0);
        let cleared = again < first;
        let before = mem::replace(&mut self.missed, if cleared { 0 } else { again });
        u64::from(match cleared {
            true => first.saturating_add(again),
            // A reset cleared it.
            false if again < before => again,
            false => again - before,
        })
    }
}

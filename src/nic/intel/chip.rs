//! A chip of any family: what all do alike, and what a family is asked for.

use super::{
    mac::{Mac, RingRegisters},
    regs::{Interrupt, RCTL, RxControl, STATUS, Status, TCTL, TxControl},
};
use crate::{
    addr::{BusAddr, DmaMask},
    arch::time::Clock,
    device::{Cause, Registers, ResetError},
    dma::{DeviceStopped, Limits},
    nic::rings::chip::{self, Descriptor, Places, Progress, RECEIVE, Received, TRANSMIT},
    pci::Delivery,
};
use core::fmt;

/// What a family has of its own. The value says which of its models it is.
pub(in crate::nic) trait Family: Copy + fmt::Debug {
    /// The receive ring's registers.
    const RECEIVE_RING: RingRegisters;
    /// The transmit ring's registers.
    const TRANSMIT_RING: RingRegisters;

    /// The chip.
    fn name(self) -> &'static str;

    /// Interrupt cause read, interrupt mask set, interrupt mask clear.
    fn causes(self) -> [usize; 3];

    /// See [`crate::device::Driver::deliveries`].
    fn deliveries(self) -> &'static [Delivery];

    /// Whether the chip is on PCI Express: it says when its accesses to memory have ended, and reading its causes does
    /// not always clear them.
    fn is_express(self) -> bool;

    /// What stands for this cause when interrupts come that way.
    fn interrupt(self, cause: Cause, how: Delivery) -> Interrupt;

    /// Sets up what is neither ring nor direction, after a reset: no offload, no delay, the loop closed or open. Both
    /// directions are off.
    fn set_up(self, mac: &Mac<'_, impl Registers>, loopback: bool) -> Result<(), ResetError>;

    /// Opens both queues, whose rings are in place; their directions are on after this.
    fn open_queues(self, mac: &Mac<'_, impl Registers>) -> Result<(), ResetError>;

    /// What has to be set for the two directions, beyond what each chip has set.
    fn directions(self, loopback: bool) -> (RxControl, TxControl);

    /// See [`chip::Chip::receive_descriptor`].
    fn receive_descriptor(bus: BusAddr) -> Descriptor;

    /// See [`chip::Chip::received`].
    fn received(word: u64) -> Option<Received>;

    /// See [`chip::Chip::transmit_descriptor`].
    fn transmit_descriptor(bus: BusAddr, len: u16) -> Descriptor;

    /// See [`chip::Chip::progress`].
    fn progress(word: u64) -> Progress;
}

/// A chip of a family.
pub(in crate::nic) struct Chip<'m, F, R> {
    family: F,
    mac: Mac<'m, R>,
    delivery: Delivery,
}

impl<F: fmt::Debug, R> fmt::Debug for Chip<'_, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chip").field(&self.family).finish()
    }
}

impl<'m, F: Family, R: Registers> Chip<'m, F, R> {
    pub(super) const fn new(family: F, regs: R, clock: &'m dyn Clock) -> Self {
        Self { family, mac: Mac::new(regs, clock), delivery: Delivery::Intx }
    }

    /// The card's own address, once the chip has loaded it; `None` if it has none. What no reset clears, which is the
    /// list of multicast addresses, is cleared.
    pub(super) fn address(&self) -> Result<Option<[u8; 6]>, ResetError> {
        let address = self.mac.address()?;
        self.mac.forget_multicast();
        Ok(address)
    }
}

impl<F: Family, R: Registers> chip::Chip for Chip<'_, F, R> {
    fn name(&self) -> &'static str {
        self.family.name()
    }

    fn deliveries(&self) -> &'static [Delivery] {
        self.family.deliveries()
    }

    fn deliver(&mut self, how: Delivery) -> Result<(), ResetError> {
        self.delivery = how;
        Ok(())
    }

    /// Any address: descriptors have 64 bits for it, and buffers start anywhere (SDM 3.2.3 and 3.3.3, 82576 7.1.5 and
    /// 7.2.2).
    fn limits(&self) -> Limits {
        Limits::new(DmaMask::BITS_64)
    }

    fn reset(&self) -> Result<DeviceStopped, ResetError> {
        let [_, _, imc] = self.family.causes();
        self.mac.regs.write_u32(imc, u32::MAX);
        self.mac.reset(self.family.is_express())?;
        self.mac.regs.write_u32(imc, u32::MAX);
        self.acknowledge();
        self.check_there()?;
        Ok(DeviceStopped::seen())
    }

    fn start(&self, _: DeviceStopped, rings: Places, loopback: bool) -> Result<(), ResetError> {
        let (family, mac) = (self.family, &self.mac);
        family.set_up(mac, loopback)?;
        mac.set_ring(F::RECEIVE_RING, rings.receive, RECEIVE);
        mac.set_ring(F::TRANSMIT_RING, rings.transmit, TRANSMIT);
        family.open_queues(mac)?;
        let (receives, sends) = family.directions(loopback);
        let sends = sends | TxControl::EN | TxControl::PSP | TxControl::CT_15 | TxControl::COLD_64;
        let all = if loopback { RxControl::UPE | RxControl::MPE } else { RxControl::empty() };
        let receives = receives | all | RxControl::EN | RxControl::BAM | RxControl::SECRC;
        mac.regs.write_u32(TCTL, sends.bits());
        mac.regs.write_u32(RCTL, receives.bits());
        self.check_there()
    }

    fn check_there(&self) -> Result<(), ResetError> {
        self.mac.status().map(drop)
    }

    fn link_up(&self) -> bool {
        self.mac.status().is_ok_and(|status| status.contains(Status::LU))
    }

    fn set_receive_tail(&self, tail: u32) {
        let [.., register] = F::RECEIVE_RING;
        self.mac.regs.write_u32(register, tail);
    }

    fn set_transmit_tail(&self, tail: u32) {
        let [.., register] = F::TRANSMIT_RING;
        self.mac.regs.write_u32(register, tail);
    }

    fn take_missed(&mut self) -> u64 {
        self.mac.take_missed()
    }

    fn acknowledge(&self) -> Cause {
        let ([icr, ..], regs) = (self.family.causes(), &self.mac.regs);
        let bits = regs.read_u32(icr);
        if bits == u32::MAX {
            return Cause::GONE;
        }
        if bits != 0 && self.family.is_express() {
            // While causes are enabled reading clears only what has interrupted (82574 10.2.4.1); writing clears always.
            regs.write_u32(icr, bits);
            // The line is let go of before Xen is told that it is: else it would ring once more for nothing.
            regs.read_u32(STATUS);
        }
        // OTHER only says that some other cause is set, so it is masked out.
        let bits = Interrupt::from_bits_retain(bits) - Interrupt::OTHER;
        let means = |cause: &Cause| bits.intersects(self.family.interrupt(*cause, self.delivery));
        CAUSES.into_iter().filter(means).collect()
    }

    fn enable_interrupts(&self, causes: Cause) {
        let ([_, ims, imc], regs) = (self.family.causes(), &self.mac.regs);
        let enabled = causes.iter().map(|cause| self.family.interrupt(cause, self.delivery));
        let enabled = enabled.collect::<Interrupt>().bits();
        regs.write_u32(imc, !enabled);
        regs.write_u32(ims, enabled);
        // Whoever masks a cause counts on its silence from here on.
        regs.read_u32(STATUS);
    }

    fn receive_descriptor(&self, bus: BusAddr) -> Descriptor {
        F::receive_descriptor(bus)
    }

    fn received(&self, word: u64) -> Option<Received> {
        F::received(word)
    }

    fn transmit_descriptor(&self, bus: BusAddr, len: u16) -> Descriptor {
        F::transmit_descriptor(bus, len)
    }

    fn progress(&self, word: u64) -> Progress {
        F::progress(word)
    }
}

/// All that these chips interrupt for.
const CAUSES: [Cause; 5] =
    [Cause::RECEIVED, Cause::SENT, Cause::ERROR, Cause::OVERFLOW, Cause::LINK];

//! The chip: what is written to which register, and in which order (SDM chapter 14, 82574 section 4.6).
//!
//! Writes are posted: a bridge may hold them until something is read through it (PCI Local Bus Specification 3.0,
//! section 3.2.5). Where the next step stands on a write having arrived, a register is read.

use super::{
    super::rings::chip::{self, Descriptor, Places, Progress, Received},
    Model, descriptor,
    regs::{
        AddressHigh, CTRL, Control, EIAC, EITR0, ICR, IMC, IMS, ITR, IVAR, Interrupt, MDIC, MPC,
        MRQC, MTA, MTA_ENTRIES, Mdi, PHY_CONTROL, PhyControl, RAH0, RAL0, RCTL, RDBAH, RDBAL, RDH,
        RDLEN, RDT, RDTR, RFCTL, RXCSUM, RxControl, STATUS, Status, TCTL, TDBAH, TDBAL, TDH, TDLEN,
        TDT, TIPG, TIPG_COPPER, TXDCTL, TxControl, TxDescriptors, Vectors,
    },
};
use crate::{
    addr::{BusAddr, DmaMask},
    arch::time::{Clock, Instant, TimedOut},
    device::{Cause, Registers, ResetError},
    dma::{DeviceStopped, Limits},
    pci::Delivery,
};
use core::{fmt, mem, time::Duration};

/// How long a reset may take, the loading of the chip's settings included.
const RESET_LIMIT: Duration = Duration::from_millis(100);
/// How long the chip is left alone after the reset was told; it needs one microsecond.
const RESET_QUIET: Duration = Duration::from_micros(10);
/// How long the PHY may take for an access; it needs 64 microseconds.
const PHY_LIMIT: Duration = Duration::from_millis(10);

/// The registers and a clock to wait with.
pub(super) struct Chip<'m, R> {
    model: Model,
    regs: R,
    clock: &'m dyn Clock,
    delivery: Delivery,
    /// What [`MPC`] kept when it was last read.
    missed: u32,
}

impl<R> fmt::Debug for Chip<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chip").field(&self.model).finish()
    }
}

impl<'m, R: Registers> Chip<'m, R> {
    pub(super) const fn new(model: Model, regs: R, clock: &'m dyn Clock) -> Self {
        Self { model, regs, clock, delivery: Delivery::Intx, missed: 0 }
    }

    /// The card's own address, once the chip has loaded it; `None` if it has none.
    pub(super) fn mac(&self) -> Result<Option<[u8; 6]>, ResetError> {
        let loaded = self.wait("the chip to load its address", RESET_LIMIT, || {
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
    pub(super) fn forget_multicast(&self) {
        (0..MTA_ENTRIES).for_each(|entry| self.regs.write_u32(MTA + 4 * entry, 0));
    }

    /// Reads a register that is never all ones while somebody answers.
    fn ask(&self, register: usize) -> Result<u32, ResetError> {
        match self.regs.read_u32(register) {
            u32::MAX => Err(ResetError::Gone),
            bits => Ok(bits),
        }
    }

    fn control(&self) -> Result<Control, ResetError> {
        self.ask(CTRL).map(Control::from_bits_retain)
    }

    /// Looks until `done`, or until `limit` is over.
    fn wait(
        &self,
        what: &'static str,
        limit: Duration,
        mut done: impl FnMut() -> Result<bool, ResetError>,
    ) -> Result<(), ResetError> {
        let start = self.clock.now();
        while !done()? {
            let after = self.clock.now().since(start);
            if after >= limit {
                return Err(TimedOut { what, after }.into());
            }
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Has the chip end its accesses to memory, where it can say when that is so.
    fn stop_mastering(&self) -> Result<(), ResetError> {
        if self.model == Model::I82540 {
            return Ok(());
        }
        let control = (self.control()? - Control::RST) | Control::GIO_MASTER_DISABLE;
        self.regs.write_u32(CTRL, control.bits());
        self.wait("the chip to end its accesses to memory", RESET_LIMIT, || {
            Ok(!self.status()?.contains(Status::GIO_MASTER_ENABLE))
        })
    }

    fn status(&self) -> Result<Status, ResetError> {
        self.ask(STATUS).map(Status::from_bits_retain)
    }

    /// One access to the PHY.
    fn phy(&self, operation: Mdi, register: u32, data: u16) -> Result<u16, ResetError> {
        let command = (operation | Mdi::PHYADD_1).bits() | register << 16 | u32::from(data);
        self.regs.write_u32(MDIC, command);
        let mut answer = 0;
        self.wait("the PHY to answer", PHY_LIMIT, || {
            answer = self.ask(MDIC)?;
            let answer = Mdi::from_bits_retain(answer);
            Ok(answer.contains(Mdi::R) && !answer.contains(Mdi::E))
        })?;
        let [low, high, ..] = answer.to_le_bytes();
        Ok(u16::from_le_bytes([low, high]))
    }

    /// Closes or opens the loop in the PHY. One that is open is left alone: its link would be negotiated anew.
    fn set_loop(&self, closed: bool) -> Result<(), ResetError> {
        let gigabit = PhyControl::SPEED_1000 | PhyControl::FULL_DUPLEX;
        let wanted = gigabit | if closed { PhyControl::LOOPBACK } else { PhyControl::AUTONEG };
        let is = PhyControl::from_bits_retain(self.phy(Mdi::OP_READ, PHY_CONTROL, 0)?);
        if closed || is.contains(PhyControl::LOOPBACK) {
            self.phy(Mdi::OP_WRITE, PHY_CONTROL, wanted.bits())?;
        }
        Ok(())
    }

    /// Has the link at the PHY's speed, or at that of its loop.
    fn set_link(&self, looped: bool) -> Result<(), ResetError> {
        let kept = self.control()?
            - (Control::GIO_MASTER_DISABLE | Control::LRST | Control::ILOS | Control::SPEED)
            - (Control::FRCSPD | Control::FRCDPLX | Control::VME | Control::PHY_RST | Control::RST);
        let forced = Control::FRCSPD | Control::FRCDPLX | Control::SPEED_1000 | Control::FD;
        let link = if looped { forced } else { Control::empty() };
        self.regs.write_u32(CTRL, (kept | Control::SLU | link).bits());
        Ok(())
    }

    /// Legacy descriptors in one queue, no offload, no delays: also where an earlier driver left it otherwise.
    fn set_plain(&self) {
        for register in [RXCSUM, RDTR, ITR] {
            self.regs.write_u32(register, 0);
        }
        if self.model == Model::I82574 {
            self.regs.write_u32(RFCTL, 0);
            self.regs.write_u32(MRQC, 0);
            let descriptors = TxDescriptors::RESERVED_SET | TxDescriptors::GRAN;
            self.regs.write_u32(TXDCTL, descriptors.bits());
            // A message says that there is something to acknowledge, and clears nothing.
            let vectors = Vectors::RXQ0_VALID | Vectors::TXQ0_VALID | Vectors::OTHER_VALID;
            self.regs.write_u32(IVAR, vectors.bits());
            self.regs.write_u32(EIAC, 0);
            self.regs.write_u32(EITR0, 0);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of an address, and a page at most")]
    fn set_ring(
        &self,
        [low, high, len, head, tail]: [usize; 5],
        ring: BusAddr,
        descriptors: usize,
    ) {
        self.regs.write_u32(low, ring.0 as u32);
        self.regs.write_u32(high, (ring.0 >> 32) as u32);
        self.regs.write_u32(len, (descriptors * chip::DESCRIPTOR) as u32);
        self.regs.write_u32(head, 0);
        self.regs.write_u32(tail, 0);
    }
}

impl<R: Registers> chip::Chip for Chip<'_, R> {
    fn name(&self) -> &'static str {
        self.model.name()
    }

    /// The 82540EM is a PCI card without messages.
    fn deliveries(&self) -> &'static [Delivery] {
        match self.model {
            Model::I82540 => &[Delivery::Intx],
            Model::I82574 => &Delivery::LADDER,
        }
    }

    /// Any address: legacy descriptors have 64 bits for it, and buffers start anywhere (SDM 3.2.3 and 3.3.3).
    fn limits(&self) -> Limits {
        Limits::new(DmaMask::BITS_64)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn reset(&self) -> Result<DeviceStopped, ResetError> {
        self.regs.write_u32(IMC, u32::MAX);
        // QEMU's 82540EM takes no reset: what is not turned off goes on.
        self.regs.write_u32(RCTL, 0);
        self.regs.write_u32(TCTL, 0);
        self.stop_mastering()?;
        self.regs.write_u32(CTRL, (self.control()? | Control::RST).bits());
        let told = self.clock.now();
        while self.clock.now().since(told) < RESET_QUIET {
            core::hint::spin_loop();
        }
        self.wait("the chip to come out of its reset", RESET_LIMIT, || {
            let receives = self.ask(RCTL)? & RxControl::EN.bits() != 0;
            let sends = self.ask(TCTL)? & TxControl::EN.bits() != 0;
            Ok(!self.control()?.contains(Control::RST) && !receives && !sends)
        })?;
        self.regs.write_u32(IMC, u32::MAX);
        self.acknowledge();
        self.check_there()?;
        Ok(DeviceStopped::seen())
    }

    fn start(&self, _: DeviceStopped, rings: Places, loopback: bool) -> Result<(), ResetError> {
        self.set_loop(loopback)?;
        self.set_link(loopback)?;
        self.set_plain();
        self.set_ring([RDBAL, RDBAH, RDLEN, RDH, RDT], rings.receive, chip::RECEIVE);
        self.set_ring([TDBAL, TDBAH, TDLEN, TDH, TDT], rings.transmit, chip::TRANSMIT);
        self.regs.write_u32(TIPG, TIPG_COPPER);
        self.regs.write_u32(TCTL, tx_control(self.model).bits());
        self.regs.write_u32(RCTL, rx_control(loopback).bits());
        self.check_there()
    }

    fn check_there(&self) -> Result<(), ResetError> {
        self.status().map(drop)
    }

    fn link_up(&self) -> bool {
        self.status().is_ok_and(|status| status.contains(Status::LU))
    }

    fn set_receive_tail(&self, tail: u32) {
        self.regs.write_u32(RDT, tail);
    }

    fn set_transmit_tail(&self, tail: u32) {
        self.regs.write_u32(TDT, tail);
    }

    /// The register is cleared by reading it; QEMU's is not.
    fn take_missed(&mut self) -> u64 {
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

    fn deliver(&mut self, how: Delivery) {
        self.delivery = how;
    }

    fn acknowledge(&self) -> Cause {
        let bits = self.regs.read_u32(ICR);
        if bits == u32::MAX {
            return Cause::GONE;
        }
        if bits != 0 && self.model == Model::I82574 {
            // While causes are enabled reading clears only what has interrupted (82574 10.2.4.1); writing clears always.
            self.regs.write_u32(ICR, bits);
            // The line is let go of before Xen is told that it is: else it would ring once more for nothing.
            self.regs.read_u32(STATUS);
        }
        cause(Interrupt::from_bits_retain(bits))
    }

    fn enable_interrupts(&self, causes: Cause) {
        let enabled = interrupts(causes, self.delivery).bits();
        self.regs.write_u32(IMC, !enabled);
        self.regs.write_u32(IMS, enabled);
        // Whoever masks a cause counts on its silence from here on.
        self.regs.read_u32(STATUS);
    }

    fn receive_descriptor(&self, bus: BusAddr) -> Descriptor {
        descriptor::to_receive(bus)
    }

    fn received(&self, word: u64) -> Option<Received> {
        descriptor::received(word)
    }

    fn transmit_descriptor(&self, bus: BusAddr, len: u16) -> Descriptor {
        descriptor::to_send(bus, len)
    }

    fn progress(&self, word: u64) -> Progress {
        descriptor::progress(word)
    }
}

fn tx_control(model: Model) -> TxControl {
    let control = TxControl::EN | TxControl::PSP | TxControl::CT_15 | TxControl::COLD_64;
    if model == Model::I82574 { control | TxControl::MULR } else { control }
}

fn rx_control(loopback: bool) -> RxControl {
    let control = RxControl::EN | RxControl::BAM | RxControl::SECRC;
    if loopback { control | RxControl::UPE | RxControl::MPE } else { control }
}

const CAUSES: [(Interrupt, Cause); 5] = [
    (Interrupt::RXT0.union(Interrupt::RXQ0), Cause::RECEIVED),
    (Interrupt::TXDW.union(Interrupt::TXQ0), Cause::SENT),
    (Interrupt::RXSEQ, Cause::ERROR),
    (Interrupt::RXO, Cause::OVERFLOW),
    (Interrupt::LSC, Cause::LINK),
];

fn cause(bits: Interrupt) -> Cause {
    let set = CAUSES.iter().filter(|(interrupt, _)| bits.intersects(*interrupt));
    set.fold(Cause::empty(), |all, &(_, cause)| all | cause)
}

/// What to enable for these causes: with messages from a table each queue has a cause of its own, and all others
/// share one on top of theirs (82574 7.4.3).
fn interrupts(causes: Cause, how: Delivery) -> Interrupt {
    let by_table = Interrupt::RXQ0 | Interrupt::TXQ0;
    let by_one = Interrupt::RXT0 | Interrupt::TXDW;
    let set = CAUSES.iter().filter(|&&(_, cause)| causes.contains(cause));
    let all = set.fold(Interrupt::empty(), |all, &(interrupt, _)| all | interrupt);
    let others = all - by_table - by_one;
    match how {
        Delivery::Intx | Delivery::Msi => all - by_table,
        Delivery::Msix if others.is_empty() => all - by_one,
        Delivery::Msix => (all - by_one) | Interrupt::OTHER,
    }
}

//! The family's own: which register when, beyond what all Intel chips have (SDM chapter 14, 82574 section 4.6).

use super::{
    super::{
        intel::{
            chip::Family,
            mac::{Mac, RingRegisters},
            regs::{Interrupt, MRQC, Mdi, PhyControl, RFCTL, RXCSUM, RxControl, TxControl},
        },
        rings::chip::{Descriptor, Progress, Received},
    },
    Model, descriptor,
    regs::{
        EIAC, EITR0, ICR, IMC, IMS, ITR, IVAR, RDBAH, RDBAL, RDH, RDLEN, RDT, RDTR, TDBAH, TDBAL,
        TDH, TDLEN, TDT, TIPG, TIPG_COPPER, TXDCTL, TxDescriptors, Vectors,
    },
};
use crate::{
    addr::BusAddr,
    device::{Cause, Registers, ResetError},
    pci::Delivery,
};

impl Family for Model {
    const RECEIVE_RING: RingRegisters = [RDBAL, RDBAH, RDLEN, RDH, RDT];
    const TRANSMIT_RING: RingRegisters = [TDBAL, TDBAH, TDLEN, TDH, TDT];

    fn name(self) -> &'static str {
        match self {
            Self::I82540 => "e1000",
            Self::I82574 => "e1000e",
        }
    }

    fn causes(self) -> [usize; 3] {
        [ICR, IMS, IMC]
    }

    /// The 82540EM is a PCI card without messages.
    fn deliveries(self) -> &'static [Delivery] {
        match self {
            Self::I82540 => &[Delivery::Intx],
            Self::I82574 => &Delivery::LADDER,
        }
    }

    fn is_express(self) -> bool {
        self == Self::I82574
    }

    /// With messages from a table each queue has a cause of its own, and all others share one on top of theirs (82574
    /// 7.4.3).
    fn interrupt(self, cause: Cause, how: Delivery) -> Interrupt {
        let tabled = how == Delivery::Msix;
        let other = if tabled { Interrupt::OTHER } else { Interrupt::empty() };
        match cause {
            Cause::RECEIVED if tabled => Interrupt::RXQ0,
            Cause::RECEIVED => Interrupt::RXT0,
            Cause::SENT if tabled => Interrupt::TXQ0,
            Cause::SENT => Interrupt::TXDW,
            Cause::ERROR => Interrupt::RXSEQ | other,
            Cause::OVERFLOW => Interrupt::RXO | other,
            Cause::LINK => Interrupt::LSC | other,
            _ => Interrupt::empty(),
        }
    }

    /// Legacy descriptors in one queue, no offload, no delays: also where an earlier driver left it otherwise.
    fn set_up(self, mac: &Mac<'_, impl Registers>, loopback: bool) -> Result<(), ResetError> {
        set_loop(mac, loopback)?;
        mac.set_link(loopback)?;
        for register in [RXCSUM, RDTR, ITR] {
            mac.regs.write_u32(register, 0);
        }
        if self == Self::I82574 {
            let descriptors = TxDescriptors::RESERVED_SET | TxDescriptors::GRAN;
            mac.regs.write_u32(TXDCTL, descriptors.bits());
            let vectors = Vectors::RXQ0_VALID | Vectors::TXQ0_VALID | Vectors::OTHER_VALID;
            mac.regs.write_u32(IVAR, vectors.bits());
            // A message says that there is something to acknowledge, and clears nothing.
            for register in [RFCTL, MRQC, EIAC, EITR0] {
                mac.regs.write_u32(register, 0);
            }
        }
        mac.regs.write_u32(TIPG, TIPG_COPPER);
        Ok(())
    }

    /// There is one each way, which is open with its direction.
    fn open_queues(self, _: &Mac<'_, impl Registers>) -> Result<(), ResetError> {
        Ok(())
    }

    fn directions(self, _: bool) -> (RxControl, TxControl) {
        let sends = if self == Self::I82574 { TxControl::MULR } else { TxControl::empty() };
        (RxControl::empty(), sends)
    }

    fn receive_descriptor(bus: BusAddr) -> Descriptor {
        descriptor::to_receive(bus)
    }

    fn received(word: u64) -> Option<Received> {
        descriptor::received(word)
    }

    fn transmit_descriptor(bus: BusAddr, len: u16) -> Descriptor {
        descriptor::to_send(bus, len)
    }

    fn progress(word: u64) -> Progress {
        descriptor::progress(word)
    }
}

/// Closes or opens the loop in the PHY. One that is open is left alone: its link would be negotiated anew.
fn set_loop(mac: &Mac<'_, impl Registers>, closed: bool) -> Result<(), ResetError> {
    let gigabit = PhyControl::SPEED_1000 | PhyControl::FULL_DUPLEX;
    let wanted = gigabit | if closed { PhyControl::LOOPBACK } else { PhyControl::AUTONEG };
    let is = mac.phy_control(Mdi::OP_READ, PhyControl::empty())?;
    if closed || is.contains(PhyControl::LOOPBACK) {
        mac.phy_control(Mdi::OP_WRITE, wanted)?;
    }
    Ok(())
}

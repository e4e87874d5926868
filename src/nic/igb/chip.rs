//! The family's own: which register when, beyond what all Intel chips have (82576 sections 3.5.6.2, 4.5.9 and 4.5.10).

use super::{
    super::{
        intel::{
            chip::Family,
            mac::{Mac, RESET_LIMIT, RingRegisters},
            regs::{Interrupt, MRQC, Mdi, PhyControl, RFCTL, RXCSUM, RxControl, Status, TxControl},
        },
        rings::chip::{Descriptor, Progress, Received},
    },
    Model, descriptor,
    regs::{
        Buffers, EEC, EITR0, Eeprom, GPIE, IAM, ICR, ICR_ALIAS, IMC, IMC_ALIAS, IMS, IMS_ALIAS,
        Queue, RDBAH, RDBAL, RDH, RDLEN, RDT, RXDCTL, SRRCTL, TDBAH, TDBAL, TDH, TDLEN, TDT,
        TDWBAL, TXDCTL, VT_CTL,
    },
};
use crate::{
    addr::BusAddr,
    arch::wait::Deadline,
    device::{Cause, Registers, ResetError},
    pci::Delivery,
};
use core::time::Duration;

/// How long a chip may load its settings; one without a memory for them never says that it has.
const LOAD_LIMIT: Duration = Duration::from_millis(10);

impl Family for Model {
    const RECEIVE_RING: RingRegisters = [RDBAL, RDBAH, RDLEN, RDH, RDT];
    const TRANSMIT_RING: RingRegisters = [TDBAL, TDBAH, TDLEN, TDH, TDT];

    fn name(self) -> &'static str {
        match self {
            Self::Igb => "igb",
            Self::Igc => "igc",
        }
    }

    fn causes(self) -> [usize; 3] {
        match self {
            Self::Igb => [ICR_ALIAS, IMS_ALIAS, IMC_ALIAS],
            Self::Igc => [ICR, IMS, IMC],
        }
    }

    fn deliveries(self) -> &'static [Delivery] {
        &Delivery::LADDER
    }

    fn is_express(self) -> bool {
        true
    }

    fn interrupt(self, cause: Cause, _: Delivery) -> Interrupt {
        match cause {
            Cause::RECEIVED => Interrupt::RXT0,
            Cause::SENT => Interrupt::TXDW,
            Cause::OVERFLOW => Interrupt::RXO,
            Cause::LINK => Interrupt::LSC,
            _ => Interrupt::empty(),
        }
    }

    fn set_up(self, mac: &Mac<'_, impl Registers>, loopback: bool) -> Result<(), ResetError> {
        let loaded = Deadline::new(mac.clock, LOAD_LIMIT)
            .until("the chip to load its settings", || {
                Ok(mac.ask(EEC)? & Eeprom::AUTO_RD.bits() != 0)
            });
        if loaded == Err(ResetError::Gone) {
            return loaded;
        }
        mac.set_link(loopback)?;
        if !mac.status()?.contains(Status::LU) {
            // A link that a reset took comes back, or also a loop stays closed to QEMU's receiver.
            mac.phy_control(Mdi::OP_WRITE, PhyControl::AUTONEG | PhyControl::RESTART)?;
        }
        // One queue each way, closed; one vector; no offload, no delay: also where an earlier driver left it otherwise.
        for register in [RXDCTL, TXDCTL, TDWBAL, GPIE, IAM, EITR0, VT_CTL, MRQC, RXCSUM, RFCTL] {
            mac.regs.write_u32(register, 0);
        }
        let buffers = Buffers::DESCTYPE_ADVANCED | Buffers::BSIZEPACKET_2K;
        mac.regs.write_u32(SRRCTL, buffers.bits());
        Ok(())
    }

    /// A tail must not be told before its queue says that it is open.
    fn open_queues(self, mac: &Mac<'_, impl Registers>) -> Result<(), ResetError> {
        let fetch = Queue::ENABLE | Queue::PTHRESH_8 | Queue::HTHRESH_1;
        mac.regs.write_u32(RXDCTL, (fetch | Queue::WTHRESH_1).bits());
        mac.regs.write_u32(TXDCTL, fetch.bits());
        Deadline::new(mac.clock, RESET_LIMIT).until("the chip to open its queues", || {
            let both = mac.ask(RXDCTL)? & mac.ask(TXDCTL)?;
            Ok(both & Queue::ENABLE.bits() != 0)
        })
    }

    fn directions(self, loopback: bool) -> (RxControl, TxControl) {
        let receives = if loopback { RxControl::LBM_MAC } else { RxControl::empty() };
        (receives, TxControl::empty())
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

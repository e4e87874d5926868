//! The chip: what is written to which register, and in which order.
//!
//! What a C+ chip has in common with the RTL8139 is [`super::super::rtl8139`]'s: reset, interrupts, address, the count of frames lost.

use super::{
    super::{
        rings::chip::{self, Descriptor, Places, Progress, Received},
        rtl8139::{
            chip::{Chip as Base, Width},
            regs::{CR, Command, MPC, RCR, RxConfig, TCR, TxConfig},
        },
    },
    Model, descriptor,
    regs::{
        self, CPCR, CPlusCommand, CR_9346, LINK_STS, LOCKED, MISC, MTPS, MTPS_MOST, NPQ,
        PHY_STATUS, RDSAR, RMS, RXDV_GATED, TNPDS, TPPOLL_8125, TPPOLL_8139, TPPOLL_8168, UNLOCKED,
    },
};
use crate::{
    addr::{BusAddr, DmaMask},
    arch::time::Clock,
    device::{Cause, Registers, ResetError},
    dma::{DeviceStopped, Limits, PowerOfTwo},
    pci::Delivery,
};
use core::fmt;

/// The registers, and which of them there are.
pub(super) struct Chip<'m, R> {
    model: Model,
    base: Base<'m, R>,
}

impl<R> fmt::Debug for Chip<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chip").field(&self.model).finish()
    }
}

impl<'m, R: Registers> Chip<'m, R> {
    pub(super) const fn new(model: Model, regs: R, clock: &'m dyn Clock) -> Self {
        let width = match model {
            Model::Rtl8139 | Model::Rtl8168 => Width::Narrow,
            Model::Rtl8125 => Width::Wide,
        };
        Self { model, base: Base::new(regs, clock, width) }
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        self.base.mac()
    }

    /// Which chip it says it is.
    pub(super) fn version(&self) -> u32 {
        self.regs().read_u32(TCR) & regs::HWVERID
    }

    const fn regs(&self) -> &R {
        self.base.regs()
    }

    fn is_gigabit(&self) -> bool {
        self.model != Model::Rtl8139
    }

    /// The high half first: with the low one the chip takes the address.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of an address")]
    fn set_ring(&self, register: usize, BusAddr(ring): BusAddr) {
        self.regs().write_u32(register + 4, (ring >> 32) as u32);
        self.regs().write_u32(register, ring as u32);
    }

    /// No offload, and by descriptors: on an RTL8139C+ this comes before all else, since the other registers mean
    /// something else without it.
    fn set_mode(&self) {
        let offloads = CPlusCommand::RX_CHK_SUM | CPlusCommand::RX_VLAN;
        let command = if self.is_gigabit() {
            CPlusCommand::from_bits_retain(self.regs().read_u16(CPCR)) - offloads
        } else {
            CPlusCommand::CPTX | CPlusCommand::CPRX
        };
        self.regs().write_u16(CPCR, command.bits());
    }

    /// What a frame may have, and that the receiver hears any.
    fn set_frames(&self) {
        self.regs().write_u16(RMS, regs::RMS_MOST);
        self.regs().write_u8(MTPS, MTPS_MOST);
        let misc = self.regs().read_u32(MISC);
        self.regs().write_u32(MISC, misc & !RXDV_GATED);
    }

    fn rx_config(&self, loopback: bool) -> u32 {
        let accepted = RxConfig::APM | RxConfig::AB | RxConfig::MXDMA_UNLIMITED;
        let accepted = accepted | if loopback { RxConfig::AAP } else { RxConfig::empty() };
        if self.is_gigabit() {
            // Above are thresholds that differ from one revision to the next: as the chip has them.
            self.regs().read_u32(RCR) & regs::RX_THRESHOLDS | accepted.bits()
        } else {
            (accepted | RxConfig::RXFTH_NONE).bits()
        }
    }

    fn tx_config(&self, loopback: bool) -> u32 {
        let config = TxConfig::MXDMA_1024 | TxConfig::IFG_STANDARD;
        let looped = match (loopback, self.is_gigabit()) {
            (false, _) => TxConfig::empty(),
            (true, false) => TxConfig::LBK,
            (true, true) => TxConfig::LBK0,
        };
        (config | looped).bits()
    }
}

impl<R: Registers> chip::Chip for Chip<'_, R> {
    fn name(&self) -> &'static str {
        self.model.name()
    }

    /// The RTL8139C+ is a PCI card without messages. Of the others' MSI-X no register is known for sure.
    fn deliveries(&self) -> &'static [Delivery] {
        match self.model {
            Model::Rtl8139 => &[Delivery::Intx],
            Model::Rtl8168 | Model::Rtl8125 => &[Delivery::Msi, Delivery::Intx],
        }
    }

    /// Receive buffers at multiples of 8. An RTL8139C+ is a card of 32 bits as long as it is not told to use dual address
    /// cycles, which not every bridge takes.
    fn limits(&self) -> Limits {
        let limits = Limits::new(match self.model {
            Model::Rtl8139 => DmaMask::BITS_32,
            Model::Rtl8168 | Model::Rtl8125 => DmaMask::BITS_64,
        });
        match PowerOfTwo::new(8) {
            Some(eight) => limits.aligned_to(eight),
            None => limits,
        }
    }

    fn reset(&self) -> Result<DeviceStopped, ResetError> {
        self.base.reset()
    }

    /// Both configuration registers take effect only with the directions enabled; nothing is received before the second
    /// of them says what.
    fn start(&self, _: DeviceStopped, rings: Places, loopback: bool) -> Result<(), ResetError> {
        let regs = self.regs();
        if self.is_gigabit() {
            regs.write_u8(CR_9346, UNLOCKED);
        }
        self.set_mode();
        self.set_ring(TNPDS, rings.transmit);
        self.set_ring(RDSAR, rings.receive);
        if self.is_gigabit() {
            self.set_frames();
        }
        regs.write_u8(CR, (Command::TE | Command::RE).bits());
        regs.write_u32(TCR, self.tx_config(loopback));
        regs.write_u32(RCR, self.rx_config(loopback));
        if self.is_gigabit() {
            regs.write_u8(CR_9346, LOCKED);
        }
        regs.write_u32(MPC, 0);
        self.base.forget_causes();
        self.check_there()
    }

    fn check_there(&self) -> Result<(), ResetError> {
        self.base.check_there()
    }

    fn link_up(&self) -> bool {
        if !self.is_gigabit() {
            return self.base.link_up();
        }
        let status = self.regs().read_u8(PHY_STATUS);
        status != u8::MAX && status & LINK_STS != 0
    }

    /// Nothing to tell: the chip finds descriptors by their words.
    fn set_receive_tail(&self, _: u32) {}

    fn set_transmit_tail(&self, _: u32) {
        match self.model {
            Model::Rtl8139 => self.regs().write_u8(TPPOLL_8139, NPQ),
            Model::Rtl8168 => self.regs().write_u8(TPPOLL_8168, NPQ),
            Model::Rtl8125 => self.regs().write_u16(TPPOLL_8125, 1),
        }
    }

    fn take_missed(&mut self) -> u64 {
        self.base.take_missed()
    }

    fn acknowledge(&self) -> Cause {
        self.base.acknowledge()
    }

    fn enable_interrupts(&self, causes: Cause) {
        self.base.enable_interrupts(causes);
    }

    fn status_word(&self) -> usize {
        0
    }

    fn end_of_ring(&self) -> u64 {
        regs::Command::EOR.bits().into()
    }

    fn receive_descriptor(&self, bus: BusAddr) -> Descriptor {
        descriptor::to_receive(bus)
    }

    fn received(&self, word: u64) -> Option<Received> {
        descriptor::received(self.model, word)
    }

    fn transmit_descriptor(&self, bus: BusAddr, len: u16) -> Descriptor {
        descriptor::to_send(bus, len)
    }

    fn progress(&self, word: u64) -> Progress {
        descriptor::progress(word)
    }
}

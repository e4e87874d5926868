//! The chip: what is written to which register, and in which order (RTL8139C(L)+ datasheet, section 5).
//!
//! Writes are posted: a bridge may hold them until something is read through it (PCI Local Bus Specification 3.0,
//! section 3.2.5). Where the next step stands on a write having arrived (the line no longer asserted, the device
//! running), the register is read back.

use super::regs::{
    CAPR, CAPR_LAG, CBR, CR, Command, ERTXTH_WHOLE_FRAME, IDR0, IMR, IMR_WIDE, ISR, ISR_WIDE,
    Interrupt, MPC, MSR, Media, RBSTART, RCR, RxConfig, TCR, TSAD0, TSD0, TxConfig,
};
use crate::{
    addr::BusAddr,
    arch::{time::Clock, wait::Deadline},
    device::{Cause, Registers, ResetError},
    dma::DeviceStopped,
};
use core::{fmt, time::Duration};

/// How long a reset may take; the chip needs microseconds.
const RESET_LIMIT: Duration = Duration::from_millis(100);

/// The registers and a clock to wait with.
pub(in crate::nic) struct Chip<'m, R> {
    regs: R,
    pub(super) clock: &'m dyn Clock,
    width: Width,
}

/// How wide the two interrupt registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nic) enum Width {
    /// 16 bits, as the RTL8139 has them.
    Narrow,
    /// 32 bits, and elsewhere: RTL8125.
    Wide,
}

impl<R> fmt::Debug for Chip<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chip")
    }
}

impl<'m, R: Registers> Chip<'m, R> {
    pub(in crate::nic) const fn new(regs: R, clock: &'m dyn Clock, width: Width) -> Self {
        Self { regs, clock, width }
    }

    pub(in crate::nic) const fn regs(&self) -> &R {
        &self.regs
    }

    fn set_mask(&self, causes: Interrupt) {
        match self.width {
            Width::Narrow => self.regs.write_u16(IMR, causes.bits()),
            Width::Wide => self.regs.write_u32(IMR_WIDE, causes.bits().into()),
        }
    }

    /// The causes that there are; `None` if nobody answers.
    #[expect(clippy::cast_possible_truncation, reason = "the half that has causes")]
    fn causes(&self) -> Option<Interrupt> {
        let (bits, gone) = match self.width {
            Width::Narrow => (self.regs.read_u16(ISR).into(), u16::MAX.into()),
            Width::Wide => (self.regs.read_u32(ISR_WIDE), u32::MAX),
        };
        (bits != gone).then(|| Interrupt::from_bits_retain(bits as u16))
    }

    fn clear(&self, causes: Interrupt) {
        match self.width {
            Width::Narrow => self.regs.write_u16(ISR, causes.bits()),
            Width::Wide => self.regs.write_u32(ISR_WIDE, causes.bits().into()),
        }
    }

    /// Clears all causes.
    pub(in crate::nic) fn forget_causes(&self) {
        self.clear(Interrupt::from_bits_retain(u16::MAX));
    }

    pub(in crate::nic) fn mac(&self) -> [u8; 6] {
        core::array::from_fn(|i| self.regs.read_u8(IDR0 + i))
    }

    pub(in crate::nic) fn link_up(&self) -> bool {
        !Media::from_bits_retain(self.regs.read_u8(MSR)).contains(Media::LINKB)
    }

    /// Stops both directions and forgets all positions.
    pub(in crate::nic) fn reset(&self) -> Result<DeviceStopped, ResetError> {
        const BUSY: Command = Command::RST.union(Command::TE).union(Command::RE);
        self.set_mask(Interrupt::empty());
        self.regs.write_u8(CR, Command::RST.bits());
        Deadline::new(self.clock, RESET_LIMIT)
            .until("the chip to come out of its reset", || {
                Ok::<_, ResetError>(!self.command().ok_or(ResetError::Gone)?.intersects(BUSY))
            })?;
        Ok(DeviceStopped::seen())
    }

    /// The command register; `None` if nobody answers.
    fn command(&self) -> Option<Command> {
        let bits = self.regs.read_u8(CR);
        (bits != u8::MAX).then(|| Command::from_bits_retain(bits))
    }

    /// Starts both directions after a reset.
    ///
    /// Both configuration registers take effect only with the directions enabled; nothing is received
    /// before the second of them says what. Writing RCR makes QEMU's model start its ring anew, so it
    /// is only ever written here. CAPR gets the value it has after a reset: the write is what tells
    /// QEMU that frames it held back before the reset can go on.
    pub(super) fn start(
        &self,
        _: DeviceStopped,
        buffer: u32,
        loopback: bool,
    ) -> Result<(), ResetError> {
        self.regs.write_u32(RBSTART, buffer);
        self.regs.write_u8(CR, (Command::TE | Command::RE).bits());
        self.regs.write_u32(TCR, tx_config(loopback).bits());
        self.regs.write_u32(RCR, rx_config(loopback).bits());
        self.regs.write_u32(MPC, 0);
        self.forget_causes();
        self.report_read(CAPR_LAG.wrapping_neg());
        self.check_there()
    }

    /// Whether anybody answers; every write before this has arrived.
    pub(in crate::nic) fn check_there(&self) -> Result<(), ResetError> {
        self.command().map(drop).ok_or(ResetError::Gone)
    }

    /// Hands a frame to the device, which lies within 32 bits.
    #[expect(clippy::cast_possible_truncation, reason = "the device's reach, which is checked")]
    pub(super) fn send(&self, slot: usize, bus: BusAddr, len: u16) {
        self.regs.write_u32(TSAD0 + 4 * slot, bus.0 as u32);
        self.regs.write_u32(TSD0 + 4 * slot, ERTXTH_WHOLE_FRAME | u32::from(len));
    }

    /// Has an aborted frame sent once more; the transmitter halts until then.
    pub(super) fn clear_abort(&self, loopback: bool) {
        self.regs.write_u32(TCR, (tx_config(loopback) | TxConfig::CLRABT).bits());
    }

    pub(super) fn slot_status(&self, slot: usize) -> u32 {
        self.regs.read_u32(TSD0 + 4 * slot)
    }

    /// The device's write position in the receive ring.
    pub(super) fn written(&self) -> u16 {
        self.regs.read_u16(CBR)
    }

    pub(super) fn report_read(&self, capr: u16) {
        self.regs.write_u16(CAPR, capr);
    }

    /// Frames lost since last asked.
    pub(in crate::nic) fn take_missed(&self) -> u64 {
        match self.regs.read_u32(MPC) {
            0 | u32::MAX => 0,
            missed => {
                self.regs.write_u32(MPC, 0);
                u64::from(missed & 0xff_ffff)
            }
        }
    }

    pub(in crate::nic) fn acknowledge(&self) -> Cause {
        let Some(causes) = self.causes() else { return Cause::GONE };
        if !causes.is_empty() {
            self.clear(causes);
            // The line is let go of before Xen is told that it is: else it would ring once more for nothing.
            self.causes();
        }
        cause(causes)
    }

    pub(in crate::nic) fn enable_interrupts(&self, causes: Cause) {
        self.set_mask(interrupts(causes));
        // Whoever masks a cause counts on its silence from here on.
        self.command();
    }
}

fn tx_config(loopback: bool) -> TxConfig {
    let config = TxConfig::MXDMA_1024 | TxConfig::IFG_STANDARD;
    if loopback { config | TxConfig::LBK } else { config }
}

fn rx_config(loopback: bool) -> RxConfig {
    let config = RxConfig::APM
        | RxConfig::AB
        | RxConfig::WRAP
        | RxConfig::MXDMA_UNLIMITED
        | RxConfig::RBLEN_32K
        | RxConfig::RXFTH_NONE;
    if loopback { config | RxConfig::AAP } else { config }
}

const CAUSES: [(Interrupt, Cause); 6] = [
    (Interrupt::ROK, Cause::RECEIVED),
    (Interrupt::TOK, Cause::SENT),
    (Interrupt::RER.union(Interrupt::TER), Cause::ERROR),
    (Interrupt::RXOVW.union(Interrupt::FOVW), Cause::OVERFLOW),
    (Interrupt::PUN, Cause::LINK),
    (Interrupt::SERR, Cause::BUS),
];

fn cause(status: Interrupt) -> Cause {
    let set = CAUSES.iter().filter(|(bits, _)| status.intersects(*bits));
    set.fold(Cause::empty(), |all, &(_, cause)| all | cause)
}

fn interrupts(causes: Cause) -> Interrupt {
    let set = CAUSES.iter().filter(|&&(_, cause)| causes.contains(cause));
    set.fold(Interrupt::empty(), |all, &(bits, _)| all | bits)
}

//! Registers of the RTL8139 (RTL8139C(L)+ datasheet, section 5 "Register Descriptions").
//!
//! Offsets and bits keep the datasheet's names. All are little endian; the chip takes accesses of each
//! register's own width.

use bitflags::bitflags;

/// ID registers: the card's own address, six bytes.
pub(super) const IDR0: usize = 0x00;
/// Transmit status of slot 0; slots follow every four bytes.
pub(super) const TSD0: usize = 0x10;
/// Transmit start address of slot 0; slots follow every four bytes.
pub(super) const TSAD0: usize = 0x20;
/// Receive buffer start address.
pub(super) const RBSTART: usize = 0x30;
/// Command register, 8 bits.
pub(in crate::nic) const CR: usize = 0x37;
/// Current address of packet read, 16 bits: 16 behind the read position.
pub(super) const CAPR: usize = 0x38;
/// Current buffer address, 16 bits: the device's write position.
pub(super) const CBR: usize = 0x3a;
/// Interrupt mask register, 16 bits.
pub(super) const IMR: usize = 0x3c;
/// Interrupt status register, 16 bits; a one written clears the bit.
pub(super) const ISR: usize = 0x3e;
/// [`IMR`] of the RTL8125, 32 bits, with the same causes.
pub(super) const IMR_WIDE: usize = 0x38;
/// [`ISR`] of the RTL8125, 32 bits.
pub(super) const ISR_WIDE: usize = 0x3c;
/// Transmit configuration register, 32 bits.
pub(in crate::nic) const TCR: usize = 0x40;
/// Receive configuration register, 32 bits.
pub(in crate::nic) const RCR: usize = 0x44;
/// Missed packet counter, 24 bits; any write clears it.
pub(in crate::nic) const MPC: usize = 0x4c;
/// Media status register, 8 bits.
pub(super) const MSR: usize = 0x58;
/// Bytes of registers.
pub(in crate::nic) const LEN: usize = 0x100;

/// How far [`CAPR`] lags behind the read position.
pub(super) const CAPR_LAG: u16 = 16;

bitflags! {
    /// [`CR`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct Command: u8 {
        /// Receive buffer empty.
        const BUFE = 1;
        /// Transmitter enable.
        const TE = 1 << 2;
        /// Receiver enable.
        const RE = 1 << 3;
        /// Reset; reads as one until it is over.
        const RST = 1 << 4;
    }

    /// [`IMR`] and [`ISR`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Interrupt: u16 {
        /// Receive OK.
        const ROK = 1;
        /// Receive error.
        const RER = 1 << 1;
        /// Transmit OK.
        const TOK = 1 << 2;
        /// Transmit error.
        const TER = 1 << 3;
        /// Receive buffer overflow.
        const RXOVW = 1 << 4;
        /// Packet underrun, or link change.
        const PUN = 1 << 5;
        /// Receive FIFO overflow.
        const FOVW = 1 << 6;
        /// System error on the PCI bus.
        const SERR = 1 << 15;
    }

    /// [`TCR`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct TxConfig: u32 {
        /// Clear abort: the transmitter, which halted at an abort, sends that frame again and goes on.
        const CLRABT = 1;
        /// Bursts of up to 1024 bytes.
        const MXDMA_1024 = 0b110 << 8;
        /// The lower loopback bit: so the MAC of a gigabit chip is told to loop.
        const LBK0 = 1 << 17;
        /// Both loopback bits: what is sent is received.
        const LBK = 0b11 << 17;
        /// The standard's gap between frames.
        const IFG_STANDARD = 0b11 << 24;
    }

    /// [`RCR`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct RxConfig: u32 {
        /// Accept all physical addresses.
        const AAP = 1;
        /// Accept frames for the card's own address.
        const APM = 1 << 1;
        /// Accept broadcast.
        const AB = 1 << 3;
        /// A frame that starts in the ring goes on behind its end instead of at its start.
        const WRAP = 1 << 7;
        /// Bursts of any length.
        const MXDMA_UNLIMITED = 0b111 << 8;
        /// A ring of 32 KiB and 16 bytes.
        const RBLEN_32K = 0b10 << 11;
        /// No early threshold: a frame is moved once it is whole.
        const RXFTH_NONE = 0b111 << 13;
    }

    /// [`TSD0`] and its neighbours, without the length in bits 0 to 12.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxStatus: u32 {
        /// The host owns the slot: the device has read the frame.
        const OWN = 1 << 13;
        /// FIFO underrun.
        const TUN = 1 << 14;
        /// Sent.
        const TOK = 1 << 15;
        /// Out of window collision.
        const OWC = 1 << 29;
        /// Aborted.
        const TABT = 1 << 30;
    }

    /// [`MSR`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Media: u8 {
        /// Inverse of the link's state.
        const LINKB = 1 << 2;
    }

    /// The status half of a received frame's header (section 6.2 "Receive Status Register").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxStatus: u16 {
        /// Received well.
        const ROK = 1;
        /// Frame alignment error.
        const FAE = 1 << 1;
        /// Checksum error.
        const CRC = 1 << 2;
        /// Longer than 4 KiB.
        const LONG = 1 << 3;
        /// Shorter than 64 bytes.
        const RUNT = 1 << 4;
        /// Invalid symbol.
        const ISE = 1 << 5;
    }
}

impl RxStatus {
    /// Everything that spoils a frame.
    pub(super) const ERRORS: Self =
        Self::FAE.union(Self::CRC).union(Self::LONG).union(Self::RUNT).union(Self::ISE);
}

/// The early transmit threshold in [`TSD0`], in units of 32 bytes: a whole frame, so that slow memory
/// can't let the FIFO run dry.
pub(super) const ERTXTH_WHOLE_FRAME: u32 = 48 << 16;

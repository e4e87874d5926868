//! Registers that C+ chips have beside those of [`super::super::rtl8139`]: RTL8139C(L)+ datasheet, section 5; RTL8169
//! and RTL8111B/RTL8168B datasheets, "Registers"; of the RTL8125 the driver that its maker publishes.
//!
//! Offsets and bits keep the datasheets' names. All are little endian; each is accessed in its own width.

use bitflags::bitflags;

/// Transmit normal priority descriptors: where their ring starts, 64 bits, a multiple of 256.
pub(super) const TNPDS: usize = 0x20;
/// Receive descriptors: where their ring starts, 64 bits, a multiple of 256.
pub(super) const RDSAR: usize = 0xe4;
/// C+ command register, 16 bits.
pub(super) const CPCR: usize = 0xe0;
/// Command register of the serial EEPROM, 8 bits: guards other registers against writes.
pub(super) const CR_9346: usize = 0x50;
/// PHY status, 8 bits.
pub(super) const PHY_STATUS: usize = 0x6c;
/// Longest received frame, 16 bits.
pub(super) const RMS: usize = 0xda;
/// Longest transmitted frame, 8 bits, in units of 128 bytes.
pub(super) const MTPS: usize = 0xec;
/// Miscellaneous, 32 bits; reserved bits where it does not exist.
pub(super) const MISC: usize = 0xf0;

/// Transmit priority polling of the RTL8139C+, 8 bits: [`NPQ`].
pub(super) const TPPOLL_8139: usize = 0xd9;
/// The same of the RTL8168, 8 bits: [`NPQ`].
pub(super) const TPPOLL_8168: usize = 0x38;
/// The same of the RTL8125, 16 bits, a bit for each queue.
pub(super) const TPPOLL_8125: usize = 0x90;
/// Frames wait in the ring of normal priority.
pub(super) const NPQ: u8 = 1 << 6;

/// [`CR_9346`]: all registers can be written.
pub(super) const UNLOCKED: u8 = 0b11 << 6;
/// [`CR_9346`]: as after a reset.
pub(super) const LOCKED: u8 = 0;
/// [`PHY_STATUS`]: the link's state.
pub(super) const LINK_STS: u8 = 1 << 1;
/// [`MTPS`]: no limit that a frame of ours would meet.
pub(super) const MTPS_MOST: u8 = 0x3f;
/// [`MISC`]: nothing is received. Firmware may leave it so.
pub(super) const RXDV_GATED: u32 = 1 << 19;

bitflags! {
    /// [`CPCR`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct CPlusCommand: u16 {
        /// Transmits by descriptors; RTL8139C+ only.
        const CPTX = 1;
        /// Receives by descriptors; RTL8139C+ only.
        const CPRX = 1 << 1;
        /// Checks checksums of received frames.
        const RX_CHK_SUM = 1 << 5;
        /// Takes VLAN tags out of received frames.
        const RX_VLAN = 1 << 6;
    }

    /// A descriptor's first 32 bits, without lengths.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Command: u32 {
        /// The last segment of a frame.
        const LS = 1 << 28;
        /// The first segment of a frame.
        const FS = 1 << 29;
        /// The last descriptor of the ring.
        const EOR = 1 << 30;
        /// The device owns the descriptor.
        const OWN = 1 << 31;
    }

    /// What the RTL8139C+ says of a received frame in those bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxStatus8139: u32 {
        /// Checksum error.
        const CRC = 1 << 18;
        /// Shorter than 64 bytes.
        const RUNT = 1 << 19;
        /// Any error.
        const RES = 1 << 20;
        /// Longer than 4 KiB.
        const RWT = 1 << 21;
        /// Frame alignment error.
        const FAE = 1 << 27;
    }

    /// What the RTL8168 says there, which has one bit more for the length.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxStatus8168: u32 {
        /// Checksum error.
        const CRC = 1 << 19;
        /// Shorter than 64 bytes.
        const RUNT = 1 << 20;
        /// Any error.
        const RES = 1 << 21;
        /// Longer than [`RMS`].
        const RWT = 1 << 22;
    }

    /// What became of a frame that was to be sent, in those bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxStatus: u32 {
        /// Lost carrier.
        const LNKF = 1 << 21;
        /// Out of window collision.
        const OWC = 1 << 22;
        /// Any error.
        const TES = 1 << 23;
        /// FIFO underrun.
        const UNF = 1 << 25;
    }
}

/// Where a received frame's length is, the checksum included: RTL8139C+.
pub(super) const RX_LENGTH_8139: u32 = (1 << 13) - 1;
/// The same of the RTL8168.
pub(super) const RX_LENGTH_8168: u32 = (1 << 14) - 1;
/// [`RMS`]: as much as a receive buffer holds.
pub(super) const RMS_MOST: u16 = 2048;
/// [`super::super::rtl8139::regs::RCR`] of gigabit chips: what is none of accepting and bursts.
pub(super) const RX_THRESHOLDS: u32 = !0xffff | 0b111 << 13;
/// Which chip it is, in TCR: HWVERID.
pub(super) const HWVERID: u32 = 0b11111 << 26 | 0b11 << 22;
/// [`HWVERID`] of the RTL8139C+; no other RTL8139 has descriptors.
pub(super) const VERSION_8139C_PLUS: u32 = 0b11101 << 26 | 0b10 << 22;

//! Registers and descriptors of the 82540EM and the 82574L.
//!
//! "SDM" is the PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (8254x), "82574" the 82574
//! GbE Controller Family datasheet. Offsets and bits keep their names there. All registers are 32 bits wide and little
//! endian.

use bitflags::bitflags;

/// Interrupt cause read; reading or a one written clears (SDM 13.4.17, 82574 10.2.4.1).
pub(super) const ICR: usize = 0x00c0;
/// Interrupt throttling; 0 for none (SDM 13.4.18, 82574 10.2.4.2).
pub(super) const ITR: usize = 0x00c4;
/// Interrupt mask set (SDM 13.4.20, 82574 10.2.4.4).
pub(super) const IMS: usize = 0x00d0;
/// Interrupt mask clear (SDM 13.4.21, 82574 10.2.4.5).
pub(super) const IMC: usize = 0x00d8;
/// Extended interrupt auto clear: causes that a message clears (82574 10.2.4.6).
pub(super) const EIAC: usize = 0x00dc;
/// Extended interrupt throttling of message 0; 0 for none (82574 7.4.4).
pub(super) const EITR0: usize = 0x00e8;
/// Interrupt vector allocation: which cause is which message (82574 10.2.4.9).
pub(super) const IVAR: usize = 0x00e4;
/// Transmit inter packet gap (SDM 13.4.34, 82574 10.2.6.2).
pub(super) const TIPG: usize = 0x0410;
/// Receive ring: address, low half (SDM 13.4.25 and on, 82574 10.2.5.6 and on).
pub(super) const RDBAL: usize = 0x2800;
/// Its high half.
pub(super) const RDBAH: usize = 0x2804;
/// Bytes in the receive ring, a multiple of 128.
pub(super) const RDLEN: usize = 0x2808;
/// The receive descriptor that the device fills next.
pub(super) const RDH: usize = 0x2810;
/// The first receive descriptor that the device may not use.
pub(super) const RDT: usize = 0x2818;
/// Receive delay timer; 0 for none (SDM 13.4.30, 82574 10.2.5.11).
pub(super) const RDTR: usize = 0x2820;
/// Transmit ring: address, low half (SDM 13.4.35 and on, 82574 10.2.6.4 and on).
pub(super) const TDBAL: usize = 0x3800;
/// Its high half.
pub(super) const TDBAH: usize = 0x3804;
/// Bytes in the transmit ring, a multiple of 128.
pub(super) const TDLEN: usize = 0x3808;
/// The transmit descriptor that the device reads next.
pub(super) const TDH: usize = 0x3810;
/// The first transmit descriptor that the device may not use.
pub(super) const TDT: usize = 0x3818;
/// When transmit descriptors are fetched and written back (SDM 13.4.43, 82574 10.2.6.10).
pub(super) const TXDCTL: usize = 0x3828;

bitflags! {
    /// [`TXDCTL`] of the 82574.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxDescriptors: u32 {
        /// Reserved, has to be set.
        const RESERVED_SET = 1 << 22;
        /// Thresholds count descriptors.
        const GRAN = 1 << 24;
    }

    /// [`IVAR`]: all causes are message 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Vectors: u32 {
        /// Receive queue 0 has a message.
        const RXQ0_VALID = 1 << 3;
        /// Transmit queue 0 has one.
        const TXQ0_VALID = 1 << 11;
        /// Other causes have one.
        const OTHER_VALID = 1 << 19;
    }

    /// Status (bits 0 to 7) and errors (bits 8 to 15) of a legacy receive descriptor (SDM 3.2.3, 82574 7.1.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxStatus: u32 {
        /// Descriptor done.
        const DD = 1;
        /// End of packet.
        const EOP = 1 << 1;
        /// CRC or alignment error.
        const CE = 1 << 8;
        /// Symbol error.
        const SE = 1 << 9;
        /// Sequence error.
        const SEQ = 1 << 10;
        /// Carrier extension error.
        const CXE = 1 << 12;
        /// Receive data error.
        const RXE = 1 << 15;
    }

    /// The command byte of a legacy transmit descriptor (SDM 3.3.3.1, 82574 7.2.10.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxCommand: u64 {
        /// End of packet.
        const EOP = 1;
        /// Insert frame check sequence.
        const IFCS = 1 << 1;
        /// Report status.
        const RS = 1 << 3;
    }

    /// The status of a legacy transmit descriptor (SDM 3.3.3.2, 82574 7.2.10.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxStatus: u64 {
        /// Descriptor done.
        const DD = 1;
        /// Excess collisions.
        const EC = 1 << 1;
        /// Late collision.
        const LC = 1 << 2;
    }
}

impl RxStatus {
    /// Everything that spoils a frame.
    pub(super) const ERRORS: Self =
        Self::CE.union(Self::SE).union(Self::SEQ).union(Self::CXE).union(Self::RXE);
}

/// [`TIPG`] for a copper link: IPGT, IPGR1 and IPGR2.
pub(super) const TIPG_COPPER: u32 = 8 | 8 << 10 | 6 << 20;

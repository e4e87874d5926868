//! Registers and descriptors of the 82540EM and the 82574L.
//!
//! "SDM" is the PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (8254x), "82574" the 82574
//! GbE Controller Family datasheet. Offsets and bits keep their names there. All registers are 32 bits wide and little
//! endian.

use bitflags::bitflags;

/// Device control (SDM 13.4.1, 82574 10.2.2.1).
pub(super) const CTRL: usize = 0x0000;
/// Device status (SDM 13.4.2, 82574 10.2.2.2).
pub(super) const STATUS: usize = 0x0008;
/// MDI control: the way to the PHY's registers (SDM 13.4.6, 82574 10.2.2.7).
pub(super) const MDIC: usize = 0x0020;
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
/// Receive control (SDM 13.4.22, 82574 10.2.5.1).
pub(super) const RCTL: usize = 0x0100;
/// Transmit control (SDM 13.4.33, 82574 10.2.6.1).
pub(super) const TCTL: usize = 0x0400;
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
/// Missed packets count (SDM 13.7.4, 82574 10.2.7.5).
pub(super) const MPC: usize = 0x4010;
/// Receive checksum control; 0 for no offload (SDM 13.4.32, 82574 10.2.5.15).
pub(super) const RXCSUM: usize = 0x5000;
/// Receive filter control (82574 10.2.5.16).
pub(super) const RFCTL: usize = 0x5008;
/// Multicast table array, 128 entries (SDM 13.5.1, 82574 10.2.5.17).
pub(super) const MTA: usize = 0x5200;
/// Entries of [`MTA`].
pub(super) const MTA_ENTRIES: usize = 128;
/// Receive address 0: four bytes of the card's own address (SDM 13.5.2, 82574 10.2.5.18).
pub(super) const RAL0: usize = 0x5400;
/// Its other two bytes, and whether it is one.
pub(super) const RAH0: usize = 0x5404;
/// Multiple receive queues command (82574 10.2.5.23).
pub(super) const MRQC: usize = 0x5818;
/// Bytes of registers.
pub(super) const LEN: usize = 0x2_0000;

bitflags! {
    /// [`CTRL`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Control: u32 {
        /// Full duplex.
        const FD = 1;
        /// GIO master disable: no further access to memory (82574).
        const GIO_MASTER_DISABLE = 1 << 2;
        /// Link reset.
        const LRST = 1 << 3;
        /// Set link up.
        const SLU = 1 << 6;
        /// Invert loss of signal.
        const ILOS = 1 << 7;
        /// Both bits of the speed.
        const SPEED = 0b11 << 8;
        /// 1000 Mbit/s.
        const SPEED_1000 = 0b10 << 8;
        /// Force speed.
        const FRCSPD = 1 << 11;
        /// Force duplex.
        const FRCDPLX = 1 << 12;
        /// Device reset; reads as one until it is over.
        const RST = 1 << 26;
        /// VLAN mode enable.
        const VME = 1 << 30;
        /// PHY reset.
        const PHY_RST = 1 << 31;
    }

    /// [`STATUS`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        /// Link up.
        const LU = 1 << 1;
        /// GIO master enable status: accesses to memory may be under way (82574).
        const GIO_MASTER_ENABLE = 1 << 19;
    }

    /// [`MDIC`], without data (bits 0 to 15) and register (bits 16 to 20).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Mdi: u32 {
        /// The PHY inside the chip.
        const PHYADD_1 = 1 << 21;
        /// Write.
        const OP_WRITE = 0b01 << 26;
        /// Read.
        const OP_READ = 0b10 << 26;
        /// Ready bit.
        const R = 1 << 28;
        /// Error.
        const E = 1 << 30;
    }

    /// [`ICR`], [`IMS`] and [`IMC`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Interrupt: u32 {
        /// Transmit descriptor written back.
        const TXDW = 1;
        /// Link status change.
        const LSC = 1 << 2;
        /// Receive sequence error.
        const RXSEQ = 1 << 3;
        /// Receiver overrun.
        const RXO = 1 << 6;
        /// Receiver timer: a frame was received.
        const RXT0 = 1 << 7;
        /// Receive queue 0: a frame was received, where messages are chosen by [`IVAR`].
        const RXQ0 = 1 << 20;
        /// Transmit queue 0: the same for a frame that was sent.
        const TXQ0 = 1 << 22;
        /// Any other cause, where messages are chosen by [`IVAR`].
        const OTHER = 1 << 24;
    }

    /// [`RCTL`]; buffers of 2048 bytes are no bit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxControl: u32 {
        /// Receiver enable.
        const EN = 1 << 1;
        /// Unicast promiscuous.
        const UPE = 1 << 3;
        /// Multicast promiscuous.
        const MPE = 1 << 4;
        /// Broadcast accept mode.
        const BAM = 1 << 15;
        /// Strip Ethernet CRC.
        const SECRC = 1 << 26;
    }

    /// [`TCTL`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxControl: u32 {
        /// Transmitter enable.
        const EN = 1 << 1;
        /// Pad short packets.
        const PSP = 1 << 3;
        /// Collision threshold of 15, as IEEE 802.3 has it.
        const CT_15 = 15 << 4;
        /// Collision distance of 64 bytes, for full duplex.
        const COLD_64 = 64 << 12;
        /// Multiple request support (82574).
        const MULR = 1 << 28;
    }

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

    /// [`RAH0`], above the address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct AddressHigh: u32 {
        /// Address valid.
        const AV = 1 << 31;
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

    /// The PHY's control register, number 0 (IEEE 802.3, section 22.2.4.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct PhyControl: u16 {
        /// 1000 Mbit/s, with bit 13 clear.
        const SPEED_1000 = 1 << 6;
        /// Full duplex.
        const FULL_DUPLEX = 1 << 8;
        /// Auto-negotiation; it starts when this is set.
        const AUTONEG = 1 << 12;
        /// Loopback.
        const LOOPBACK = 1 << 14;
    }
}

impl RxStatus {
    /// Everything that spoils a frame.
    pub(super) const ERRORS: Self =
        Self::CE.union(Self::SE).union(Self::SEQ).union(Self::CXE).union(Self::RXE);
}

/// The PHY's control register.
pub(super) const PHY_CONTROL: u32 = 0;

/// [`TIPG`] for a copper link: IPGT, IPGR1 and IPGR2.
pub(super) const TIPG_COPPER: u32 = 8 | 8 << 10 | 6 << 20;

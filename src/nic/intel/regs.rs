//! Registers that all of Intel's gigabit controllers have, at the same offsets and with the same bits as far as they are used
//! here.
//!
//! "SDM" is the PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (8254x), "82574" the 82574
//! GbE Controller Family datasheet, "82576" that of the 82576EB. Offsets and bits keep their names there. All registers
//! are 32 bits wide and little endian.

use bitflags::bitflags;

/// Device control (SDM 13.4.1, 82574 10.2.2.1, 82576 8.2.1).
pub(in crate::nic) const CTRL: usize = 0x0000;
/// Device status (SDM 13.4.2, 82574 10.2.2.2, 82576 8.2.2).
pub(in crate::nic) const STATUS: usize = 0x0008;
/// MDI control: the way to the PHY's registers (SDM 13.4.6, 82574 10.2.2.7).
pub(in crate::nic) const MDIC: usize = 0x0020;
/// Receive control (SDM 13.4.22, 82574 10.2.5.1).
pub(in crate::nic) const RCTL: usize = 0x0100;
/// Transmit control (SDM 13.4.33, 82574 10.2.6.1).
pub(in crate::nic) const TCTL: usize = 0x0400;
/// Missed packets count (SDM 13.7.4, 82574 10.2.7.5).
pub(in crate::nic) const MPC: usize = 0x4010;
/// Receive checksum control; 0 for no offload (SDM 13.4.32, 82574 10.2.5.15).
pub(in crate::nic) const RXCSUM: usize = 0x5000;
/// Receive filter control (82574 10.2.5.16).
pub(in crate::nic) const RFCTL: usize = 0x5008;
/// Multicast table array, 128 entries (SDM 13.5.1, 82574 10.2.5.17).
pub(in crate::nic) const MTA: usize = 0x5200;
/// Entries of [`MTA`].
pub(in crate::nic) const MTA_ENTRIES: usize = 128;
/// Receive address 0: four bytes of the card's own address (SDM 13.5.2, 82574 10.2.5.18).
pub(in crate::nic) const RAL0: usize = 0x5400;
/// Its other two bytes, and whether it is one.
pub(in crate::nic) const RAH0: usize = 0x5404;
/// Multiple receive queues command (82574 10.2.5.23).
pub(in crate::nic) const MRQC: usize = 0x5818;
/// Bytes of registers.
pub(in crate::nic) const LEN: usize = 0x2_0000;

bitflags! {
    /// [`CTRL`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct Control: u32 {
        /// Full duplex.
        const FD = 1;
        /// GIO master disable: no further access to memory (not the 8254x).
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
    pub(in crate::nic) struct Status: u32 {
        /// Link up.
        const LU = 1 << 1;
        /// GIO master enable status: accesses to memory may be under way (not the 8254x).
        const GIO_MASTER_ENABLE = 1 << 19;
    }

    /// [`MDIC`], without data (bits 0 to 15) and register (bits 16 to 20).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct Mdi: u32 {
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

    /// [`RCTL`]; buffers of 2048 bytes are no bit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct RxControl: u32 {
        /// Receiver enable.
        const EN = 1 << 1;
        /// Unicast promiscuous.
        const UPE = 1 << 3;
        /// Multicast promiscuous.
        const MPE = 1 << 4;
        /// Loopback in the MAC (82576 3.5.6.2).
        const LBM_MAC = 1 << 6;
        /// Broadcast accept mode.
        const BAM = 1 << 15;
        /// Strip Ethernet CRC.
        const SECRC = 1 << 26;
    }

    /// [`TCTL`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct TxControl: u32 {
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

    /// [`RAH0`], above the address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct AddressHigh: u32 {
        /// Address valid.
        const AV = 1 << 31;
    }

    /// Causes, in each family's ICR, IMS and IMC.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct Interrupt: u32 {
        /// Transmit descriptor written back.
        const TXDW = 1;
        /// Link status change.
        const LSC = 1 << 2;
        /// Receive sequence error (82540EM, 82574L).
        const RXSEQ = 1 << 3;
        /// Receiver overrun.
        const RXO = 1 << 6;
        /// Receiver timer, or descriptor written back: a frame was received.
        const RXT0 = 1 << 7;
        /// Receive queue 0: a frame was received, where messages are chosen by IVAR (82574L).
        const RXQ0 = 1 << 20;
        /// Transmit queue 0: the same for a frame that was sent.
        const TXQ0 = 1 << 22;
        /// Any other cause, where messages are chosen by IVAR (82574L).
        const OTHER = 1 << 24;
    }

    /// The PHY's control register, number 0 (IEEE 802.3, section 22.2.4.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::nic) struct PhyControl: u16 {
        /// 1000 Mbit/s, with bit 13 clear.
        const SPEED_1000 = 1 << 6;
        /// Full duplex.
        const FULL_DUPLEX = 1 << 8;
        /// Restart auto-negotiation; clears itself.
        const RESTART = 1 << 9;
        /// Auto-negotiation; it starts when this is set.
        const AUTONEG = 1 << 12;
        /// Loopback.
        const LOOPBACK = 1 << 14;
    }
}

/// The PHY's control register.
pub(in crate::nic) const PHY_CONTROL: u32 = 0;

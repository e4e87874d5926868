//! Registers and descriptors of the 82576 and its successors.
//!
//! Sections are those of the 82576EB datasheet; the datasheets of I350, I210/I211 and I225/I226 have the same names,
//! offsets and bits. Of registers that exist for each queue these are queue 0's. All are 32 bits wide and little endian.

use bitflags::bitflags;

/// EEPROM control and data (8.4).
pub(super) const EEC: usize = 0x0010;
/// [`ICR`] where the 8254x have it, too: QEMU's 82576 has it nowhere else, and the I225 no more (8.8).
pub(super) const ICR_ALIAS: usize = 0x00c0;
/// [`IMS`] there.
pub(super) const IMS_ALIAS: usize = 0x00d0;
/// [`IMC`] there.
pub(super) const IMC_ALIAS: usize = 0x00d8;
/// Interrupt cause read; reading or a one written clears (8.8).
pub(super) const ICR: usize = 0x1500;
/// Interrupt mask set (8.8).
pub(super) const IMS: usize = 0x1508;
/// Interrupt mask clear (8.8).
pub(super) const IMC: usize = 0x150c;
/// Interrupt acknowledge auto mask: causes that reading [`ICR`] masks (8.8).
pub(super) const IAM: usize = 0x1510;
/// General purpose interrupt enable; 0 for one vector, and nothing that clears itself (8.8).
pub(super) const GPIE: usize = 0x1514;
/// Extended interrupt throttling of vector 0; 0 for none (8.8).
pub(super) const EITR0: usize = 0x1680;
/// VMDq control; 0 for one pool (8.14).
pub(super) const VT_CTL: usize = 0x581c;
/// Receive ring: address, low half (8.10).
pub(super) const RDBAL: usize = 0xc000;
/// Its high half.
pub(super) const RDBAH: usize = 0xc004;
/// Bytes in the receive ring, a multiple of 128.
pub(super) const RDLEN: usize = 0xc008;
/// Split and replication receive control: what descriptors are, and how large a buffer is (8.10).
pub(super) const SRRCTL: usize = 0xc00c;
/// The receive descriptor that the device fills next.
pub(super) const RDH: usize = 0xc010;
/// The first receive descriptor that the device may not use.
pub(super) const RDT: usize = 0xc018;
/// Receive descriptor control (8.10).
pub(super) const RXDCTL: usize = 0xc028;
/// Transmit ring: address, low half (8.12).
pub(super) const TDBAL: usize = 0xe000;
/// Its high half.
pub(super) const TDBAH: usize = 0xe004;
/// Bytes in the transmit ring, a multiple of 128.
pub(super) const TDLEN: usize = 0xe008;
/// The transmit descriptor that the device reads next.
pub(super) const TDH: usize = 0xe010;
/// The first transmit descriptor that the device may not use.
pub(super) const TDT: usize = 0xe018;
/// Transmit descriptor control (8.12).
pub(super) const TXDCTL: usize = 0xe028;
/// Where the head is written to memory, and whether; 0 for not (8.12).
pub(super) const TDWBAL: usize = 0xe038;

bitflags! {
    /// [`EEC`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Eeprom: u32 {
        /// Auto read done: what a reset loads is loaded.
        const AUTO_RD = 1 << 9;
    }

    /// [`SRRCTL`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Buffers: u32 {
        /// 2 KiB.
        const BSIZEPACKET_2K = 2;
        /// Advanced descriptors, one buffer each.
        const DESCTYPE_ADVANCED = 1 << 25;
    }

    /// [`RXDCTL`] and [`TXDCTL`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Queue: u32 {
        /// Prefetch threshold.
        const PTHRESH_8 = 8;
        /// Host threshold.
        const HTHRESH_1 = 1 << 8;
        /// Write-back threshold of one: each descriptor at once.
        const WTHRESH_1 = 1 << 16;
        /// The queue is open; reads as one once it is.
        const ENABLE = 1 << 25;
    }

    /// Status (bits 0 to 19) and errors (bits 20 to 31) of an advanced receive descriptor (7.1.5.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RxStatus: u32 {
        /// Descriptor done.
        const DD = 1;
        /// End of packet.
        const EOP = 1 << 1;
        /// Receive error: CRC, symbols, length or alignment.
        const RXE = 1 << 31;
    }

    /// The second word of an advanced transmit data descriptor, without lengths (7.2.2.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxCommand: u64 {
        /// DTYP: data.
        const DATA = 0b0011 << 20;
        /// End of packet.
        const EOP = 1 << 24;
        /// Insert frame check sequence.
        const IFCS = 1 << 25;
        /// Report status.
        const RS = 1 << 27;
        /// Descriptor extension: an advanced one.
        const DEXT = 1 << 29;
        /// STA, bit 0: descriptor done.
        const DD = 1 << 32;
    }
}

//! Registers of the Am79C970A PCnet-PCI II (AMD publication 19436, "User Accessible Registers").
//!
//! Behind the address PROM are four registers, 32 bits wide each once the chip is told so by a write to [`RDP`] (double
//! word I/O mode); through two of them control and status registers (CSR) are reached by number, and bus configuration
//! registers (BCR). Numbers and bits keep the datasheet's names.

use bitflags::bitflags;

/// Address PROM: the card's own address, six bytes.
pub(super) const APROM: usize = 0x00;
/// Register data port: the CSR that [`RAP`] names.
pub(super) const RDP: usize = 0x10;
/// Register address port.
pub(super) const RAP: usize = 0x14;
/// Reading it resets the chip: double word I/O mode.
pub(super) const RESET: usize = 0x18;
/// BCR data port: the BCR that [`RAP`] names.
pub(super) const BDP: usize = 0x1c;
/// Reading it resets the chip: word I/O mode, 16 bits.
pub(super) const RESET_WORD: usize = 0x14;
/// Bytes of registers.
pub(super) const LEN: usize = 0x20;

/// Status and commands: [`Status`].
pub(super) const STATUS: u32 = 0;
/// Low half of the initialization block's address.
pub(super) const IADR_LOW: u32 = 1;
/// High half of it.
pub(super) const IADR_HIGH: u32 = 2;
/// Interrupt masks, at the places of the causes in [`Status`]: a one masks.
pub(super) const MASKS: u32 = 3;
/// Test and features: [`FEATURES_PLAIN`].
pub(super) const FEATURES: u32 = 4;
/// Missed frame count, 16 bits; it goes round, and a reset clears it.
pub(super) const MISSED: u32 = 112;

/// BCR: the link's state, in [`LINK_UP`].
pub(super) const LNKST: u32 = 4;
/// BCR: software style.
pub(super) const SWS: u32 = 20;

/// [`LNKST`]: the LED's state, which is the link's after a reset.
pub(super) const LINK_UP: u32 = 1 << 15;
/// [`SWS`]: 32-bit descriptors that start with status.
pub(super) const SWS_PCI_II: u32 = 3;
/// [`FEATURES`]: frames are padded, and what else could interrupt is masked.
pub(super) const FEATURES_PLAIN: u32 = 0x0915;

bitflags! {
    /// [`STATUS`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        /// Reads the initialization block.
        const INIT = 1;
        /// Starts both directions.
        const STRT = 1 << 1;
        /// Stops all activity; set while there is none.
        const STOP = 1 << 2;
        /// Looks for frames to send now.
        const TDMD = 1 << 3;
        /// The transmitter is on.
        const TXON = 1 << 4;
        /// The receiver is on.
        const RXON = 1 << 5;
        /// Interrupts are enabled.
        const IENA = 1 << 6;
        /// The initialization block was read.
        const IDON = 1 << 8;
        /// A frame was sent.
        const TINT = 1 << 9;
        /// A frame was received.
        const RINT = 1 << 10;
        /// Memory did not answer.
        const MERR = 1 << 11;
        /// A frame was lost for want of room.
        const MISS = 1 << 12;
        /// A frame was too long.
        const BABL = 1 << 14;
    }

    /// The mode, in the initialization block.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Mode: u32 {
        /// What is sent is received.
        const LOOP = 1 << 2;
        /// Inside the chip.
        const INTL = 1 << 6;
        /// Frames for any address are received.
        const PROM = 1 << 15;
    }

    /// A descriptor's second 32 bits, without the length.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Descriptor: u32 {
        /// What has to be ones.
        const ONES = 0xf << 12;
        /// End of a frame.
        const ENP = 1 << 24;
        /// Start of a frame.
        const STP = 1 << 25;
        /// Any error.
        const ERR = 1 << 30;
        /// The device owns the descriptor.
        const OWN = 1 << 31;
    }

    /// A transmit descriptor's first 32 bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct TxErrors: u32 {
        /// Late collision.
        const LCOL = 1 << 28;
        /// Underflow.
        const UFLO = 1 << 30;
    }
}

//! Registers of QEMU's `edu` device (docs/specs/edu in QEMU's source).
//!
//! The specification gives no names, only what each is for. Those below 0x80 take accesses of four bytes; those from
//! there on of four or eight.

use bitflags::bitflags;

/// Identification: `0xRRrr00ed`, version `RR.rr`.
pub(super) const IDENTIFICATION: usize = 0x00;
/// Liveness check: reads as the inverse of what was written.
pub(super) const LIVENESS: usize = 0x04;
/// Status of the factorial unit.
pub(super) const STATUS: usize = 0x20;
/// Interrupt status.
pub(super) const INTERRUPT_STATUS: usize = 0x24;
/// Interrupt raise: bits written are set in the status.
pub(super) const INTERRUPT_RAISE: usize = 0x60;
/// Interrupt acknowledge: bits written are cleared in the status.
pub(super) const INTERRUPT_ACKNOWLEDGE: usize = 0x64;
/// DMA source address.
pub(super) const DMA_SOURCE: usize = 0x80;
/// DMA destination address.
pub(super) const DMA_DESTINATION: usize = 0x88;
/// DMA transfer count, in bytes.
pub(super) const DMA_COUNT: usize = 0x90;
/// DMA command.
pub(super) const DMA_COMMAND: usize = 0x98;
/// Bytes up to the end of the last register.
pub(super) const LEN: usize = 0xa0;

/// The half of [`IDENTIFICATION`] that is the same in every version.
pub(super) const IDENTITY: u32 = 0x00ed;
/// Where the buffer lies, as the DMA registers count.
pub(super) const BUFFER: u32 = 0x4_0000;
/// Bytes of the buffer.
pub(super) const BUFFER_LEN: usize = 4096;
/// Address lines; QEMU cuts what is above off.
pub(super) const ADDRESS_BITS: u32 = 28;

bitflags! {
    /// [`STATUS`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Factorial: u32 {
        /// Computing.
        const COMPUTING = 1;
    }

    /// [`INTERRUPT_STATUS`] and its neighbours.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Interrupt: u32 {
        /// A transfer is done.
        const DMA = 0x100;
    }

    /// [`DMA_COMMAND`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Command: u32 {
        /// Start; reads as one until the transfer is done.
        const START = 1;
        /// From the buffer to memory; without it the other way.
        const TO_MEMORY = 1 << 1;
        /// Raise [`Interrupt::DMA`] once done.
        const INTERRUPT = 1 << 2;
    }
}

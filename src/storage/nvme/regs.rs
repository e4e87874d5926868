//! Controller properties (NVM Express Base Specification 2.0, section 3.1.3), by their names there.
//!
//! All are little endian. A property of 64 bits is accessed as two of 32, the low half first.

use bitflags::bitflags;
use core::time::Duration;

/// Controller capabilities, 64 bits.
pub(super) const CAP: usize = 0x00;
/// Version.
pub(super) const VS: usize = 0x08;
/// Interrupt mask set: a one masks the vector, with pin-based interrupts vector 0. Not to be accessed with MSI-X on.
pub(super) const INTMS: usize = 0x0c;
/// Interrupt mask clear; the same holds of it.
pub(super) const INTMC: usize = 0x10;
/// Controller configuration.
pub(super) const CC: usize = 0x14;
/// Controller status.
pub(super) const CSTS: usize = 0x1c;
/// Admin queue attributes: entries less one, of the submission queue in bits 0 to 11, of the completion queue in 16 to 27.
pub(super) const AQA: usize = 0x24;
/// Admin submission queue base address, 64 bits.
pub(super) const ASQ: usize = 0x28;
/// Admin completion queue base address, 64 bits.
pub(super) const ACQ: usize = 0x30;
/// The first doorbell (NVMe over PCIe Transport Specification 1.0, section 3.1.2).
pub(super) const DOORBELLS: usize = 0x1000;

/// The controller's page: CC.MPS is 0.
pub(super) const PAGE: usize = 4096;

/// [`CAP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(pub(super) u64);

impl Capabilities {
    /// MQES: the most entries of a queue.
    pub(super) const fn most_entries(self) -> u32 {
        (self.0 & 0xffff) as u32 + 1
    }

    /// TO: how long it may take to become ready, or not ready any more; given in units of 500 ms.
    pub(super) const fn timeout(self) -> Duration {
        let units = self.0 >> 24 & 0xff;
        Duration::from_millis(500 * if units == 0 { 1 } else { units })
    }

    /// DSTRD: bytes from one doorbell to the next.
    pub(super) const fn stride(self) -> usize {
        4 << (self.0 >> 32 & 0xf)
    }

    /// CSS: whether it has the NVM command set.
    pub(super) const fn has_nvm_commands(self) -> bool {
        self.0 >> 37 & 1 != 0
    }

    /// MPSMIN: whether it takes pages of 4 KiB.
    pub(super) const fn takes_small_pages(self) -> bool {
        self.0 >> 48 & 0xf == 0
    }
}

bitflags! {
    /// [`CC`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Configuration: u32 {
        /// Enable.
        const EN = 1;
        /// SHN: normal shutdown notification.
        const SHN_NORMAL = 1 << 14;
        /// IOSQES: entries of 64 bytes.
        const IOSQES_64 = 6 << 16;
        /// IOCQES: entries of 16 bytes.
        const IOCQES_16 = 4 << 20;
    }

    /// [`CSTS`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u32 {
        /// Ready.
        const RDY = 1;
        /// Controller fatal status.
        const CFS = 1 << 1;
        /// SHST: shutdown processing complete.
        const SHST_COMPLETE = 1 << 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_names_no_time_has_the_shortest() {
        let timeout = |units: u64| Capabilities(units << 24).timeout();
        assert_eq!([0, 1, 3].map(timeout), [500, 500, 1500].map(Duration::from_millis));
    }
}

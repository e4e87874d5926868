//! Layout of the page pcifront shares with pciback (`public/io/pciif.h`); the same since Xen 3.
//!
//! Offsets, not structs: the other side writes the page too, so fields are copied one by one.

/// The protocol's version, as both ends write it into xenstore.
pub const MAGIC: &str = "7";

/// Byte offsets from the start of the page.
pub mod page {
    use super::{aer_op, op};

    /// `u32` of flag bits.
    pub const FLAGS: usize = 0;
    /// The request and, later, its answer.
    pub const OP: usize = 4;
    /// An error report of the device and the guest's answer to it.
    pub const AER_OP: usize = OP + op::SIZE;
    /// Bytes used.
    pub const SIZE: usize = AER_OP + aer_op::SIZE;
    const _: () = assert!(AER_OP == 552 && SIZE == 572);
}

/// Bits in [`page::FLAGS`].
pub mod flags {
    /// A request is waiting; the backend clears it when the answer is complete.
    pub const REQUEST: u32 = 1 << 0;
    /// The guest answers error reports; without it the backend kills the domain on the first one.
    pub const HANDLES_AER: u32 = 1 << 1;
    /// An error report is waiting; the guest clears it when its answer is complete.
    pub const AER: u32 = 1 << 2;
}

/// Byte offsets in the request.
pub mod op {
    /// `u32`: what to do, one of [`super::command`].
    pub const CMD: usize = 0;
    /// `i32`: zero or one of [`super::error`].
    pub const ERR: usize = 4;
    /// `u32`: PCI segment.
    pub const DOMAIN: usize = 8;
    /// `u32`: bus.
    pub const BUS: usize = 12;
    /// `u32`: device << 3 | function.
    pub const DEVFN: usize = 16;
    /// `i32`: offset in config space.
    pub const OFFSET: usize = 20;
    /// `i32`: bytes to read or write: 1, 2 or 4.
    pub const LEN: usize = 24;
    /// `u32`: value read or to write; number of entries or PIRQ for MSI.
    pub const VALUE: usize = 28;
    /// `u32`: more MSI information, unused.
    pub const INFO: usize = 32;
    /// MSI-X entries: `u16` vector, `u16` entry each.
    pub const MSIX: usize = 36;
    /// How many MSI-X entries there is room for.
    pub const MSIX_MAX: usize = 128;
    /// Bytes in an MSI-X entry.
    pub const MSIX_ENTRY: usize = 4;
    /// Bytes in the request.
    pub const SIZE: usize = MSIX + MSIX_MAX * MSIX_ENTRY;
    const _: () = assert!(SIZE == 548);
}

/// Byte offsets in the error report.
pub mod aer_op {
    /// `u32`: which report, one of [`super::command`].
    pub const CMD: usize = 0;
    /// `i32`: the report's details, then the guest's answer.
    pub const ERR: usize = 4;
    /// `u32`: PCI segment.
    pub const DOMAIN: usize = 8;
    /// `u32`: bus.
    pub const BUS: usize = 12;
    /// `u32`: device << 3 | function.
    pub const DEVFN: usize = 16;
    /// Bytes in the report.
    pub const SIZE: usize = 20;
}

/// What a request or a report asks for.
pub mod command {
    /// Read config space.
    pub const CONF_READ: u32 = 0;
    /// Write config space.
    pub const CONF_WRITE: u32 = 1;
    /// Turn MSI on, one vector.
    pub const ENABLE_MSI: u32 = 2;
    /// Turn MSI off.
    pub const DISABLE_MSI: u32 = 3;
    /// Turn MSI-X on.
    pub const ENABLE_MSIX: u32 = 4;
    /// Turn MSI-X off.
    pub const DISABLE_MSIX: u32 = 5;
    /// Report: the device has seen an error.
    pub const AER_DETECTED: u32 = 6;
    /// Report: recovery is over.
    pub const AER_RESUME: u32 = 7;
    /// Report: MMIO works again.
    pub const AER_MMIO: u32 = 8;
    /// Report: the slot was reset.
    pub const AER_SLOT_RESET: u32 = 9;
}

/// How the backend refuses.
pub mod error {
    /// No such device in this domain.
    pub const NO_DEVICE: i32 = -1;
    /// Offset or width outside config space.
    pub const BAD_OFFSET: i32 = -2;
    /// Not allowed.
    pub const ACCESS_DENIED: i32 = -3;
    /// Not implemented.
    pub const NOT_IMPLEMENTED: i32 = -4;
    /// Tried and failed.
    pub const FAILED: i32 = -5;
}

/// Answers to an error report (the numbers of Linux's `pci_ers_result`, which pciback passes on).
pub mod aer_answer {
    /// Nothing to say; pciback takes it for a refusal and kills the domain.
    pub const NONE: i32 = 1;
    /// The device can go on without a reset.
    pub const CAN_RECOVER: i32 = 2;
    /// The device works again.
    pub const RECOVERED: i32 = 5;
}

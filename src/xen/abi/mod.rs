//! Numbers and layouts from Xen's public headers that `xen-sys` lacks, one file per header.

pub mod memory;
pub mod mmu;
pub mod pciif;
pub mod physdev;
pub mod platform;
pub mod xs_wire;

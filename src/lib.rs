//! pvbounce: a Xen PV guest that proves DMA through a passed-through PCI device works.
//!
//! Layers, lowest first; a lower one never names a higher one:
//!
//! ```text
//! addr < arch < xen < mm < dma < pci < nic < net < suites < lib
//! ```
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod addr;
pub mod arch;
pub mod mm;
pub mod pci;
pub mod xen;

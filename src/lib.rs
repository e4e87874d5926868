//! pvbounce: a Xen PV guest that proves DMA through a passed-through PCI device works.
//!
//! Layers, lowest first; a lower one never names a higher one:
//!
//! ```text
//! protocol < addr < arch < xen < mm < acpi < dma < pci < device < nic, engine, storage, usb < drivers, net, screen < guest < suites < lib
//! ```
//!
//! On the host the same library builds with fakes in place of Xen, dom0 and the device; that is where the
//! tests run. What only makes sense under Xen is compiled for the guest's target alone.
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod acpi;
pub mod addr;
pub mod arch;
pub mod device;
pub mod dma;
pub mod drivers;
pub mod engine;
pub mod guest;
pub mod mm;
pub mod net;
pub mod nic;
pub mod pci;
pub mod screen;
pub mod storage;
pub mod suites;
pub mod usb;
pub mod xen;

pub use protocol::{options, report};

#[cfg(target_os = "none")]
mod ending;
#[cfg(target_os = "none")]
pub mod start;

#[cfg(target_os = "none")]
pub use ending::crash;

/// Runs the suites the command line asks for, reports, and ends the domain.
#[cfg(target_os = "none")]
fn run(mut guest: guest::Guest) -> ! {
    xen::failing::enter("device");
    guest.bring_up();
    suites::run(&mut guest);
    ending::close(&guest)
}

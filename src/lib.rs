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
pub mod dma;
pub mod mm;
pub mod nic;
pub mod xen;

#[cfg(target_os = "none")]
mod start;

/// Reports a panic on every console and asks Xen to treat the domain as crashed.
#[cfg(target_os = "none")]
pub fn crash(info: &core::panic::PanicInfo<'_>) -> ! {
    use xen::console::print_in_panic;
    print_in_panic(format_args!("PANIC: {}\n", info.message()));
    if let Some(at) = info.location() {
        print_in_panic(format_args!("  at {at}\n"));
    }
    for (depth, address) in arch::image::backtrace().enumerate() {
        print_in_panic(format_args!("  #{depth} {address:#018x}\n"));
    }
    xen::console::drain();
    xen::hypercall::shutdown(xen_sys::SHUTDOWN_crash)
}

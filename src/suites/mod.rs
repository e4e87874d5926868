//! What the guest claims and how it says so: suites of checks, verdicts, and the KTAP report.
//!
//! [`verdict`] and [`ktap`] use nothing but `core` and `alloc`; the rig on the host is built from the same
//! two files, so the guest can't say a thing that the rig reads differently.
//!
//! A suite is one file with one table of checks. A check is a function from the guest to a note when the
//! claim holds, else to the outcome that says what was measured. [`suite`] runs one and knows what it proved.

pub mod blame;
pub mod cost;
pub mod ktap;
pub mod pattern;
pub mod suite;
pub mod verdict;
pub mod walk;

#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod close;
#[cfg(target_os = "none")]
pub mod device;
#[cfg(target_os = "none")]
mod dma;
#[cfg(target_os = "none")]
mod faults;
#[cfg(target_os = "none")]
pub mod guest;
#[cfg(target_os = "none")]
mod hog;
#[cfg(target_os = "none")]
pub mod interrupt;
#[cfg(target_os = "none")]
mod irq;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod net;
#[cfg(target_os = "none")]
mod pci;
#[cfg(target_os = "none")]
pub mod pool;
#[cfg(target_os = "none")]
mod runner;
#[cfg(target_os = "none")]
mod swiotlb;
#[cfg(target_os = "none")]
mod transfer;

#[cfg(target_os = "none")]
pub use runner::{RESULT_PATH, end, run};

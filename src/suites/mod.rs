//! What the guest claims: suites of checks, and how they run.
//!
//! A suite is one file with one table of checks. A check is a function from the guest to a note when the
//! claim holds, else to the outcome that says what was measured. [`suite`] runs one and knows what it proved.

pub mod cost;
pub mod reach;
pub mod rung;
pub mod suite;
pub mod walk;

#[cfg(target_os = "none")]
mod bench;
#[cfg(target_os = "none")]
mod board;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod check;
#[cfg(target_os = "none")]
mod close;
#[cfg(target_os = "none")]
mod dma;
#[cfg(target_os = "none")]
mod faults;
#[cfg(target_os = "none")]
mod hog;
#[cfg(target_os = "none")]
mod hotplug;
#[cfg(target_os = "none")]
mod irq;
#[cfg(target_os = "none")]
mod isolation;
#[cfg(target_os = "none")]
mod map;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod net;
#[cfg(target_os = "none")]
mod pair;
#[cfg(target_os = "none")]
mod pci;
#[cfg(target_os = "none")]
mod runner;
#[cfg(target_os = "none")]
mod swiotlb;
#[cfg(target_os = "none")]
mod transfer;

#[cfg(target_os = "none")]
pub use runner::{RESULT_PATH, end, run};

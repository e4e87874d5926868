//! What the guest claims and how it says so: suites of checks, verdicts, and the KTAP report.
//!
//! [`verdict`], [`plan`] and [`ktap`] use nothing but `core` and `alloc`; the rig on the host is built from
//! the same files, so the guest can't say a thing that the rig reads differently.
//!
//! A suite is one file with one table of checks. A check is a function from the guest to a [`Finding`]:
//! a note when the claim holds, else the outcome that says what was measured.

pub mod ktap;
pub mod plan;
pub mod verdict;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod runner;
#[cfg(target_os = "none")]
mod swiotlb;

#[cfg(target_os = "none")]
pub use runner::run;

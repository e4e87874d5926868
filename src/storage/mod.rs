//! Disks, of which nothing is ever changed: no driver here has a command that writes to a medium.
//!
//! ```text
//! nvme       any controller of class 01.08.02
//! ```

#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod nvme;

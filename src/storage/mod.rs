//! Disks, of which nothing is ever changed: no driver here has a command that writes to a medium.
//!
//! ```text
//! ahci       any controller of class 01.06.01, and an ATA disk behind it
//! nvme       any controller of class 01.08.02
//! place      where on a medium the bytes of a transfer are
//! ```

pub mod ahci;
#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod nvme;
mod place;

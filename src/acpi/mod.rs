//! Firmware's tables (ACPI 6.5, chapter 5), as far as a dom0 without an interpreter can ask them: where config space lies in
//! memory, and what of the board Xen keeps for itself.
//!
//! ```text
//! pointer       RSDP: where UEFI says it is, else looked for in the BIOS's memory
//!   XSDT, RSDT  where each table is
//!     mcfg      segments and buses of config space, each with its place in memory
//!     HPET, APIC, DMAR, IVRS   named
//! ```
//! Firmware is outside like any other: a length is held against a limit before a byte is taken, nothing is believed whose
//! checksum is wrong, and what is read is a copy.

#[cfg(not(target_os = "none"))]
pub mod fake;
mod mcfg;
mod pointer;
mod table;
mod tables;

pub use pointer::{Directory, find};
pub use table::{Physical, Signature, TableError};
pub use tables::Tables;

#[cfg(test)]
mod tests;

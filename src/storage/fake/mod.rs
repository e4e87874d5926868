//! The other side, for host tests.

mod ahci;
mod nvme;

pub use ahci::{AhciFault, FakeAhci};
pub use nvme::{FakeNvme, Fault, Kind, block};

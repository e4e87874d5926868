//! The other side, for host tests.

mod nvme;

pub use nvme::{FakeNvme, Fault, Kind, block};

//! PCI for host tests: devices in memory.

mod bus;

pub use bus::{FakeBus, FakeDevice};

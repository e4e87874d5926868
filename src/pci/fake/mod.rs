//! PCI for host tests: devices in memory, and a pciback to play.

mod backend;
mod bus;

pub use backend::{Answers, Connects, FakeBackend};
pub use bus::{FakeBus, FakeDevice};

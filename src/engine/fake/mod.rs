//! The other side, for host tests.

mod edu;

pub use edu::{FakeEdu, Fault};

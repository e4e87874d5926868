//! The other side, for host tests.

mod xhci;

pub use xhci::{FakeXhci, XhciFault};

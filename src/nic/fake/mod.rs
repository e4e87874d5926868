//! The other side, for host tests: chips that react to each register access.

pub mod e1000;
mod rtl8139;

pub use rtl8139::{FakeRtl8139, Fault};

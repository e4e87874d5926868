//! The other side, for host tests: a chip that reacts to each register access, and a clock.

mod rtl8139;

pub use rtl8139::{FakeRtl8139, Fault};

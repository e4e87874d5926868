//! The other side, for host tests: a chip that reacts to each register access, and a clock.

mod clock;
mod rtl8139;

pub use clock::TickingClock;
pub use rtl8139::{FakeRtl8139, Fault};

//! The other side, for host tests: a chip that reacts to each register access, and a clock.

mod clock;
mod rtl8139;
mod wild;

pub use clock::TickingClock;
pub use rtl8139::{FakeRtl8139, Fault};
pub use wild::{WildChip, drive_rtl8139};

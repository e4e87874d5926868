//! What host tests of every driver need.

mod clock;

pub use clock::TickingClock;

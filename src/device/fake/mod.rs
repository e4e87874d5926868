//! What host tests of every driver need.

mod clock;
pub mod leftovers;

pub use clock::TickingClock;

//! What host tests of every driver need.

mod clock;
pub mod leftovers;
pub mod vanishing;

pub use clock::TickingClock;

//! What host tests of every driver need.

mod clock;
pub mod guards;
pub mod leftovers;
pub mod vanishing;

pub use clock::TickingClock;

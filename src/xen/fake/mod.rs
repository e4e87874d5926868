//! Xen for host tests: a clock, event channels and grants that count everything taken and given back.
//!
//! No threads and no sleeping. Time stands still until somebody polls; a poll lets every [`Peer`] take a
//! step, then moves the clock, until an event is pending or the deadline is reached. So a test of a
//! ten-second time-out takes microseconds, and runs the same way each time.

pub mod clock;
pub mod events;
pub mod faulty;
pub mod grants;

pub use clock::FakeClock;
pub use events::FakeEvents;
pub use faulty::{FaultPlan, Faulty};
pub use grants::FakeGrants;

use core::fmt::Debug;

/// Somebody at the other end: xenstored, a backend, a device.
pub trait Peer: Debug {
    /// Does what there is to do at this moment. Must not poll.
    fn step(&self);
}

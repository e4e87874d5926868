//! The running guest: what boot made, and the devices it was given. Suites are checks of this, and nothing else.
//!
//! ```text
//! Guest                memory, pool, event channels, store: what boot made
//!   connection         the PCI backend, or as dom0 the board's own bus
//!   assigned           each function: what it offers, its driver once started, what was shown of it
//!     running          driver and interrupt, from bus master off to stopped again
//! blame                whose doing it is that something did not work
//! ```

#[cfg(target_os = "none")]
mod assigned;
pub mod blame;
#[cfg(target_os = "none")]
mod board;
#[cfg(target_os = "none")]
mod connection;
#[cfg(target_os = "none")]
mod departed;
pub mod faults;
#[cfg(target_os = "none")]
mod hotplug;
mod interrupt;
#[cfg(target_os = "none")]
mod pool;
mod running;
#[cfg(target_os = "none")]
mod stopwatch;

pub use {
    interrupt::{Bound, Interrupt},
    running::Running,
};

#[cfg(target_os = "none")]
pub use {
    assigned::{Assigned, Compared},
    connection::{Connection, bus_state},
    departed::Departed,
    guest::{Guest, Placed},
    hotplug::Followed,
    pool::{PoolState, Unneeded},
    stopwatch::Stopwatch,
};

#[cfg(target_os = "none")]
#[expect(clippy::module_inception, reason = "the guest itself, apart from its parts")]
mod guest;

//! Devices, whatever they are for: how a driver reaches one, what it owes its caller, and what it can be asked to do.
//!
//! ```text
//! Driver (trait)       a device's life and its evidence: interrupt causes, what was mapped, how it is stopped
//!   Mover (trait)      moves bytes on command, out of memory and back into it: what the suites ask of every device
//! Registers (trait)    how a driver reaches its device: a mapped BAR, or a fake that plays the device
//! evidence             every address a device was given
//! pattern              bytes to move and to look for
//! life                 how far a driver has come
//! ```
//!
//! The families of drivers are the layers above: [`crate::nic`], and [`crate::engine`], [`crate::storage`] and [`crate::usb`] for
//! what moves bytes without being one.
//!
//! A driver maps every buffer through [`crate::dma`] and lends the mapping to its device
//! ([`crate::dma::Lent`]): it comes back when the device reports to be through with it, or once the whole device
//! was seen to stop. Nothing a device writes is believed: lengths and positions are checked before use, and what is
//! wrong is an error with the value.
//!
//! A device's life: its driver resets it, whatever it was left doing, and thereby sees it stop; then its bus mastering
//! can be turned on; it is given memory and started; [`Driver::quiesce`] stops it and takes the memory back.

pub mod cause;
pub mod driver;
pub mod error;
pub mod evidence;
#[cfg(not(target_os = "none"))]
pub mod fake;
pub(crate) mod life;
pub mod mover;
pub mod pattern;
pub mod registers;

pub use cause::Cause;
pub use driver::{Driver, Idle, Traffic};
pub use error::{Ended, QuiesceError, Refused, ResetError, StartError};
pub use evidence::{DmaRange, Sent, Via};
pub use mover::{Arrival, Lengths, Mover, Stops};
pub use registers::Registers;

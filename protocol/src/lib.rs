//! What the guest and those who run it say to each other: the command line that it is given ([`options`]), the report that
//! it writes ([`report`]), and the few names and numbers that both use.
//!
//! Nothing here knows of Xen, memory or devices. Guest and rig are built from the same files, so neither can say a thing
//! that the other reads differently; and as this is all of the guest that the rig is built from, a change to the guest
//! leaves the rig as it is.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
pub mod options;
pub mod report;

pub use address::{Bdf, Bus, ParseError};

/// The type of frames for local experiments (IEEE 802, section 9.2.3): what a card sends to itself, by way of the wire if
/// it has no loop inside.
pub const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

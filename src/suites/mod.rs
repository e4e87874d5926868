//! What the guest claims and how it says so: verdicts, and the KTAP report that carries them.
//!
//! [`verdict`] and [`ktap`] use nothing but `core` and `alloc`; the rig on the host is built from the same two files,
//! so the guest can't say a thing that the rig reads differently.

pub mod ktap;
pub mod verdict;

//! What a run came to and how that is written: [`verdict`], the words and reasons, and [`ktap`], the report.
//!
//! Nothing here knows of Xen, memory or devices. The rig on the host is built from the same files, so the guest can't
//! say a thing that the rig reads differently.

pub mod ktap;
pub mod verdict;

pub use verdict::{Coded, Outcome, Reason, Tally, Verdict};

//! What a run came to and how that is written: [`verdict`], the words and reasons, [`ktap`], the report, [`spans`], many
//! pages in few lines, and [`Event`], a step of it as others are told.
//!
//! Nothing here knows of Xen, memory or devices. The rig on the host is built from the same files, so the guest can't
//! say a thing that the rig reads differently.

pub mod ktap;
pub mod spans;
pub mod verdict;
mod watch;

pub use verdict::{Coded, Outcome, Reason, Tally, Verdict};
pub use watch::{Event, Watch};

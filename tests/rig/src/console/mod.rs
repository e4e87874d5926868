//! What comes out of the machine's serial ports, split by who said it.

mod marker;
mod serial;
mod split;

pub(crate) use marker::{Dom0, JobEnd, Marker};
pub(crate) use serial::{LoggedRun, runs};
pub(crate) use split::{Piece, Splitter};

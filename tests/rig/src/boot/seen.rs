//! What was seen of a job, by all who looked: for the judge.

use std::ops::Range;
use std::path::PathBuf;

use crate::console::JobEnd;
use crate::machine::Mischief;

/// What was seen of one job.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The guest's console, each line with the seconds since the job began.
    pub(crate) console: Vec<(f64, String)>,
    /// How the domain ended; `None` if the machine ended first.
    pub(crate) end: Option<JobEnd>,
    /// What the guest wrote to `data/pvbounce`.
    pub(crate) store: Vec<(String, String)>,
    /// What xl printed.
    pub(crate) xl: Vec<String>,
    /// What dom0 itself found to be wrong.
    pub(crate) found: Vec<String>,
    /// Seconds from the job's begin to what was done to its guest.
    pub(crate) abused: Option<f64>,
    /// Whether dom0 could not do it.
    pub(crate) undone: bool,
    /// What the machine did while the domain was in it.
    pub(crate) machine: Fate,
    /// The machine's folder, with the DMA trace.
    pub(crate) folder: PathBuf,
    /// Its part of the trace.
    pub(crate) traced: Range<u64>,
    /// What Xen said while the domain was there, or since the one before it was gone.
    pub(crate) xen: Vec<String>,
    /// What was done to the frames on its wire, if that is one on which something is.
    pub(crate) wire: Option<Mischief>,
    /// Which witnesses were to be there.
    pub(crate) due: Due,
    /// The guest's own board, if it had one.
    pub(crate) board: Option<Board>,
}

/// The witnesses that a boot has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    /// QEMU, tracing each address that a device uses.
    pub(crate) trace: bool,
    /// dom0, asking Xen for its free memory.
    pub(crate) memory: bool,
}

/// A guest that is dom0 sees the whole machine, and what was put into it where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    /// The addresses of what it was given to test; there may be more.
    pub(crate) asked: Vec<String>,
    /// Those that an IOMMU translates for, as QEMU's trace has them.
    pub(crate) watched: Vec<String>,
}

/// What became of a machine during a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It lived on.
    #[default]
    Alive,
    /// QEMU ended by itself: Xen or dom0 crashed or shut down.
    Ended,
    /// dom0 said nothing any more.
    Silent,
    /// Nobody watched: all that is known is a log.
    Unknown,
}

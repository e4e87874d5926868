//! What a guest told beside its checks: the stages of its start, addresses, and its console as it was.

use protocol::report::ktap::{DmaRange, MapLine};
use serde::{Deserialize, Serialize};

/// A stage of the guest's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageRecord {
    /// What it is about: `memory`, `pool`, a device.
    pub(crate) name: String,
    /// What came of it.
    pub(crate) detail: String,
    /// Seconds from the job's begin to its line on the console.
    pub(crate) at: f64,
    /// Seconds by the guest's own clock.
    pub(crate) guest_at: f64,
    /// Its line's number, from 1.
    pub(crate) line: usize,
}

/// Addresses where a device was let.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RangeRecord {
    /// The first byte.
    pub(crate) first: u64,
    /// The last byte.
    pub(crate) last: u64,
    /// What it is: pool, direct, ring, coherent.
    pub(crate) kind: String,
}

impl From<&DmaRange> for RangeRecord {
    fn from(&DmaRange { first, last, kind }: &DmaRange) -> Self {
        Self { first, last, kind: kind.word().to_owned() }
    }
}

/// A range of the machine's addresses, as the guest knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MapRecord {
    /// What it is about: `e820`, `bar`, or the domain's own frames at a moment.
    pub(crate) kind: String,
    /// The first byte.
    pub(crate) first: u64,
    /// The last byte.
    pub(crate) last: u64,
    /// What the range is, which register of which device, or how many frames of it are the domain's.
    pub(crate) word: String,
}

impl From<&MapLine> for MapRecord {
    fn from(MapLine { kind, first, last, word }: &MapLine) -> Self {
        let (first, last) = (*first, *last);
        Self { kind: kind.word().to_owned(), first, last, word: word.clone() }
    }
}

/// A line of the guest's console.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LineRecord {
    /// Seconds from the job's begin.
    pub(crate) at: f64,
    /// What it says.
    pub(crate) text: String,
}

//! A report as it was read.

use alloc::string::String;
use alloc::vec::Vec;

use super::defect::{Defect, Flaw};
use super::figures::Figures;
use super::{DmaLimits, DmaRange, FailedSite, MapLine, PoolWalk, Sites, Taken, Transfers, Tried};
use crate::report::verdict::{Tally, Verdict};

/// One check's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// The reason's stable code; empty for a pass.
    pub code: String,
    /// The measured value, or a pass's note.
    pub detail: String,
    /// What to do; empty if there is nothing.
    pub remedy: String,
}

/// One suite.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// How many checks it announced.
    pub planned: Option<usize>,
    /// The checks that reported.
    pub checks: Vec<Check>,
    /// What its own result line said; `None` if the line never came.
    pub verdict: Option<Verdict>,
    /// What stood after a SKIP on its own result line.
    pub reason: String,
}

impl Suite {
    /// Its name without that of its device.
    pub fn kind(&self) -> &str {
        self.name.split(super::OF_DEVICE).next().unwrap_or_default()
    }

    /// Its checks, counted.
    pub fn tally(&self) -> Tally {
        self.checks.iter().map(|check| check.verdict).collect()
    }
}

/// Why a run without a fault is no SUCCESS.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NotShown {
    /// The reason's stable code.
    pub code: String,
    /// What was not shown.
    pub detail: String,
    /// What to do; empty if there is nothing.
    pub remedy: String,
}

/// Everything a console said that belongs to the report.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// How many suites were announced.
    pub planned: Option<usize>,
    /// The suites, in order.
    pub suites: Vec<Suite>,
    /// Where the guest let its device go.
    pub ranges: Vec<DmaRange>,
    /// The machine's addresses as the guest knows them.
    pub map: Vec<MapLine>,
    /// What a device was had to read.
    pub tried: Vec<Tried>,
    /// What was measured.
    pub figures: Vec<Figures>,
    /// The frames that went through the device.
    pub transfers: Option<Transfers>,
    /// How much of the pool the device was made to use.
    pub pool_walk: Option<PoolWalk>,
    /// What bounds the ranges.
    pub dma_limits: Option<DmaLimits>,
    /// What the guest said it still holds.
    pub taken: Option<Taken>,
    /// Why a run without a fault is no SUCCESS.
    pub not_shown: Option<NotShown>,
    /// What was made to fail.
    pub failed: Option<FailedSite>,
    /// In how many places something could have been.
    pub sites: Option<Sites>,
    /// The first line of a panic.
    pub panic: Option<String>,
    /// The last line's verdict; `None` if it never came.
    pub result: Option<Verdict>,
    /// What is wrong with the report: with any of these its verdict is worth nothing.
    pub defects: Vec<Defect>,
}

impl Report {
    /// All checks of all suites, counted.
    pub fn tally(&self) -> Tally {
        self.checks().map(|(_, check)| check.verdict).collect()
    }

    /// Every check with its suite.
    pub fn checks(&self) -> impl Iterator<Item = (&Suite, &Check)> {
        self.suites.iter().flat_map(|suite| suite.checks.iter().map(move |check| (suite, check)))
    }

    /// The suite that is being reported, or was last.
    pub(super) fn last(&mut self) -> Result<&mut Suite, Flaw> {
        self.suites.last_mut().ok_or(Flaw::OutOfPlace)
    }
}

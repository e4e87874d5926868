//! The reading half: takes a console's lines, keeps what belongs to the report, ignores the rest.
//!
//! A console is not a file: other things print into it, it stops mid-line when the guest dies, and a broken guest may
//! print anything. So no line is ever an error, and a report says itself whether it is complete.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::figures::{self, Figures};
use super::{
    DMA_LIMITS, DMA_RANGE, DmaLimits, DmaRange, NOT_SHOWN, PANIC, POOL_WALK, PoolWalk, REMEDY,
    RESULT, SUBTEST, TAKEN, TRANSFERS, Taken, Transfers, VERSION,
};
use crate::suites::verdict::{Tally, Verdict};

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
    /// Its checks, counted.
    pub fn tally(&self) -> Tally {
        self.checks.iter().map(|check| check.verdict).collect()
    }

    /// Whether it ended, after all the checks it announced.
    pub fn is_complete(&self) -> bool {
        let all = self.planned.is_none_or(|planned| planned == self.checks.len());
        self.verdict.is_some_and(|verdict| all || verdict == Verdict::Skip)
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
    /// The first line of a panic.
    pub panic: Option<String>,
    /// The last line's verdict; `None` if it never came.
    pub result: Option<Verdict>,
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

    /// Whether every announced suite ended and the verdict came.
    pub fn is_complete(&self) -> bool {
        let all = self.planned.is_none_or(|planned| planned == self.suites.len());
        all && self.result.is_some() && self.suites.iter().all(Suite::is_complete)
    }
}

/// Takes a console line by line.
#[derive(Debug, Default)]
pub struct Parser {
    report: Report,
    started: bool,
    // A suite is open from its version line to its result line.
    open: bool,
}

impl Parser {
    /// A parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The report in a whole text.
    pub fn read(text: &str) -> Report {
        let mut parser = Self::new();
        text.lines().for_each(|line| parser.line(line));
        parser.finish()
    }

    /// Takes the next line, without its end.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(inner) = line.strip_prefix("  ") {
            self.inner(inner);
        } else {
            self.outer(line);
        }
    }

    /// What was said so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What was said at all.
    pub fn finish(self) -> Report {
        self.report
    }

    fn outer(&mut self, line: &str) {
        if line == VERSION {
            self.started = true;
        } else if let Some(text) = line.strip_prefix(PANIC) {
            self.report.panic.get_or_insert_with(|| text.to_owned());
        } else if let Some(word) = line.strip_prefix(RESULT) {
            self.report.result = word.parse().ok().or(self.report.result);
        } else if let Some(range) = line.strip_prefix(DMA_RANGE) {
            self.report.ranges.extend(range.parse::<DmaRange>());
        } else if let Some(taken) = line.strip_prefix(TAKEN) {
            self.report.taken = taken.parse().ok();
        } else if let Some(transfers) = line.strip_prefix(TRANSFERS) {
            self.report.transfers = transfers.parse().ok();
        } else if let Some(walk) = line.strip_prefix(POOL_WALK) {
            self.report.pool_walk = walk.parse().ok();
        } else if let Some(limits) = line.strip_prefix(DMA_LIMITS) {
            self.report.dma_limits = limits.parse().ok();
        } else if let Some(reason) = line.strip_prefix(NOT_SHOWN) {
            let (code, detail) = reason.split_once(": ").unwrap_or((reason, ""));
            let (code, detail) = (code.to_owned(), detail.to_owned());
            self.report.not_shown = Some(NotShown { code, detail, remedy: String::new() });
        } else if let Some(text) = line.strip_prefix(REMEDY) {
            let reason = self.report.not_shown.as_mut();
            reason.into_iter().for_each(|reason| text.clone_into(&mut reason.remedy));
        } else if let Some(plan) = plan(line).filter(|_| self.started) {
            self.report.planned.get_or_insert(plan);
        } else if let Some(check) = check(line).filter(|_| self.open) {
            self.close(check);
        }
    }

    fn inner(&mut self, line: &str) {
        if self.open && figures::read(&mut self.report.figures, line) {
            return;
        }
        if line == VERSION && self.started {
            self.report.suites.push(Suite::default());
            self.open = true;
            return;
        }
        let Some(suite) = self.report.suites.last_mut().filter(|_| self.open) else {
            return;
        };
        if let Some(name) = line.strip_prefix(SUBTEST) {
            name.clone_into(&mut suite.name);
        } else if let Some(text) = line.strip_prefix(REMEDY) {
            let failed = suite.checks.last_mut().filter(|check| !check.verdict.is_ok());
            failed.into_iter().for_each(|check| text.clone_into(&mut check.remedy));
        } else if let Some(plan) = plan(line) {
            suite.planned.get_or_insert(plan);
        } else if let Some(check) = check(line) {
            suite.checks.push(check);
        }
    }

    fn close(&mut self, result: Check) {
        self.open = false;
        let Some(suite) = self.report.suites.last_mut() else {
            return;
        };
        if suite.name.is_empty() {
            suite.name = result.name;
        }
        suite.verdict = Some(result.verdict);
        suite.reason = match (result.code.as_str(), result.detail.as_str()) {
            (code, "") => code.to_string(),
            ("", detail) => detail.to_string(),
            (code, detail) => [code, ": ", detail].concat(),
        };
    }
}

fn plan(line: &str) -> Option<usize> {
    line.strip_prefix("1..")?.parse().ok()
}

/// `ok 3 name`, `ok 3 name # note`, `[not ]ok 3 name # WORD code: value`.
fn check(line: &str) -> Option<Check> {
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ')?;
    number.parse::<usize>().ok()?;
    // An empty note leaves its mark at the line's end.
    let bare = rest.strip_suffix(" #").unwrap_or(rest);
    let (name, note) = rest.split_once(" # ").unwrap_or((bare, ""));
    let (word, reason) = note.split_once(' ').unwrap_or((note, ""));
    let said = word.parse::<Verdict>().ok().filter(|said| said.is_ok() == ok);
    let (code, detail) = match said {
        Some(_) => reason.split_once(": ").unwrap_or((reason, "")),
        None => ("", note),
    };
    // `not ok` without one of our words is still no pass.
    let verdict = said.unwrap_or(if ok { Verdict::Success } else { Verdict::Failure });
    Some(Check {
        name: name.to_owned(),
        verdict,
        code: code.to_owned(),
        detail: detail.to_owned(),
        remedy: String::new(),
    })
}

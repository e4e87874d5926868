//! The writing half: streams a report, so that what a guest said before it crashed is on the console.

use core::fmt::{self, Write};

use super::text::{self, Note, OneLine, Why};
use super::{
    DMA_LIMITS, DMA_RANGE, DmaLimits, DmaRange, FAILED, FailedSite, ISOLATION, MAP, MapLine,
    NOT_SHOWN, POOL_WALK, PoolWalk, REASON, REMEDY, RESULT, SITES, SUBTEST, Sites, TAKEN,
    TRANSFERS, Taken, Transfers, Tried, VERSION,
};
use crate::report::{
    verdict::{Outcome, Reason, Tally, Verdict},
    watch::{Event, Watch},
};

/// Writes one report. Numbers the suites itself; adds up their verdicts.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    suites: Tally,
    // Why a SUCCESS would claim too much.
    not_shown: Option<Reason>,
    watch: Watch,
}

impl<W: Write> Writer<W> {
    /// Starts the report of a run with this many suites.
    pub fn start(mut out: W, suites: usize) -> Result<Self, fmt::Error> {
        writeln!(out, "{VERSION}\n1..{suites}")?;
        Ok(Self { out, suites: Tally::default(), not_shown: None, watch: |_| {} })
    }

    /// The same report, each step of which `watch` is told, too.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Starts a suite with this many checks. End it with [`SuiteWriter::finish`] or [`SuiteWriter::skip`].
    pub fn suite<'w>(
        &'w mut self,
        name: &'w str,
        checks: usize,
    ) -> Result<SuiteWriter<'w, W>, fmt::Error> {
        writeln!(self.out, "  {VERSION}\n  {SUBTEST}{name}\n  1..{checks}")?;
        (self.watch)(&Event::Suite { name, checks });
        Ok(SuiteWriter { report: self, name, checks: Tally::default() })
    }

    /// Says how many frames went through the device.
    pub fn transfers(&mut self, transfers: &Transfers) -> fmt::Result {
        writeln!(self.out, "{TRANSFERS}{transfers}")
    }

    /// Says how much of the pool the device was made to use.
    pub fn pool_walk(&mut self, walk: &PoolWalk) -> fmt::Result {
        writeln!(self.out, "{POOL_WALK}{walk}")
    }

    /// Says what bounds the ranges that follow.
    pub fn dma_limits(&mut self, limits: &DmaLimits) -> fmt::Result {
        writeln!(self.out, "{DMA_LIMITS}{limits}")
    }

    /// Says which machine addresses a device was allowed to touch.
    pub fn dma_range(&mut self, range: &DmaRange) -> fmt::Result {
        writeln!(self.out, "{DMA_RANGE}{range}")
    }

    /// Says what is known of a range of the machine's addresses.
    pub fn map(&mut self, line: &MapLine) -> fmt::Result {
        writeln!(self.out, "{MAP}{line}")
    }

    /// Says what a device was had to read, and whether it got there.
    pub fn tried(&mut self, tried: &Tried) -> fmt::Result {
        writeln!(self.out, "{ISOLATION}{tried}")
    }

    /// Says what is still held.
    pub fn taken(&mut self, taken: &Taken) -> fmt::Result {
        writeln!(self.out, "{TAKEN}{taken}")
    }

    /// Says what was made to fail.
    pub fn failed(&mut self, failed: &FailedSite) -> fmt::Result {
        writeln!(self.out, "{FAILED}{failed}")
    }

    /// Says in how many places something could have been made to fail.
    pub fn sites(&mut self, sites: &Sites) -> fmt::Result {
        writeln!(self.out, "{SITES}{sites}")
    }

    /// Caps the verdict: what would be SUCCESS is a SKIP for this reason, said right before the last line. The first
    /// reason counts.
    pub fn not_shown(&mut self, reason: Reason) {
        self.not_shown.get_or_insert(reason);
    }

    /// The verdict so far.
    pub fn verdict(&self) -> Verdict {
        match (self.suites.verdict(), &self.not_shown) {
            (Verdict::Success, Some(_)) => Verdict::Skip,
            (verdict, _) => verdict,
        }
    }

    /// Writes the last line and gives its verdict.
    pub fn finish(mut self) -> Result<Verdict, fmt::Error> {
        let verdict = self.verdict();
        let why = self.not_shown.as_ref().filter(|_| verdict != self.suites.verdict());
        // First, so that whoever waits for the last line finds it shown.
        (self.watch)(&Event::Over { verdict, why });
        if let Some(reason) = why {
            writeln!(self.out, "{NOT_SHOWN}{}", Why(reason))?;
            remedy_line(&mut self.out, "", reason)?;
        }
        writeln!(self.out, "{RESULT}{verdict}")?;
        Ok(verdict)
    }
}

/// Writes the checks of one suite.
#[derive(Debug)]
#[must_use = "a suite needs its result line: call finish or skip"]
pub struct SuiteWriter<'w, W> {
    report: &'w mut Writer<W>,
    name: &'w str,
    checks: Tally,
}

impl<W: Write> SuiteWriter<'_, W> {
    /// Writes the line of one check, after its reason where it did not hold, and its remedy where it has one.
    pub fn check(&mut self, name: &str, outcome: &Outcome) -> fmt::Result {
        self.checks.add(outcome.verdict());
        (self.report.watch)(&Event::Check { name, outcome });
        let number = self.checks.total();
        let out = &mut self.report.out;
        match outcome {
            Outcome::Pass { note } if text::is_empty(note) => {
                writeln!(out, "  ok {number} {name}")
            }
            Outcome::Pass { note } => writeln!(out, "  ok {number} {name} # {}", Note(note)),
            Outcome::Skip(r)
            | Outcome::Inconclusive(r)
            | Outcome::Failure(r)
            | Outcome::Error(r) => with_reason(out, number, name, outcome.verdict(), r),
        }
    }

    /// Counts so far.
    pub fn tally(&self) -> Tally {
        self.checks
    }

    /// Writes the suite's own result line.
    pub fn finish(self) -> Result<Verdict, fmt::Error> {
        let verdict = self.checks.verdict();
        self.end(verdict, None)
    }

    /// Writes the result line of a suite that only tidies up: its success proves nothing, so a report of which
    /// all else is SKIP stays one; anything worse counts.
    pub fn finish_tidying(self) -> Result<Verdict, fmt::Error> {
        let verdict = self.checks.verdict();
        let counted = if verdict.is_ok() { Verdict::Skip } else { verdict };
        self.report.suites.add(counted);
        self.result_line(verdict, None)
    }

    /// Ends a suite that can't run at all, for this reason.
    pub fn skip(self, reason: &Reason) -> Result<Verdict, fmt::Error> {
        self.end(Verdict::Skip, Some(reason))
    }

    fn end(self, verdict: Verdict, why: Option<&Reason>) -> Result<Verdict, fmt::Error> {
        self.report.suites.add(verdict);
        self.result_line(verdict, why)
    }

    fn result_line(self, verdict: Verdict, why: Option<&Reason>) -> Result<Verdict, fmt::Error> {
        let Self { report, name, .. } = self;
        (report.watch)(&Event::Ended { verdict, why });
        let number = report.suites.total();
        let ok = ok(verdict);
        match (verdict, why) {
            (Verdict::Success, _) => writeln!(report.out, "ok {number} {name}")?,
            (_, None) => writeln!(report.out, "{ok} {number} {name} # {verdict}")?,
            (_, Some(why)) => {
                writeln!(report.out, "{ok} {number} {name} # {verdict} {}", Why(why))?;
            }
        }
        Ok(verdict)
    }
}

/// What explains a result comes before it: so readers of KTAP take it for that result's, and what they show of one that
/// did not hold is those lines, not the words on its own.
fn with_reason(
    out: &mut impl Write,
    number: usize,
    name: &str,
    verdict: Verdict,
    reason: &Reason,
) -> fmt::Result {
    if !verdict.is_ok() {
        writeln!(out, "  {REASON}{}", Why(reason))?;
    }
    remedy_line(out, "  ", reason)?;
    writeln!(out, "  {} {number} {name} # {verdict} {}", ok(verdict), Why(reason))
}

fn remedy_line(out: &mut impl Write, indent: &str, reason: &Reason) -> fmt::Result {
    if text::is_empty(&reason.remedy) {
        return Ok(());
    }
    writeln!(out, "{indent}{REMEDY}{}", OneLine(&reason.remedy))
}

const fn ok(verdict: Verdict) -> &'static str {
    if verdict.is_ok() { "ok" } else { "not ok" }
}

//! The verdict on a job: what the guest said, what dom0 saw and what QEMU traced, put together.

use pvbounce::suites::ktap::{NotShown, Report};
use pvbounce::suites::verdict;
use serde::Serialize;

use crate::boot::Fate;
use crate::console::JobEnd;
use crate::evidence::Evidence;

/// How a job ended: the guest's five words, and the two that only the host can say. The worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Verdict {
    /// What ran, held.
    Success,
    /// What was to be shown could not be tried.
    Skip,
    /// The network, or its other end, left it open.
    Inconclusive,
    /// The machine is wrong.
    Failure,
    /// The guest or its configuration is wrong.
    Error,
    /// The domain ended without a verdict.
    Crash,
    /// The domain did not end.
    Timeout,
}

impl Verdict {
    /// The process's exit code for it.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Skip => 3,
            Self::Error => 4,
            Self::Failure => 5,
            Self::Crash => 6,
            Self::Timeout => 7,
            Self::Inconclusive => 8,
        }
    }

    /// The word in the table.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Success => verdict::Verdict::Success.word(),
            Self::Skip => verdict::Verdict::Skip.word(),
            Self::Inconclusive => verdict::Verdict::Inconclusive.word(),
            Self::Failure => verdict::Verdict::Failure.word(),
            Self::Error => verdict::Verdict::Error.word(),
            Self::Crash => "CRASH",
            Self::Timeout => "TIMEOUT",
        }
    }
}

impl From<verdict::Verdict> for Verdict {
    fn from(said: verdict::Verdict) -> Self {
        match said {
            verdict::Verdict::Success => Self::Success,
            verdict::Verdict::Skip => Self::Skip,
            verdict::Verdict::Inconclusive => Self::Inconclusive,
            verdict::Verdict::Failure => Self::Failure,
            verdict::Verdict::Error => Self::Error,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// The first thing that went wrong, as a person needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// `suite.check`, or `rig` for what the guest can't see.
    pub(crate) at: String,
    /// The stable reason code.
    pub(crate) code: String,
    /// The measured value.
    pub(crate) detail: String,
    /// What to do; empty if there is nothing.
    pub(crate) remedy: String,
}

impl Problem {
    pub(crate) fn rig(code: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at: "rig".into(), code: code.into(), detail: detail.into(), remedy: remedy.into() }
    }
}

/// What is known about a job when its domain is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'f> {
    /// What the guest said.
    pub(crate) report: &'f Report,
    /// What dom0 saw; `None` if the machine was lost first.
    pub(crate) end: Option<&'f JobEnd>,
    /// What became of the machine.
    pub(crate) machine: Fate,
    /// What xl printed.
    pub(crate) xl: &'f [String],
    /// The last line on the guest's console.
    pub(crate) last_line: &'f str,
    /// What QEMU traced; `None` without a device or without a trace.
    pub(crate) evidence: Option<&'f Evidence>,
    /// Whether the job was given a device.
    pub(crate) has_device: bool,
}

/// The verdict and, unless it is SUCCESS, why.
pub(crate) fn judge(facts: &Facts<'_>) -> (Verdict, Option<Problem>) {
    match ending(facts) {
        Some((verdict, problem)) => (verdict, Some(problem)),
        None => said(facts),
    }
}

/// What is wrong with how the domain ended, if anything.
fn ending(facts: &Facts<'_>) -> Option<(Verdict, Problem)> {
    let last = facts.last_line;
    let Some(end) = facts.end else {
        return Some(match facts.machine {
            Fate::Silent => {
                let detail = format!(
                    "dom0 went silent with the domain in it; the guest's last line: {last}"
                );
                (
                    Verdict::Timeout,
                    Problem::rig("machine-silent", detail, "see xen.log and dom0.log"),
                )
            }
            Fate::Ended | Fate::Alive => {
                let detail = format!(
                    "the machine ended with the domain in it; the guest's last line: {last}"
                );
                (Verdict::Crash, Problem::rig("machine-ended", detail, "see the end of xen.log"))
            }
        });
    };
    if end.late {
        let detail = format!("no end after {:.0} s; its last line: {last}", end.seconds);
        let remedy = "raise --timeout if the machine is slow; the last line says where it waits";
        return Some((Verdict::Timeout, Problem::rig("timeout", detail, remedy)));
    }
    if end.reason.is_none() && facts.report.result.is_none() && end.code != Some(0) {
        let printed = facts.xl.iter().find(|line| line.contains("error")).or(facts.xl.last());
        let detail = printed.cloned().unwrap_or_else(|| "xl printed nothing".to_owned());
        return Some((
            Verdict::Error,
            Problem::rig("xl-create", detail, "see dom0.log and xen.log"),
        ));
    }
    if end.crashed() || facts.report.result.is_none() {
        let said = facts.report.panic.clone();
        let detail = said.unwrap_or_else(|| format!("no verdict; its last line: {last}"));
        let remedy = "the backtrace is in the guest's log, with names at its end";
        return Some((Verdict::Crash, Problem::rig("crash", detail, remedy)));
    }
    None
}

/// What the guest said, checked against itself and against the trace.
fn said(facts: &Facts<'_>) -> (Verdict, Option<Problem>) {
    let report = facts.report;
    let result = report.result.map_or(Verdict::Crash, Verdict::from);
    if let Some(defect) = report.defects.first() {
        let more = match report.defects.len() {
            1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        let detail = format!("the report says {result}, but {defect}{more}");
        let remedy =
            "the guest's report is wrong: a bug of pvbounce; or its console lost or added lines";
        return (Verdict::Error, Some(Problem::rig("report-broken", detail, remedy)));
    }
    if let Some(problem) = outside(facts).or_else(|| kept(facts)) {
        return (result.max(Verdict::Failure), Some(problem));
    }
    let dma_skipped = report
        .suites
        .iter()
        .find(|suite| suite.name == "dma" && suite.verdict == Some(verdict::Verdict::Skip));
    match (result, dma_skipped.filter(|_| facts.has_device)) {
        (Verdict::Success, Some(suite)) => {
            let detail =
                format!("a device was passed through, but no DMA was tried: {}", suite.reason);
            let remedy =
                "see the reason of suite dma; docs/hardware.md lists the devices with a driver";
            (Verdict::Skip, Some(Problem::rig("dma-skipped", detail, remedy)))
        }
        (Verdict::Success, None) => (Verdict::Success, None),
        _ => (result, not_shown(report).or_else(|| first_problem(report, result))),
    }
}

/// What Xen has less, or more, of after the domain than before.
fn kept(facts: &Facts<'_>) -> Option<Problem> {
    let end = facts.end?;
    let differs = |pair: Option<(u64, u64)>| pair.filter(|(before, after)| before != after);
    let what = if let Some((before, after)) = differs(end.free_mib) {
        format!("Xen had {before} MiB free before the domain and {after} after it")
    } else {
        let (before, after) = differs(end.low_pages)?;
        format!("Xen had {before} pages free below 4 GiB before the domain and {after} after it")
    };
    let remedy = "see what dom0 or another domain did meanwhile; else Xen lost or kept memory: report it to them";
    Some(Problem::rig("xen-memory", what, remedy))
}

/// What the trace holds against the guest.
fn outside(facts: &Facts<'_>) -> Option<Problem> {
    let evidence = facts.evidence?;
    if let Some(address) = evidence.first_outside {
        let detail = format!(
            "{} of {} addresses that the device used lie outside what the guest reported; the first: {address:#x}",
            evidence.outside, evidence.addresses
        );
        let remedy = "the device touched memory it was never given: see dma-trace.log";
        return Some(Problem::rig("dma-outside", detail, remedy));
    }
    let dma_passed = facts
        .report
        .checks()
        .any(|(suite, check)| suite.name == "dma" && check.verdict == verdict::Verdict::Success);
    (dma_passed && evidence.addresses == 0).then(|| {
        let detail = "the guest reports DMA, but QEMU saw the device use no address";
        Problem::rig("dma-unseen", detail, "the checks compared memory that no device wrote")
    })
}

/// Why the guest itself calls a run without a fault a SKIP.
fn not_shown(report: &Report) -> Option<Problem> {
    let NotShown { code, detail, remedy } = report.not_shown.clone()?;
    Some(Problem { at: "guest".into(), code, detail, remedy })
}

/// The first check that is as bad as the whole.
fn first_problem(report: &Report, verdict: Verdict) -> Option<Problem> {
    let (suite, check) =
        report.checks().find(|(_, check)| Verdict::from(check.verdict) == verdict)?;
    Some(Problem {
        at: format!("{}.{}", suite.name, check.name),
        code: check.code.clone(),
        detail: check.detail.clone(),
        remedy: check.remedy.clone(),
    })
}

#[cfg(test)]
mod tests;

//! The verdict on a job: what the guest said, what dom0 and Xen saw and what QEMU traced, put together.

use protocol::report::ktap::{self, NotShown, Report, Suite};
use protocol::report::verdict;
use serde::{Deserialize, Serialize};

use crate::boot::Fate;
use crate::console::JobEnd;
use crate::evidence::Trace;

mod ending;
mod isolation;
mod witness;
mod xen;

pub(crate) use isolation::{Answers, answers};
pub(crate) use xen::complaints;

/// How a job ended: the guest's five words, and the two that only the host can say. The worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

    /// All of them.
    const ALL: [Self; 7] = [
        Self::Success,
        Self::Skip,
        Self::Inconclusive,
        Self::Failure,
        Self::Error,
        Self::Crash,
        Self::Timeout,
    ];

    /// The one with this exit code.
    pub(crate) fn of_exit_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| i32::from(verdict.exit_code()) == code)
    }

    /// The one that this word is for.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.word() == word)
    }

    /// What style sheets know it by.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Success => "good",
            Self::Skip | Self::Inconclusive => "skip",
            Self::Failure | Self::Error | Self::Crash | Self::Timeout => "bad",
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

/// Something that went wrong, as a person needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A problem, and the verdict that it alone would be.
type Finding = (Verdict, Problem);

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
    /// What dom0 itself found to be wrong.
    pub(crate) found: &'f [String],
    /// What the guest wrote to the store.
    pub(crate) store: &'f [(String, String)],
    /// The last line on the guest's console.
    pub(crate) last_line: &'f str,
    /// What QEMU traced.
    pub(crate) trace: &'f Trace,
    /// The bytes of memory that the domain was given, if that is known.
    pub(crate) memory: Option<u64>,
    /// Whether dom0 was to say how much memory Xen has.
    pub(crate) memory_is_due: bool,
    /// What Xen complained of.
    pub(crate) complaints: &'f [&'f str],
    /// How many of the job's devices nobody watched beside those of the trace.
    pub(crate) unwatched: usize,
    /// What a device was said to be kept from, and Xen says nothing of.
    pub(crate) unwitnessed: Option<&'f str>,
    /// How many devices the job was given.
    pub(crate) devices: usize,
    /// The addresses of the devices that the job is about; none: all that the guest has.
    pub(crate) asked: &'f [String],
    /// The first byte of its medium that is not as it was.
    pub(crate) changed: Option<u64>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// The worst of all.
    pub(crate) verdict: Verdict,
    /// What is wrong, the most telling first; empty for a SUCCESS.
    pub(crate) problems: Vec<Problem>,
}

/// The verdict and, unless it is SUCCESS, why.
pub(crate) fn judge(facts: &Facts<'_>) -> Judgement {
    let mut found: Vec<Finding> = witness::changed(facts).into_iter().collect();
    found.extend(complained(facts));
    found.extend(facts.found.iter().map(|what| witness::by_dom0(what)));
    let ending = ending::of(facts);
    let report_counts = ending.as_ref().is_none_or(|(_, over)| !over);
    found.extend(ending.map(|(finding, _)| finding));
    if report_counts {
        said(facts, &mut found);
    }
    let verdict = found.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Success);
    Judgement { verdict, problems: found.into_iter().map(|(_, problem)| problem).collect() }
}

/// What Xen says of an interrupt that reached a processor which does not expect it.
const NO_HANDLER: &str = "No irq handler for vector";

/// Xen's own complaints come before all else: they name what the others only suffer from.
fn complained(facts: &Facts<'_>) -> Option<Finding> {
    let (first, rest) = facts.complaints.split_first()?;
    let more = match rest.len() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let remedy = if first.contains(NO_HANDLER) {
        "an interrupt moved between processors and got lost: pin the guest (`cpus = \"0\"`) or boot Xen with `iommu=no-intremap`"
    } else {
        "see xen.log: a DMAR or IO_PAGE_FAULT line names device and address, other lines what Xen refused"
    };
    let problem = Problem::rig("xen-complained", format!("{first}{more}"), remedy);
    Some((Verdict::Failure, problem))
}

/// What the guest said, checked against itself and against the witnesses.
fn said(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let report = facts.report;
    let result = report.result.map_or(Verdict::Crash, Verdict::from);
    if let Some(problem) = broken(report, result, facts.memory) {
        return found.push((Verdict::Error, problem));
    }
    found.extend(witness::outside(facts).into_iter().chain(witness::untrue(facts)));
    if result != Verdict::Success {
        let problem = not_shown(report).or_else(|| first_problem(report, result));
        let nameless = || Problem::rig("no-checks", "no check was reported", "");
        found.push((result, problem.unwrap_or_else(nameless)));
    }
    found.extend(witness::kept(facts).into_iter().chain(witness::unseen(facts)));
    found.extend(untried(facts).filter(|_| result == Verdict::Success));
    found.extend(witness::absent(facts).into_iter().chain(witness::unwitnessed(facts)));
}

/// A report that can't be believed.
fn broken(report: &Report, result: Verdict, memory: Option<u64>) -> Option<Problem> {
    let more = match report.defects.len() {
        0 | 1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    let defect = report.defects.first().map(|defect| format!("{defect}{more}"));
    let why = defect.or_else(|| boast(report, memory?))?;
    let detail = format!("the report says {result}, but {why}");
    let remedy = "a bug of pvbounce, or its console lost or gained lines: see the guest's log";
    Some(Problem::rig("report-broken", detail, remedy))
}

/// More memory than the domain was given: the bound of its ranges would be none.
fn boast(report: &Report, given: u64) -> Option<String> {
    let told = report.dma_limits.filter(|limits| limits.memory > given)?.memory;
    Some(format!("it counts {told} bytes of memory, and the domain was given {given}"))
}

/// A device that was there, and no DMA with it.
fn untried(facts: &Facts<'_>) -> Option<Finding> {
    let compared = facts.report.transfers.map(|transfers| transfers.compared);
    let asked = |suite: &&Suite| {
        let of = suite.name.split_once(ktap::OF_DEVICE).map(|(_, device)| device);
        let is_asked = |device| facts.asked.iter().any(|asked| asked == device);
        facts.devices > 0 && (facts.asked.is_empty() || of.is_none_or(is_asked))
    };
    let all: Vec<_> = facts.report.suites.iter().filter(|suite| suite.kind() == "dma").collect();
    let suites: Vec<_> = all.iter().copied().filter(asked).collect();
    let due = if facts.asked.is_empty() { facts.devices } else { facts.asked.len() };
    // One device of several that shows nothing is enough.
    let silent = suites.iter().find_map(|dma| match (dma.verdict, compared) {
        (Some(verdict::Verdict::Skip), _) if !dma.reason.is_empty() => Some(&*dma.reason),
        (Some(verdict::Verdict::Skip), _) => Some("each of its checks was skipped"),
        (_, None | Some(0)) => Some("no frame was compared"),
        _ => None,
    });
    let lacking = !all.is_empty() && suites.len() < due;
    let why = silent.or(lacking.then_some("the report says nothing of one of them"))?;
    let detail = format!("a device was passed through, but no DMA was tried: {why}");
    let remedy = "see the reasons in suite dma; docs/hardware.md lists the devices with a driver";
    Some((Verdict::Skip, Problem::rig("dma-skipped", detail, remedy)))
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

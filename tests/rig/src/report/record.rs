//! The record of a run: everything that the table, result.json, JUnit and the page show.

use protocol::report::ktap::Figures;
use serde::{Deserialize, Serialize};

use super::changes::ChangesRecord;
use super::failing::FailingRecord;
pub(crate) use super::told::{LineRecord, MapRecord, RangeRecord, StageRecord};
use crate::console::Dom0;
use crate::evidence::Evidence;
use crate::job::Shown;
use crate::judge::{Problem, Verdict};
use crate::machine::Mischief;

/// A run of several jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct RunRecord {
    /// What was run: smoke, dom0, test.
    pub(crate) name: String,
    /// When it started, UTC.
    pub(crate) started: String,
    /// What it ran on, for people: versions of Xen, Linux, QEMU, and KVM or TCG.
    pub(crate) machine: String,
    /// The bytes of the guest's image; 0 if nobody knows.
    pub(crate) image_bytes: u64,
    /// The jobs.
    pub(crate) jobs: Vec<JobRecord>,
    /// Two of them side by side, where the run was for that.
    pub(crate) comparison: Option<ComparisonRecord>,
    /// What is not as it was in the run before of the same command.
    pub(crate) changes: Option<ChangesRecord>,
    /// Whether it came to its end: else this is what it had until then.
    pub(crate) over: bool,
}

impl RunRecord {
    /// The worst verdict of all jobs. Of a run that was cut off nobody knows which jobs it would have had.
    pub(crate) fn worst(&self) -> Verdict {
        let least =
            if self.over && !self.jobs.is_empty() { Verdict::Success } else { Verdict::Error };
        self.jobs.iter().map(JobRecord::counts_as).fold(least, Verdict::max)
    }
}

/// A check or problem that a job is about: its place and its code.
pub(crate) type FaultRecord = (String, String);

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct JobRecord {
    /// Its name.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// How it has to end.
    pub(crate) expected: Verdict,
    /// Why, unless it is SUCCESS: what tells most.
    pub(crate) problem: Option<Problem>,
    /// What else is wrong.
    pub(crate) also: Vec<Problem>,
    /// The checks and problems that have to come, and the only ones that may.
    pub(crate) faults: Vec<FaultRecord>,
    /// Of these at least one has to come.
    pub(crate) either: Vec<FaultRecord>,
    /// What may come, too.
    pub(crate) may: Vec<FaultRecord>,
    /// What it was to show and did not.
    pub(crate) not_shown: Option<String>,
    /// Seconds from the start of `xl create` to the domain being gone.
    pub(crate) seconds: f64,
    /// What QEMU traced.
    pub(crate) evidence: Option<Evidence>,
    /// Why nobody watched the device, where there is one.
    pub(crate) no_witness: Option<String>,
    /// What was done to the frames on its wire, if that is one on which something is.
    pub(crate) wire: Option<Mischief>,
    /// Xen's free memory in MiB before and after.
    pub(crate) free_mib: Option<(u64, u64)>,
    /// Xen's free pages below 4 GiB before and after.
    pub(crate) low_pages: Option<(u64, u64)>,
    /// dom0 itself, after it.
    pub(crate) dom0: Option<Dom0>,
    /// What the guest wrote to `data/pvbounce`.
    pub(crate) store: Vec<(String, String)>,
    /// What the guest still held at the end, in its own words.
    pub(crate) taken: Option<String>,
    /// What the guest said of its start.
    pub(crate) stages: Vec<StageRecord>,
    /// The suites.
    pub(crate) suites: Vec<SuiteRecord>,
    /// What was measured.
    pub(crate) figures: Vec<FiguresRecord>,
    /// Which operation failed on purpose, and whether the end is as it may be after that.
    pub(crate) failing: Option<FailingRecord>,
    /// A panic's backtrace, with names.
    pub(crate) backtrace: Vec<String>,
    /// Where a device was let.
    pub(crate) ranges: Vec<RangeRecord>,
    /// What the guest knows of the machine's addresses.
    pub(crate) map: Vec<MapRecord>,
    /// The guest's console.
    #[serde(skip)]
    pub(crate) console: Vec<LineRecord>,
}

impl JobRecord {
    /// A job of which nothing is known yet.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::Error,
            expected: Verdict::Success,
            problem: None,
            also: Vec::new(),
            faults: Vec::new(),
            either: Vec::new(),
            may: Vec::new(),
            not_shown: None,
            seconds: 0.0,
            evidence: None,
            no_witness: None,
            wire: None,
            free_mib: None,
            low_pages: None,
            dom0: None,
            store: Vec::new(),
            taken: None,
            stages: Vec::new(),
            suites: Vec::new(),
            figures: Vec::new(),
            failing: None,
            backtrace: Vec::new(),
            ranges: Vec::new(),
            map: Vec::new(),
            console: Vec::new(),
        }
    }

    /// Whether it ended as it has to.
    pub(crate) fn is_as_expected(&self) -> bool {
        self.verdict == self.expected && self.surprises().is_empty() && self.not_shown.is_none()
    }

    /// How it counts in a run of several: as SUCCESS if it ended as it has to, however that is, and else as it ended, which is
    /// no SUCCESS.
    pub(crate) fn counts_as(&self) -> Verdict {
        match self.verdict {
            _ if self.is_as_expected() => Verdict::Success,
            verdict if self.expected == Verdict::Success && verdict != Verdict::Success => verdict,
            verdict => verdict.max(Verdict::Failure),
        }
    }

    /// What came that may not, and what did not come that has to; nothing new where the verdict says it all.
    pub(super) fn said_surprises(&self) -> Vec<String> {
        if self.faults.is_empty() && self.failing.is_none() { Vec::new() } else { self.surprises() }
    }

    /// What came that may not, and what did not come that has to.
    pub(super) fn surprises(&self) -> Vec<String> {
        if let Some(failing) = &self.failing {
            return failing.wrong.clone();
        }
        let found = self.found();
        let is = |at: &str, code: &str, fault: &FaultRecord| fault.0 == at && fault.1 == code;
        let unlisted = found
            .iter()
            .filter(|(at, code, verdict)| {
                *verdict > Verdict::Skip && !self.known().any(|fault| is(at, code, fault))
            })
            .map(|(at, code, _)| format!("{at} {code} came, and may not"));
        let came = |fault: &&FaultRecord| found.iter().any(|(at, code, _)| is(at, code, fault));
        let lacking = self.faults.iter().filter(|fault| !came(fault));
        let lacking = lacking.map(|(at, code)| format!("{at} {code} did not come, and has to"));
        let none = !self.either.is_empty() && !self.either.iter().any(|fault| came(&fault));
        let either = || {
            let all = self.either.iter().map(|(at, code)| format!("{at} {code}"));
            format!("none of these came, and one has to: {}", all.collect::<Vec<_>>().join(", "))
        };
        unlisted.chain(lacking).chain(none.then(either)).collect()
    }

    /// All that may come.
    fn known(&self) -> impl Iterator<Item = &FaultRecord> {
        self.faults.iter().chain(&self.either).chain(&self.may)
    }

    /// Each check that did not pass and each problem that no check names: place, code, how bad.
    fn found(&self) -> Vec<(String, &str, Verdict)> {
        let checks = self.suites.iter().flat_map(|suite| {
            let bad = suite.checks.iter().filter(|check| check.verdict > Verdict::Success);
            bad.map(|c| (format!("{}.{}", suite.name, c.name), c.code.as_str(), c.verdict))
        });
        // None is worse than the whole.
        let problems = self.problems().filter(|problem| !problem.at.contains('.'));
        checks.chain(problems.map(|p| (p.at.clone(), p.code.as_str(), self.verdict))).collect()
    }

    /// All that is wrong, what tells most first.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problem.iter().chain(&self.also)
    }

    /// How many cases it is where all is counted: a suite that could not run is one.
    pub(crate) fn cases(&self) -> usize {
        self.suites.iter().map(|suite| suite.checks.len().max(1)).sum()
    }

    /// Whether this check has to end so.
    pub(crate) fn is_wanted(&self, suite: &str, check: &CheckRecord) -> bool {
        let at = format!("{suite}.{}", check.name);
        let mut known = self.known();
        known.any(|(place, code)| *place == at && *code == check.code)
    }

    /// Notes what the job was to show and did not. A success without it is none.
    pub(super) fn must_show(&mut self, shows: &[Shown]) {
        let lacking = shows.iter().find_map(|Shown { suite, check, words }| {
            let note = self.note(suite, check).unwrap_or("nothing");
            (!note.contains(words)).then(|| {
                format!("{suite}.{check} has to say `{words}` in this run, and says: {note}")
            })
        });
        lacking.into_iter().for_each(|detail| self.shows_nothing(detail));
    }

    /// Adds what somebody else than the judge has to say of it.
    pub(crate) fn add(&mut self, verdict: Verdict, problem: Problem) {
        if verdict > self.verdict || self.problem.is_none() {
            self.also.extend(self.problem.replace(problem));
        } else {
            self.also.push(problem);
        }
        self.at_least(verdict);
    }

    /// It is no better than this.
    pub(crate) fn at_least(&mut self, verdict: Verdict) {
        self.verdict = self.verdict.max(verdict);
    }

    /// Notes why the run did not show what it is for.
    pub(super) fn shows_nothing(&mut self, detail: String) {
        if self.verdict == self.expected {
            let remedy = "see the guest's log for what came instead, and dom0.log";
            let problem = Problem::rig("not-shown", &detail, remedy);
            self.also.extend(self.problem.replace(problem));
            self.verdict = self.verdict.max(Verdict::Failure);
        }
        self.not_shown = Some(detail);
    }

    /// What a check that passed measured.
    pub(crate) fn note(&self, suite: &str, check: &str) -> Option<&str> {
        Some(&self.check(suite, check)?.detail)
    }

    /// A check by its suite's name and its own.
    pub(crate) fn check(&self, suite: &str, check: &str) -> Option<&CheckRecord> {
        let suite = self.suites.iter().find(|known| known.name == suite)?;
        suite.checks.iter().find(|known| known.name == check)
    }

    /// Checks of one verdict, over all suites.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.suites.iter().map(|suite| suite.count(verdict)).sum()
    }
}

/// One table of figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FiguresRecord {
    /// Its name.
    pub(crate) table: String,
    /// What the columns are called.
    pub(crate) columns: Vec<String>,
    /// The rows, a cell for each column.
    pub(crate) rows: Vec<Vec<String>>,
}

impl From<&Figures> for FiguresRecord {
    fn from(figures: &Figures) -> Self {
        let Figures { table, columns, rows } = figures.clone();
        Self { table, columns, rows }
    }
}

/// What two jobs measured, side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ComparisonRecord {
    /// The figures.
    #[serde(flatten)]
    pub(crate) figures: FiguresRecord,
    /// How they were come by: what a reader needs in order to call it fair or not.
    pub(crate) legend: Vec<String>,
}

/// One suite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SuiteRecord {
    /// Its name.
    pub(crate) name: String,
    /// Its result; CRASH if the line never came.
    pub(crate) verdict: Verdict,
    /// Why it was skipped.
    pub(crate) reason: String,
    /// Seconds from the job's begin to its first line on the console.
    pub(crate) at: f64,
    /// Seconds from there to its last.
    pub(crate) seconds: f64,
    /// The checks.
    pub(crate) checks: Vec<CheckRecord>,
}

impl SuiteRecord {
    /// One that has begun.
    pub(super) fn new(name: &str) -> Self {
        let (name, reason) = (name.to_owned(), String::new());
        Self { name, verdict: Verdict::Crash, reason, at: 0.0, seconds: 0.0, checks: Vec::new() }
    }

    /// Checks of one verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckRecord {
    /// Its name.
    pub(crate) name: String,
    /// Seconds from the job's begin to its line on the console.
    pub(crate) at: f64,
    /// That line's number, from 1.
    pub(crate) line: usize,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// The reason's code; empty for a pass.
    pub(crate) code: String,
    /// The measured value, or a pass's note.
    pub(crate) detail: String,
    /// What to do.
    pub(crate) remedy: String,
}

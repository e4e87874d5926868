//! `records.jsonl`: all that is known of a run, a JSON object to a line, written as the run goes. Every report is made of what
//! can be read back from it. docs/records.md describes each kind.

mod read;
mod write;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::changes::ChangesRecord;
use super::failing::FailingRecord;
use super::record::{
    CheckRecord, ComparisonRecord, FaultRecord, FiguresRecord, JobRecord, LineRecord, MapRecord,
    RangeRecord, RunRecord, StageRecord, SuiteRecord,
};
use crate::console::Dom0;
use crate::evidence::Evidence;
use crate::job::Job;
use crate::judge::{Problem, Verdict};
use crate::machine::Mischief;

pub(crate) use read::{is_stream, read};
pub(crate) use write::Stream;

/// Its name in a run's folder.
pub(crate) const RECORDS: &str = "records.jsonl";
/// What the first line says it is.
const SCHEMA: &str = "pvbounce-run";
/// Goes up when a field or kind is removed, renamed, or means something else. One that is added leaves it as it is: a reader
/// passes over what it does not know.
const VERSION: u32 = 1;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    /// The first line.
    Schema { schema: String, version: u32 },
    /// What the run is.
    Run { name: String, started: String, machine: String, image_bytes: u64 },
    /// A job begins. One of a name that was there before takes its place.
    Job {
        job: String,
        expected: Verdict,
        faults: Vec<FaultRecord>,
        either: Vec<FaultRecord>,
        may: Vec<FaultRecord>,
    },
    /// A line of its guest's console.
    Line { job: String, number: usize, at: f64, text: String },
    /// A stage of its guest's start.
    Stage { job: String, stage: StageRecord },
    /// A check of the suite that runs.
    Check { job: String, suite: String, check: CheckRecord },
    /// A suite has ended.
    Suite { job: String, name: String, verdict: Verdict, reason: String, at: f64, seconds: f64 },
    /// What the guest knows of the machine's addresses.
    Map { job: String, map: MapRecord },
    /// Where a device was let.
    Range { job: String, range: RangeRecord },
    /// What QEMU traced, or why nobody did.
    Witness { job: String, evidence: Option<Evidence>, why_none: Option<String> },
    /// Xen's memory before and after, and dom0 after.
    Memory {
        job: String,
        free_mib: Option<(u64, u64)>,
        low_pages: Option<(u64, u64)>,
        dom0: Option<Dom0>,
    },
    /// What was done to the frames on its wire.
    Wire { job: String, wire: Mischief },
    /// What its guest left in the store.
    Store { job: String, key: String, value: String },
    /// A table that it measured.
    Figures { job: String, figures: FiguresRecord },
    /// What failed on purpose.
    Failing { job: String, failing: FailingRecord },
    /// A panic's backtrace, with names.
    Backtrace { job: String, lines: Vec<String> },
    /// What is wrong, the most telling first.
    Problem { job: String, problem: Problem },
    /// A job has ended, and was judged.
    End {
        job: String,
        verdict: Verdict,
        seconds: f64,
        taken: Option<String>,
        not_shown: Option<String>,
    },
    /// Two jobs side by side.
    Comparison { comparison: ComparisonRecord },
    /// What is not as it was in the run before of the same command.
    Changes { changes: ChangesRecord },
    /// The run is over, and these are its jobs, in their order.
    Over { jobs: Vec<String> },
    /// A kind that a later version has.
    #[serde(other)]
    Unknown,
}

/// What is known of a run before its first job.
fn head(run: &RunRecord) -> Record {
    let RunRecord { name, started, machine, image_bytes, .. } = run.clone();
    Record::Run { name, started, machine, image_bytes }
}

/// What is known of a job before it begins.
fn begin(job: &Job) -> Record {
    Record::Job {
        job: job.name.clone(),
        expected: job.expect.unwrap_or(Verdict::Success),
        faults: super::recording::owned(job.faults),
        either: super::recording::owned(job.either),
        may: super::recording::owned(job.may),
    }
}

/// All that there is to say of a job. No field is left out: the compiler sees to it.
fn all(record: JobRecord) -> Vec<Record> {
    let JobRecord {
        name: job,
        verdict,
        expected,
        problem,
        also,
        faults,
        either,
        may,
        not_shown,
        seconds,
        evidence,
        no_witness: why_none,
        wire,
        free_mib,
        low_pages,
        dom0,
        store,
        taken,
        stages,
        suites,
        figures,
        failing,
        backtrace: lines,
        ranges,
        map,
        console,
    } = record;
    let name = || job.clone();
    let mut all = vec![Record::Job { job: name(), expected, faults, either, may }];
    all.extend((1..).zip(console).map(|(number, line)| of_line(&job, number, line)));
    all.extend(stages.into_iter().map(|stage| Record::Stage { job: name(), stage }));
    all.extend(suites.into_iter().flat_map(|suite| of_suite(&job, suite)));
    all.extend(ranges.into_iter().map(|range| Record::Range { job: name(), range }));
    all.extend(map.into_iter().map(|map| Record::Map { job: name(), map }));
    if evidence.is_some() || why_none.is_some() {
        all.push(Record::Witness { job: name(), evidence, why_none });
    }
    if free_mib.is_some() || low_pages.is_some() || dom0.is_some() {
        all.push(Record::Memory { job: name(), free_mib, low_pages, dom0 });
    }
    all.extend(wire.map(|wire| Record::Wire { job: name(), wire }));
    let stored = store.into_iter();
    all.extend(stored.map(|(key, value)| Record::Store { job: name(), key, value }));
    all.extend(figures.into_iter().map(|figures| Record::Figures { job: name(), figures }));
    all.extend(failing.map(|failing| Record::Failing { job: name(), failing }));
    if !lines.is_empty() {
        all.push(Record::Backtrace { job: name(), lines });
    }
    let problems = problem.into_iter().chain(also);
    all.extend(problems.map(|problem| Record::Problem { job: name(), problem }));
    all.push(Record::End { job: name(), verdict, seconds, taken, not_shown });
    all
}

fn of_line(job: &str, number: usize, line: LineRecord) -> Record {
    let LineRecord { at, text } = line;
    Record::Line { job: job.to_owned(), number, at, text }
}

/// Its checks, and then what it came to.
fn of_suite(job: &str, suite: SuiteRecord) -> Vec<Record> {
    let SuiteRecord { name, verdict, reason, at, seconds, checks } = suite;
    let checks = checks.into_iter();
    let mut all: Vec<_> = checks.map(|check| of_check(job, &name, check)).collect();
    all.push(Record::Suite { job: job.to_owned(), name, verdict, reason, at, seconds });
    all
}

fn of_check(job: &str, suite: &str, check: CheckRecord) -> Record {
    Record::Check { job: job.to_owned(), suite: suite.to_owned(), check }
}

//! The reading half: a stream back to the run's record. A file is anybody's: what is wrong in it is said with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::super::record::{JobRecord, LineRecord, RunRecord, SuiteRecord};
use super::{Record, SCHEMA, VERSION};
use crate::error::{Context, Error, Result};
use crate::judge::{Problem, Verdict};

/// What a line may have: the longest is a check's, of some hundreds.
const LONGEST: u64 = 1 << 20;
/// Jobs that a run may have.
const JOBS: usize = 10_000;

/// Whether these are the first bytes of such a file.
pub(crate) fn is_stream(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{\"record\":")
}

/// The run that a file tells of.
pub(crate) fn read(path: &Path) -> Result<RunRecord> {
    let mut file = BufReader::new(File::open(path).on("open", path)?);
    let mut run = Run::default();
    for number in 1.. {
        let mut line = Vec::new();
        let length = file.by_ref().take(LONGEST).read_until(b'\n', &mut line).on("read", path)?;
        // A line without its end was being written when the run was cut off.
        if length == 0 || (line.last() != Some(&b'\n') && length as u64 != LONGEST) {
            break;
        }
        run.line(&line, number == 1).map_err(|what| {
            let remedy = "make the reports of a file as the rig wrote it, or take that line out";
            Error::unfit(format!("{}, line {number}: {what}", path.display()), remedy)
        })?;
    }
    run.finish().map_err(|what| {
        let remedy = "name a records.jsonl of a run's folder";
        Error::unfit(format!("{}: {what}", path.display()), remedy)
    })
}

/// What is wrong, without its place.
type Said<T = ()> = std::result::Result<T, String>;

/// A run under way.
#[derive(Default)]
struct Run {
    run: RunRecord,
    known: bool,
    // Jobs by their names, with when they began.
    jobs: BTreeMap<String, (usize, JobRecord)>,
    ended: BTreeSet<String>,
    // The suites that have ended.
    closed: BTreeMap<String, usize>,
    over: Option<Vec<String>>,
}

impl Run {
    fn line(&mut self, line: &[u8], first: bool) -> Said {
        if line.len() as u64 == LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        let record: Record = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        match record {
            Record::Schema { schema, version } if first => {
                return match (&*schema, version) {
                    (SCHEMA, VERSION) => Ok(()),
                    (SCHEMA, version) => Err(format!("version {version}, not {VERSION}")),
                    _ => Err(format!("`{schema}`, not {SCHEMA}")),
                };
            }
            _ if first => return Err("it does not begin with its schema".to_owned()),
            Record::Schema { .. } => return Err("a second schema".to_owned()),
            Record::Run { name, started, machine, image_bytes } => {
                self.known = true;
                self.run = RunRecord { name, started, machine, image_bytes, ..self.run.clone() };
            }
            Record::Comparison { comparison } => self.run.comparison = Some(comparison),
            Record::Changes { changes } => self.run.changes = Some(changes),
            Record::Over { jobs } => self.over = Some(jobs),
            Record::Unknown => {}
            of_job => return self.of_job(of_job),
        }
        Ok(())
    }

    fn of_job(&mut self, record: Record) -> Said {
        if let Record::Job { job: name, expected, faults, either, may } = record {
            if self.jobs.len() >= JOBS {
                return Err(format!("more than {JOBS} jobs"));
            }
            let begun = self.jobs.len();
            let job = JobRecord { expected, faults, either, may, ..JobRecord::new(&name) };
            self.ended.remove(&name);
            self.closed.remove(&name);
            let begun = self.jobs.get(&name).map_or(begun, |(begun, _)| *begun);
            self.jobs.insert(name, (begun, job));
            return Ok(());
        }
        let name = record.job().unwrap_or_default().to_owned();
        let Some((_, job)) = self.jobs.get_mut(&name) else {
            return Err(format!("job `{name}` has not begun"));
        };
        match record {
            Record::Line { number, at, text, .. } if number == job.console.len() + 1 => {
                job.console.push(LineRecord { at, text });
            }
            Record::Line { number, .. } => {
                let last = job.console.len();
                return Err(format!("line {number} of {name}'s console after line {last}"));
            }
            Record::Check { suite, check, .. } => {
                open(job, &self.closed, &suite).checks.push(check);
            }
            Record::Suite { name: suite, verdict, reason, at, seconds, .. } => {
                let open = open(job, &self.closed, &suite);
                let checks = std::mem::take(&mut open.checks);
                *open = SuiteRecord { name: suite, verdict, reason, at, seconds, checks };
                self.closed.insert(name, job.suites.len());
            }
            Record::End { verdict, seconds, taken, not_shown, .. } => {
                (job.verdict, job.seconds) = (verdict, seconds);
                (job.taken, job.not_shown) = (taken, not_shown);
                self.ended.insert(name);
            }
            other => put(job, other),
        }
        Ok(())
    }

    fn finish(mut self) -> Said<RunRecord> {
        if !self.known {
            return Err("it does not say what run it is of".to_owned());
        }
        for (name, (_, job)) in &mut self.jobs {
            if !self.ended.contains(name) {
                cut_off(job);
            }
        }
        let mut run = self.run;
        run.over = self.over.is_some();
        run.jobs = match self.over {
            Some(names) => {
                let mut of = |name: &String| {
                    let found = self.jobs.remove(name).map(|(_, job)| job);
                    found.ok_or_else(|| format!("job `{name}` is named at its end and not there"))
                };
                names.iter().map(&mut of).collect::<Said<_>>()?
            }
            None => {
                let mut jobs: Vec<_> = self.jobs.into_values().collect();
                jobs.sort_by_key(|(begun, _)| *begun);
                jobs.into_iter().map(|(_, job)| job).collect()
            }
        };
        Ok(run)
    }
}

/// The suite that runs.
fn open<'j>(
    job: &'j mut JobRecord,
    closed: &BTreeMap<String, usize>,
    suite: &str,
) -> &'j mut SuiteRecord {
    let closed = closed.get(&job.name).copied().unwrap_or(0);
    if job.suites.len() == closed {
        job.suites.push(SuiteRecord::new(suite));
    }
    &mut job.suites[closed]
}

/// What is said of a job in one piece.
fn put(job: &mut JobRecord, record: Record) {
    match record {
        Record::Stage { stage, .. } => job.stages.push(stage),
        Record::Range { range, .. } => job.ranges.push(range),
        Record::Map { map, .. } => job.map.push(map),
        Record::Witness { evidence, why_none, .. } => {
            (job.evidence, job.no_witness) = (evidence, why_none);
        }
        Record::Memory { free_mib, low_pages, dom0, .. } => {
            (job.free_mib, job.low_pages, job.dom0) = (free_mib, low_pages, dom0);
        }
        Record::Wire { wire, .. } => job.wire = Some(wire),
        Record::Store { key, value, .. } => job.store.push((key, value)),
        Record::Figures { figures, .. } => job.figures.push(figures),
        Record::Failing { failing, .. } => job.failing = Some(failing),
        Record::Backtrace { lines, .. } => job.backtrace = lines,
        Record::Problem { problem, .. } if job.problem.is_none() => job.problem = Some(problem),
        Record::Problem { problem, .. } => job.also.push(problem),
        _ => {}
    }
}

/// A job that the run did not see the end of.
fn cut_off(job: &mut JobRecord) {
    let last = job.console.iter().rev().map(|line| line.text.trim()).find(|text| !text.is_empty());
    let last = last.unwrap_or("none at all");
    let detail = format!("the run ended before this job; the guest's last line: {last}");
    let remedy = "run it again; what was seen until then is here";
    job.verdict = Verdict::Error;
    job.also.splice(..0, job.problem.replace(Problem::rig("run-cut", detail, remedy)));
}

impl Record {
    /// The job that it is about.
    fn job(&self) -> Option<&str> {
        match self {
            Self::Job { job, .. }
            | Self::Line { job, .. }
            | Self::Stage { job, .. }
            | Self::Check { job, .. }
            | Self::Suite { job, .. }
            | Self::Range { job, .. }
            | Self::Map { job, .. }
            | Self::Witness { job, .. }
            | Self::Memory { job, .. }
            | Self::Wire { job, .. }
            | Self::Store { job, .. }
            | Self::Figures { job, .. }
            | Self::Failing { job, .. }
            | Self::Backtrace { job, .. }
            | Self::Problem { job, .. }
            | Self::End { job, .. } => Some(job),
            Self::Schema { .. }
            | Self::Run { .. }
            | Self::Comparison { .. }
            | Self::Changes { .. }
            | Self::Over { .. }
            | Self::Unknown => None,
        }
    }
}

//! The writing half: as a run goes, each thing once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::super::reading::Reading;
use super::super::record::{JobRecord, LineRecord, RunRecord};
use super::{RECORDS, Record, SCHEMA, VERSION};
use crate::boot::Watch;
use crate::error::{Context, Result};
use crate::job::Job;

/// The file, under way.
#[derive(Debug)]
pub(crate) struct Stream {
    path: PathBuf,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    file: File,
    head: String,
    jobs: BTreeMap<String, OfJob>,
}

/// What was told of a job.
#[derive(Debug, Default)]
struct OfJob {
    lines: Vec<String>,
    // What of its console is told already.
    reading: Reading,
    stages: usize,
    suites: usize,
    checks: usize,
}

impl Stream {
    /// Begins it with what the run is.
    pub(crate) fn create(folder: &Path, run: &RunRecord) -> Result<Self> {
        let path = folder.join(RECORDS);
        let file = File::create(&path).on("create", &path)?;
        let mut told = Told { file, head: String::new(), jobs: BTreeMap::new() };
        let schema = Record::Schema { schema: SCHEMA.to_owned(), version: VERSION };
        told.write(&schema, &path)?;
        told.head = told.write(&super::head(run), &path)?;
        Ok(Self { path, told: Mutex::new(told) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A job has ended: tells what was not told of it yet, or all of it anew where something else was.
    pub(crate) fn end(&self, record: &JobRecord) -> Result {
        self.with(|told| told.complete(record, &self.path))
    }

    /// The run is over: tells what lacks.
    pub(crate) fn close(&self, run: &RunRecord) -> Result {
        self.with(|told| {
            let head = super::head(run);
            if told.head != encoded(&head, &self.path)? {
                told.head = told.write(&head, &self.path)?;
            }
            for job in &run.jobs {
                told.complete(job, &self.path)?;
            }
            if let Some(comparison) = run.comparison.clone() {
                told.write(&Record::Comparison { comparison }, &self.path)?;
            }
            if let Some(changes) = run.changes.clone() {
                told.write(&Record::Changes { changes }, &self.path)?;
            }
            if !run.over {
                return Ok(());
            }
            let jobs = run.jobs.iter().map(|job| job.name.clone()).collect();
            told.write(&Record::Over { jobs }, &self.path).map(drop)
        })
    }

    fn with(&self, act: impl FnOnce(&mut Told) -> Result) -> Result {
        act(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watch for Stream {
    fn begin(&self, job: &Job) -> Result {
        self.with(|told| {
            let line = told.write(&super::begin(job), &self.path)?;
            let job = told.jobs.entry(job.name.clone()).or_default();
            *job = OfJob { lines: vec![line], ..OfJob::default() };
            Ok(())
        })
    }

    /// With the line go the stages, checks and suites that it completes.
    fn line(&self, job: &str, at: f64, text: &str) -> Result {
        self.with(|told| {
            let records = told.jobs.entry(job.to_owned()).or_default().news(job, at, text);
            for record in records {
                let line = told.write(&record, &self.path)?;
                told.jobs.entry(job.to_owned()).or_default().lines.push(line);
            }
            Ok(())
        })
    }
}

impl Told {
    /// Writes a line, in one piece, and gives it.
    fn write(&mut self, record: &Record, path: &Path) -> Result<String> {
        let line = encoded(record, path)?;
        self.file.write_all(line.as_bytes()).on("write", path)?;
        Ok(line)
    }

    fn complete(&mut self, record: &JobRecord, path: &Path) -> Result {
        let records = super::all(record.clone());
        let lines =
            records.iter().map(|record| encoded(record, path)).collect::<Result<Vec<_>>>()?;
        let told = self.jobs.entry(record.name.clone()).or_default();
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        told.lines.iter().for_each(|line| *known.entry(line).or_default() += 1);
        let mut is_new = |line: &&String| match known.get_mut(line.as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        };
        let lacking: Vec<_> =
            lines.iter().filter(|line| is_new(line)).map(String::as_str).collect();
        // Where something else was told, the job begins again.
        let anew = known.values().any(|left| *left > 0);
        let text = if anew { lines.concat() } else { lacking.concat() };
        *told = OfJob { lines, ..OfJob::default() };
        self.file.write_all(text.as_bytes()).on("write", path)
    }
}

impl OfJob {
    /// What a line of the guest's brings.
    fn news(&mut self, job: &str, at: f64, text: &str) -> Vec<Record> {
        self.reading.line(at, text);
        let line = LineRecord { at, text: text.to_owned() };
        let mut news = vec![super::of_line(job, self.reading.lines(), line)];
        let stages = self.reading.stages().iter().skip(self.stages);
        news.extend(
            stages.map(|stage| Record::Stage { job: job.to_owned(), stage: stage.clone() }),
        );
        self.stages = self.reading.stages().len();
        while let Some((suite, ended)) = self.reading.suite(self.suites) {
            let known = std::mem::replace(&mut self.checks, suite.checks.len());
            if ended {
                news.extend(super::of_suite(job, suite).into_iter().skip(known));
                (self.suites, self.checks) = (self.suites + 1, 0);
                continue;
            }
            let checks = suite.checks.into_iter().skip(known);
            news.extend(checks.map(|check| super::of_check(job, &suite.name, check)));
            break;
        }
        news
    }
}

fn encoded(record: &Record, path: &Path) -> Result<String> {
    let line = serde_json::to_string(record).map_err(std::io::Error::from).on("encode", path)?;
    Ok(line + "\n")
}

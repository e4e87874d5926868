//! What is not as it was in the run before of the same command: verdicts, checks that came or went, times that moved by much.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{JobRecord, RunRecord};
use super::stream::{RECORDS, read};

/// A time has moved if it is less than half, or more than twice of what it was, and by at least as many seconds.
const SECONDS: f64 = 2.0;
/// Changes that are told.
const MOST: usize = 200;

/// What changed since a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangesRecord {
    /// That run's folder.
    pub(crate) before: String,
    /// What changed.
    pub(crate) changes: Vec<ChangeRecord>,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ChangeRecord {
    /// The job.
    pub(crate) job: String,
    /// `suite.check`, `verdict`, or what took that long.
    pub(crate) at: String,
    /// What it was; empty for what was not there.
    pub(crate) was: String,
    /// What it is; empty for what is not there any more.
    pub(crate) is: String,
}

/// What changed since the last run of the same name whose folder is beside this one; `None` if there is none that can be read.
pub(super) fn since_last(folder: &Path, run: &RunRecord) -> Option<ChangesRecord> {
    let last = last(folder, &run.name)?;
    let before = read(&last.join(RECORDS)).ok().filter(|before| before.name == run.name)?;
    let name = last.file_name()?.to_string_lossy().into_owned();
    Some(ChangesRecord { before: name, changes: changes(&before, run) })
}

/// The newest folder of a run of that name that is older than this one. Names begin with the time.
fn last(folder: &Path, name: &str) -> Option<PathBuf> {
    let own = folder.file_name()?.to_str()?.to_owned();
    let is_such = |folder: &str| {
        let rest = folder.splitn(3, '-').nth(2)?.strip_prefix(name)?;
        let number = rest.strip_prefix('-').is_some_and(|rest| rest.parse::<u32>().is_ok());
        (rest.is_empty() || number).then_some(())
    };
    is_such(&own)?;
    let beside = fs::read_dir(folder.parent()?).ok()?.filter_map(|entry| entry.ok());
    let names = beside.filter_map(|entry| entry.file_name().into_string().ok());
    let older = names.filter(|other| *other < own && is_such(other).is_some());
    let found = older.map(|name| folder.with_file_name(name));
    found.filter(|folder| folder.join(RECORDS).is_file()).max()
}

fn changes(before: &RunRecord, now: &RunRecord) -> Vec<ChangeRecord> {
    let mut changes = Vec::new();
    for job in &now.jobs {
        match before.jobs.iter().find(|old| old.name == job.name) {
            Some(old) => of_job(old, job, &mut changes),
            None => changes.push(change(job, "verdict", "", job.verdict.word())),
        }
    }
    let gone = before.jobs.iter().filter(|old| !now.jobs.iter().any(|job| job.name == old.name));
    changes.extend(gone.map(|old| change(old, "verdict", old.verdict.word(), "")));
    changes.truncate(MOST);
    changes
}

fn of_job(old: &JobRecord, now: &JobRecord, changes: &mut Vec<ChangeRecord>) {
    if old.verdict != now.verdict {
        changes.push(change(now, "verdict", old.verdict.word(), now.verdict.word()));
    }
    let (was, is) = (checks(old), checks(now));
    for (at, is) in &is {
        let was = was.get(at).map_or("", String::as_str);
        if was != is {
            changes.push(change(now, at, was, is));
        }
    }
    let gone = was.iter().filter(|(at, _)| !is.contains_key(*at));
    changes.extend(gone.map(|(at, was)| change(now, at, was, "")));
    let mut timed = |at: &str, was: f64, is: f64| {
        if (was - is).abs() >= SECONDS && (was > 2.0 * is || is > 2.0 * was) {
            let [was, is] = [was, is].map(|seconds| format!("{seconds:.1} s"));
            changes.push(change(now, at, &was, &is));
        }
    };
    timed("time", old.seconds, now.seconds);
    for suite in &now.suites {
        let known = old.suites.iter().find(|known| known.name == suite.name);
        known.into_iter().for_each(|known| timed(&suite.name, known.seconds, suite.seconds));
    }
}

/// How each check ended: the verdict, and the code of what is no pass.
fn checks(job: &JobRecord) -> BTreeMap<String, String> {
    let all =
        job.suites.iter().flat_map(|suite| suite.checks.iter().map(move |check| (suite, check)));
    all.map(|(suite, check)| {
        let ended = format!("{} {}", check.verdict, check.code);
        (format!("{}.{}", suite.name, check.name), ended.trim_end().to_owned())
    })
    .collect()
}

fn change(job: &JobRecord, at: &str, was: &str, is: &str) -> ChangeRecord {
    let [job, at, was, is] = [&job.name, at, was, is].map(str::to_owned);
    ChangeRecord { job, at, was, is }
}

#[cfg(test)]
mod tests {
    use super::super::record::{CheckRecord, SuiteRecord};
    use super::super::stream::Stream;
    use super::*;
    use crate::judge::Verdict;

    fn job(name: &str, seconds: f64, checks: &[(&str, Verdict)]) -> JobRecord {
        let check = |(name, verdict): &(&str, Verdict)| CheckRecord {
            name: (*name).to_owned(),
            at: 0.0,
            line: 0,
            verdict: *verdict,
            code: String::new(),
            detail: seconds.to_string(),
            remedy: String::new(),
        };
        let checks = checks.iter().map(check).collect();
        let suites = vec![SuiteRecord { checks, ..SuiteRecord::new("dma") }];
        JobRecord { verdict: Verdict::Success, seconds, suites, ..JobRecord::new(name) }
    }

    fn run(jobs: Vec<JobRecord>) -> RunRecord {
        RunRecord { name: "smoke".into(), jobs, over: true, ..RunRecord::default() }
    }

    #[test]
    fn verdicts_checks_and_times_are_told_and_values_are_not() {
        let (good, bad) = (Verdict::Success, Verdict::Failure);
        let before = run(vec![job("a", 1.0, &[("x", good), ("y", good)]), job("b", 9.0, &[])]);
        let now = run(vec![job("a", 4.5, &[("x", bad), ("z", good)]), job("c", 1.0, &[])]);
        let found = changes(&before, &now);
        let told: Vec<_> = found.iter().map(|c| [&*c.job, &*c.at, &*c.was, &*c.is]).collect();
        let wanted = [
            ["a", "dma.x", "SUCCESS", "FAILURE"],
            ["a", "dma.z", "", "SUCCESS"],
            ["a", "dma.y", "SUCCESS", ""],
            ["a", "time", "1.0 s", "4.5 s"],
            ["c", "verdict", "", "SUCCESS"],
            ["b", "verdict", "SUCCESS", ""],
        ];
        assert_eq!(told, wanted);
        assert_eq!(changes(&before, &before), []);
        assert_eq!(changes(&run(vec![job("a", 1.0, &[])]), &run(vec![job("a", 2.5, &[])])), []);
    }

    #[test]
    fn it_is_the_last_run_of_the_same_command() {
        let runs = tempfile::tempdir().unwrap();
        let record = run(vec![]);
        for name in ["20260101-000000-smoke", "20260102-000000-smoke-2", "20260103-000000-dom0"] {
            let folder = runs.path().join(name);
            fs::create_dir(&folder).unwrap();
            Stream::create(&folder, &record).unwrap().close(&record).unwrap();
        }
        fs::create_dir(runs.path().join("20260103-000000-smoke")).unwrap();
        let since = |name: &str| since_last(&runs.path().join(name), &record);
        assert_eq!(since("20260104-000000-smoke").unwrap().before, "20260102-000000-smoke-2");
        assert_eq!(since("20260102-000000-smoke").unwrap().before, "20260101-000000-smoke");
        assert_eq!(since("20260101-000000-smoke"), None);
        assert_eq!(since("20260104-000000-judge"), None);
    }
}

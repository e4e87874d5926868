//! `judge LOG…`: the verdict on runs that the rig did not see, from the serial logs of their machines; or the reports of a
//! run anew, from its records.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::Utc;

use super::workbench::run_folder;
use crate::boot::guest_log;
use crate::console::{LoggedRun, runs};
use crate::error::{Context, Error, Result};
use crate::report::{self, JobRecord, RunRecord, Stream};

pub(super) fn run(logs: &[PathBuf]) -> Result<ExitCode> {
    let now = Utc::now();
    if let [log] = logs
        && starts_as_records(log)?
    {
        let run = report::read(log)?;
        let folder = run_folder(&format!("{}-judge", now.format("%Y%m%d-%H%M%S")))?;
        return conclude(run, &folder);
    }
    let found = apart(logs.iter().map(|log| read(log)).collect::<Result<Vec<_>>>()?.concat());
    let folder = run_folder(&format!("{}-judge", now.format("%Y%m%d-%H%M%S")))?;
    let machine = found.iter().find_map(|(_, run)| run.banner()).unwrap_or("an unknown guest");
    let machine = format!("serial logs of {machine}");
    let jobs = found.into_iter().map(|(name, run)| judge(&name, run, None, &folder));
    let run = RunRecord {
        name: "judge".to_owned(),
        started: now.format("%Y-%m-%d %H:%M:%S").to_string(),
        machine,
        image_bytes: 0,
        jobs: jobs.collect::<Result<_>>()?,
        over: true,
        ..RunRecord::default()
    };
    conclude(run, &folder)
}

/// The reports, in a folder of their own.
fn conclude(run: RunRecord, folder: &Path) -> Result<ExitCode> {
    let stream = Stream::create(folder, &run)?;
    let run = report::write(run, &stream)?;
    report::print(&run, folder);
    Ok(ExitCode::from(run.worst().exit_code()))
}

/// Whether a file is not a log but a run's records.
fn starts_as_records(file: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let opened = fs::File::open(file).on("read", file)?;
    opened.take(64).read_to_end(&mut start).on("read", file)?;
    Ok(report::is_stream(&start))
}

/// The records of the runs in a console's bytes, none or several, each with so many devices; their logs are in the folder.
pub(super) fn records(
    name: &str,
    console: &[u8],
    devices: usize,
    folder: &Path,
) -> Result<Vec<JobRecord>> {
    let named = numbered(name, runs(console));
    named.into_iter().map(|(name, run)| judge(&name, run, Some(devices), folder)).collect()
}

/// The runs in a log, with names for their files.
fn read(log: &Path) -> Result<Vec<(String, LoggedRun)>> {
    let found = runs(&fs::read(log).on("read", log)?);
    if found.is_empty() {
        return Err(Error::unfit(
            format!("{} has no line of a report of pvbounce", log.display()),
            "log the console that the guest prints to, from before it starts until it has ended",
        ));
    }
    Ok(numbered(&name(log), found))
}

/// Each with a name of its own.
fn numbered(name: &str, runs: Vec<LoggedRun>) -> Vec<(String, LoggedRun)> {
    let single = runs.len() == 1;
    let name = |n| if single { name.to_owned() } else { format!("{name}-{n}") };
    runs.into_iter().zip(1..).map(|(run, n)| (name(n), run)).collect()
}

/// Names a run after its place where another log has the same name: each has files of its own.
fn apart(mut found: Vec<(String, LoggedRun)>) -> Vec<(String, LoggedRun)> {
    let mut known = BTreeSet::new();
    for (index, (name, _)) in found.iter_mut().enumerate() {
        if !known.insert(name.clone()) {
            *name = format!("{index}-{name}");
            known.insert(name.clone());
        }
    }
    found
}

/// The log's name, with only what any file system and any reader of reports takes.
fn name(log: &Path) -> String {
    let stem = log.file_stem().unwrap_or_default().to_string_lossy();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    stem.chars().map(safe).collect()
}

/// Keeps what each said beside the reports, then judges it.
fn judge(name: &str, run: LoggedRun, devices: Option<usize>, folder: &Path) -> Result<JobRecord> {
    for (file, lines) in [(guest_log(name), &run.guest), (format!("xen-{name}.log"), &run.xen)] {
        let path = folder.join(file);
        fs::write(&path, lines.join("\n") + "\n").on("write", &path)?;
    }
    Ok(report::logged(name, run, devices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_file() {
        assert_eq!(name(Path::new("/x/board 1: ../a b.log")), "a-b");
        assert_eq!(name(Path::new("ser\u{e4}l<1>.txt")), "ser-l-1-");
    }

    #[test]
    fn a_log_without_a_run_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "Linux version 6.12\n").unwrap();
        let error = read(file.path()).unwrap_err();
        assert!(error.to_string().contains("has no line of a report"));
        assert!(error.remedy().unwrap().contains("from before it starts"));
    }

    #[test]
    fn several_runs_of_one_log_have_names_apart() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "KTAP version 1\nTest result: SKIP\nKTAP version 1\n").unwrap();
        let names: Vec<_> = read(file.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        let stem = name(file.path());
        assert_eq!(names, [format!("{stem}-1"), format!("{stem}-2")]);
    }

    #[test]
    fn logs_of_the_same_name_have_files_apart() {
        let found = ["a", "b", "a", "a"].map(|name| (name.to_owned(), LoggedRun::default()));
        let names: Vec<_> = apart(found.to_vec()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "2-a", "3-a"]);
    }
}

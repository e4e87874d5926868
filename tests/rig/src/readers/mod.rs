//! What others' programs make of a run: each rule here is what such a program does, by its documentation or its source, which
//! is named. docs/testing.md says how to give them a run; the tests below take from it what it tells people to write.
//!
//! Where the program itself can be had, `./run.sh test --deep` runs it on what a run has left: see [`kunit`] and [`junit`].

mod junit;
mod kunit;

use std::fs;
use std::path::{Path, PathBuf};

use crate::artifacts::Release;
use crate::checks::Tally;
use crate::console::runs;
use crate::error::{Context, Result};
use crate::progress::Stage;
use crate::report::RunRecord;
use protocol::report::ktap::{Parser, Report};

/// Gives a run's consoles and its `junit.xml` to the programs that others read such with.
pub(crate) fn deep(release: &Release, folder: &Path, run: &RunRecord) -> Result<Tally> {
    let mut tally = Tally::default();
    let reports = reports(folder)?;
    match kunit::Program::ensure(release)? {
        Ok(program) => {
            let stage = Stage::start("deep", "kunit.py");
            let wrong = kunit::wrong(&program, &reports)?;
            tally.one(&format!("kunit.py on {} reports", reports.len()), wrong.is_empty());
            stage.done([&["kunit.py".to_owned()], &wrong[..]].concat().join("\n    "));
        }
        Err(why) => skip(&mut tally, &format!("kunit.py: {why}")),
    }
    match junit::wrong(&folder.join("junit.xml"), run)? {
        Ok(wrong) => {
            Stage::start("deep", "junitparser").done(format!("junitparser {}", wrong.join("; ")));
            tally.one("junitparser on junit.xml", wrong.is_empty());
        }
        Err(why) => skip(&mut tally, &format!("junitparser: {why}")),
    }
    Ok(tally)
}

fn skip(tally: &mut Tally, why: &str) {
    tally.skipped += 1;
    Stage::start("deep", why).done(format!("skipped: {why}"));
}

/// Each console and serial line in a folder, and below it, that has a whole report: the file, and its first report.
fn reports(folder: &Path) -> Result<Vec<(PathBuf, Report)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).on("read", folder)? {
        let path = entry.on("read", folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_console = ["guest-", "serial-"].iter().any(|kind| name.starts_with(kind));
        if path.is_dir() && !path.is_symlink() {
            found.extend(reports(&path)?);
        } else if is_console {
            let runs = runs(&fs::read(&path).on("read", &path)?);
            let report = runs.first().map(|run| Parser::read(&run.guest.join("\n")));
            found.extend(report.filter(|report| report.defects.is_empty()).map(|r| (path, r)));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

#[cfg(test)]
mod tests;

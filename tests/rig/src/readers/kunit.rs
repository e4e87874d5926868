//! kunit.py, out of the kernel's sources as the distribution has them (tools/testing/kunit): it reads KTAP from a log, and shows each
//! test that failed with the lines before its result.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use protocol::report::ktap::{Check, Report};
use protocol::report::verdict::Verdict;
use tar::Archive;
use xz2::read::XzDecoder;

use crate::artifacts::{self, Release};
use crate::error::{Context, Result};
use crate::interrupt;
use crate::progress::Stage;

/// Where it lies in the kernel's sources; it looks for them around itself.
const PLACE: &str = "tools/testing/kunit";
/// Bumped when what is kept of it changes.
const FORMAT: &str = "kunit-1";

/// It, in the cache.
#[derive(Debug)]
pub(super) struct Program(PathBuf);

impl Program {
    /// From the cache, or fetched now: 150 MB, of which its scripts are kept. The error says why it can't be had.
    pub(super) fn ensure(release: &Release) -> Result<std::result::Result<Self, String>> {
        if Command::new("python3").arg("--version").output().is_err() {
            return Ok(Err("python3 is not installed".to_owned()));
        }
        let home = artifacts::cache()?.join(release.name).join(FORMAT);
        let program = home.join(PLACE).join("kunit.py");
        if !program.is_file() {
            let stage = Stage::start("fetch", "the kernel's sources, for kunit.py");
            let Some(sources) = artifacts::kernel_sources(release, &stage)? else {
                return Ok(Err(format!("{release} packs the kernel's sources in another way")));
            };
            stage.doing("unpack");
            scripts(&sources.archive, &home)?;
            artifacts::remove(&sources.folder)?;
            stage.done("kunit.py");
        }
        Ok(Ok(Self(std::path::absolute(&program).on("find", &program)?)))
    }

    fn read(&self, log: &Path) -> Result<String> {
        let mut command = Command::new("python3");
        command.arg(&self.0).arg("parse").arg(std::path::absolute(log).on("find", log)?);
        // It fails where the run did.
        let output = command.output().on("start", &self.0)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Keeps its scripts of the whole kernel.
fn scripts(archive: &Path, home: &Path) -> Result {
    let folder = home.join(PLACE);
    fs::create_dir_all(&folder).on("create", &folder)?;
    let mut archive = Archive::new(XzDecoder::new(File::open(archive).on("open", archive)?));
    for entry in archive.entries().on("read", home)? {
        interrupt::check()?;
        let mut entry = entry.on("read", home)?;
        let path = entry.path().on("read", home)?.into_owned();
        let is_one = path.parent().is_some_and(|parent| parent.ends_with(PLACE))
            && path.extension().is_some_and(|extension| extension == "py");
        if let Some(name) = path.file_name().filter(|_| is_one) {
            let place = folder.join(name);
            entry.unpack(&place).on("write", &place)?;
        }
    }
    Ok(())
}

/// What it makes of reports that is not what they say.
pub(super) fn wrong(program: &Program, reports: &[(PathBuf, Report)]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (log, report) in reports {
        interrupt::check()?;
        let said = program.read(log)?;
        let lacking = lacking(&said, report);
        wrong.extend(lacking.into_iter().map(|lack| format!("{}: {lack}", log.display())));
    }
    Ok(wrong)
}

/// What it does not say of a report: how many of its checks there are of each kind, and of what failed why, and what to do.
fn lacking(said: &str, report: &Report) -> Vec<String> {
    let count = |fits: fn(&Check) -> bool| report.checks().filter(|(_, check)| fits(check)).count();
    // It counts a suite that has no checks as one.
    let empty = report.suites.iter().filter(|suite| suite.checks.is_empty()).count();
    let wanted = [
        ("passed", count(|check| check.verdict == Verdict::Success)),
        ("failed", count(|check| !check.verdict.is_ok())),
        ("skipped", count(|check| check.verdict == Verdict::Skip) + empty),
        ("crashed", 0),
        ("errors", 0),
    ];
    let lines: Vec<_> = said.lines().filter_map(|line| line.split_once("] ")).collect();
    let sum = lines.iter().find_map(|(_, line)| line.strip_prefix("Testing complete. "));
    let sum = sum.unwrap_or_default();
    let told = |word: &str| {
        let rest = sum.split_once(&format!("{word}: ")).map_or("0", |(_, rest)| rest);
        rest.split(',').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let counts = wanted.into_iter().filter(|(word, count)| told(word) != *count);
    let mut lacking: Vec<_> =
        counts.map(|(word, count)| format!("{count} {word}, and it says `{sum}`")).collect();
    let mut failed = report.checks().filter(|(_, check)| !check.verdict.is_ok());
    let mut before = Vec::new();
    for (_, line) in lines {
        if let Some(name) = line.strip_prefix("[FAILED] ")
            && let Some((suite, check)) = failed.next()
        {
            let told = |start: &str| before.iter().any(|line: &&str| line.starts_with(start));
            let reason = format!("# reason: {}", check.code);
            let remedied = check.remedy.is_empty() || told("# remedy: ");
            if name != check.name || !told(&reason) || !remedied {
                lacking.push(format!("{}.{} without its reason", suite.name, check.name));
            }
        }
        if line.starts_with(['[', '=']) {
            before.clear();
        }
        before.push(line);
    }
    lacking.extend(failed.map(|(suite, check)| format!("{}.{}", suite.name, check.name)));
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readers::tests::sample;
    use protocol::report::ktap::Parser;

    /// As it prints it, but for what it prints of those that passed.
    const SAID: &str = "\
[18:05:00] ============================================================
[18:05:00] ==================== boot (3 subtests) =====================
[18:05:00] # reason: byte-mismatch: offset 17
[18:05:00] # remedy: look
[18:05:00] [FAILED] copy
[18:05:00] ====================== [FAILED] boot =======================
[18:05:00] ============================================================
[18:05:00] Testing complete. Ran 4 tests: passed: 1, failed: 1, skipped: 2
";

    #[test]
    fn what_it_leaves_out_is_seen() {
        let report = Parser::read(&sample());
        assert_eq!(lacking(SAID, &report), [""; 0]);
        for (old, new, count) in [
            ("passed: 1", "passed: 2", 1),
            (", skipped: 2", "", 1),
            ("skipped: 2", "skipped: 2, errors: 1", 1),
            ("[18:05:00] # remedy: look\n", "", 1),
            ("# reason: byte-mismatch", "# reason: other", 1),
            ("[FAILED] copy", "[PASSED] copy", 1),
            (SAID, "", 4),
        ] {
            let lacking = lacking(&SAID.replace(old, new), &report);
            assert_eq!(lacking.len(), count, "{new}: {lacking:?}");
        }
    }
}

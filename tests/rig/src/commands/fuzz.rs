//! `fuzz`: each target of tests/fuzz under libFuzzer and AddressSanitizer, for as many inputs as told.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use crate::child::{self, Guard};
use crate::error::{Advice, Context, Error, Result};
use crate::judge::Verdict;
use crate::progress::Stage;

use super::nightly::{Nightly, PROJECT};

/// The tool, at the version that the project was made with.
const TOOL: [&str; 2] = ["cargo-fuzz", "0.13.2"];
/// Where everything goes that a run makes.
const OUTPUT: &str = "target/fuzz";
const CORPUS: &str = "tests/fuzz/corpus";
/// Longer inputs find nothing that these do not, and take longer.
const LONGEST: &str = "-max_len=2048";

/// How long each target runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// So many inputs.
    Inputs(u64),
    /// So many seconds.
    Seconds(u64),
}

/// What came of one target.
struct Outcome {
    target: String,
    inputs: u64,
    seconds: f64,
    finding: Option<PathBuf>,
}

pub(super) fn run(effort: Effort, wanted: &[String]) -> Result<ExitCode> {
    let verdict =
        if print(&outcomes(effort, wanted)?) { Verdict::Success } else { Verdict::Failure };
    Ok(ExitCode::from(verdict.exit_code()))
}

/// Runs all targets, prints their table, and says whether none found anything.
pub(super) fn holds(effort: Effort) -> Result<bool> {
    Ok(print(&outcomes(effort, &[])?))
}

fn print(outcomes: &[Outcome]) -> bool {
    println!("{:<10} {:>12} {:>9} {:>9}  findings", "target", "inputs", "seconds", "inputs/s");
    for Outcome { target, inputs, seconds, finding } in outcomes {
        let found = finding.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
        let millis = (seconds * 1000.0).max(1.0);
        let rate = *inputs as f64 * 1000.0 / millis;
        println!("{target:<10} {inputs:>12} {seconds:>9.1} {rate:>9.0}  {found}");
    }
    outcomes.iter().all(|outcome| outcome.finding.is_none())
}

fn outcomes(effort: Effort, wanted: &[String]) -> Result<Vec<Outcome>> {
    let targets = targets(wanted)?;
    let nightly = Nightly::ensure()?;
    let tools = nightly.tool(TOOL)?;
    let stage = Stage::start("build", "libFuzzer's programs, with AddressSanitizer");
    let mut command = nightly.command("cargo");
    command.args(["fuzz", "build", "--fuzz-dir", PROJECT]).env("CARGO_TARGET_DIR", OUTPUT);
    command.env("PATH", tools);
    child::output(&mut command).advise("see the compiler's message above")?;
    stage.done("libFuzzer's programs");
    targets.iter().map(|target| play(target, effort)).collect()
}

/// The targets by the folders of the corpus, or those of them that are wanted.
fn targets(wanted: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(CORPUS).on("read", CORPUS)? {
        all.push(entry.on("read", CORPUS)?.file_name().to_string_lossy().into_owned());
    }
    all.sort();
    match wanted.iter().find(|name| !all.contains(name)) {
        Some(name) => {
            Err(Error::unfit(format!("no target {name}"), format!("one of: {}", all.join(", "))))
        }
        None if wanted.is_empty() => Ok(all),
        None => Ok(wanted.to_vec()),
    }
}

/// Runs one target to its end or its first finding.
fn play(target: &str, effort: Effort) -> Result<Outcome> {
    let [grown, found] = ["corpus", "findings"].map(|kind| Path::new(OUTPUT).join(kind));
    let grown = grown.join(target);
    for folder in [&grown, &found] {
        fs::create_dir_all(folder).on("create", folder)?;
    }
    let log = Path::new(OUTPUT).join(format!("{target}.log"));
    let program = Path::new(OUTPUT).join("x86_64-unknown-linux-gnu/release").join(target);
    let mut command = child::mortal(&program);
    command.arg(match effort {
        Effort::Inputs(inputs) => format!("-runs={inputs}"),
        Effort::Seconds(seconds) => format!("-max_total_time={seconds}"),
    });
    let prefix = format!("-artifact_prefix={}/{target}-", found.display());
    // The fakes' pages are never freed, so that a stale pointer into them stays harmless: no leak.
    command.args([LONGEST, "-timeout=10", "-rss_limit_mb=2048", "-detect_leaks=0", &prefix]);
    command
        .args(["-print_final_stats=1".as_ref(), grown.as_path()])
        .arg(Path::new(CORPUS).join(target));
    command.env("ASAN_OPTIONS", "detect_leaks=0").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(&log).on("create", &log)?);
    let (stage, start) = (Stage::start("fuzz", target), Instant::now());
    let status = follow(Guard::spawn(&mut command)?, &log, &stage)?;
    let seconds = start.elapsed().as_secs_f64();
    let said = Said::read(&log)?;
    let finding = match (status.success(), said.finding) {
        (true, _) => None,
        (false, found) => Some(found.unwrap_or(log)),
    };
    let outcome = Outcome { target: target.to_owned(), inputs: said.inputs, seconds, finding };
    stage.done(format!("{target}: {} inputs", outcome.inputs));
    Ok(outcome)
}

fn follow(mut child: Guard, log: &Path, stage: &Stage) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.wait(std::time::Duration::from_secs(2))? {
            return Ok(status);
        }
        stage.doing(Said::read(log)?.last);
    }
}

/// What a program said of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    inputs: u64,
    finding: Option<PathBuf>,
    last: String,
}

impl Said {
    fn read(log: &Path) -> Result<Self> {
        let mut said = Self::default();
        for line in BufReader::new(File::open(log).on("read", log)?).split(b'\n') {
            said.line(&String::from_utf8_lossy(&line.on("read", log)?));
        }
        Ok(said)
    }

    /// `#1048576  pulse …`, `stat::number_of_executed_units: 7`, `…; Test unit written to FILE`.
    fn line(&mut self, line: &str) {
        let digits = |text: &str| text.split_whitespace().next()?.parse().ok();
        if let Some(inputs) = line.strip_prefix('#').and_then(digits) {
            self.inputs = self.inputs.max(inputs);
            line.clone_into(&mut self.last);
        } else if let Some(inputs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.inputs = digits(inputs).unwrap_or(self.inputs);
        } else if let Some((_, file)) = line.split_once("Test unit written to ") {
            self.finding = Some(PathBuf::from(file.trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzers_words_are_read() {
        let mut said = Said::default();
        for line in [
            "INFO: Seed: 3",
            "#2097152\tpulse  cov: 40 ft: 70 corp: 9/1Kb exec/s: 41943 rss: 60Mb",
            "artifact_prefix='x/'; Test unit written to x/crash-1",
            "stat::number_of_executed_units: 2097199",
        ] {
            said.line(line);
        }
        assert_eq!((said.inputs, said.finding), (2_097_199, Some(PathBuf::from("x/crash-1"))));
        assert!(said.last.ends_with("60Mb"));
    }
}

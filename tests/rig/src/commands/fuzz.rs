//! `fuzz`: each target of tests/fuzz under libFuzzer, those that touch memory under AddressSanitizer, for as many inputs
//! as told.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

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
/// What every program is told. The fakes' pages are never freed, so that a stale pointer into them stays harmless: no
/// leak. Nobody else writes to the corpus meanwhile. Where others have the cores, a look takes seconds, and no input a minute.
const ALWAYS: [&str; 6] = [
    "-timeout=60",
    "-rss_limit_mb=2048",
    "-detect_leaks=0",
    "-reload=0",
    "-print_funcs=0",
    "-print_final_stats=1",
];
/// What AddressSanitizer does without, each of which costs as much as a short story: leaks, frames of functions that
/// have returned, memory freed long ago, and whole backtraces of who allocated what.
const ADDRESS: &str = "detect_leaks=0:detect_stack_use_after_return=0:quarantine_size_mb=8:\
                       malloc_context_size=2:intercept_memcmp=0";

/// How a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    /// Safe code on text and numbers, which no AddressSanitizer would see more of. What is compared is traced, so that
    /// the words it knows are found.
    Parser,
    /// What has or touches memory, under AddressSanitizer. The input chooses among steps, so comparisons tell nothing.
    Story,
}

impl Build {
    const ALL: [Self; 2] = [Self::Parser, Self::Story];

    const fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Story => "story",
        }
    }

    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Parser => &["--sanitizer", "none"],
            Self::Story => &["--sanitizer", "address", "--no-trace-compares"],
        }
    }

    fn folder(self) -> PathBuf {
        Path::new(OUTPUT).join(self.name())
    }
}

/// A target, and the bytes of its longest input: longer ones find nothing that these don't, and take longer.
#[derive(Clone, Copy, Debug)]
struct Target {
    name: &'static str,
    build: Build,
    longest: usize,
}

impl Target {
    const fn parser(name: &'static str, longest: usize) -> Self {
        Self { name, build: Build::Parser, longest }
    }

    const fn story(name: &'static str, longest: usize) -> Self {
        Self { name, build: Build::Story, longest }
    }
}

/// Every target.
const TARGETS: [Target; 22] = [
    Target::parser("acpi", 512),
    Target::story("ahci", 160),
    Target::parser("config", 512),
    Target::story("cplus", 160),
    Target::story("dma", 160),
    Target::story("e1000", 160),
    Target::parser("e820", 512),
    Target::story("edu", 160),
    Target::story("exchange", 96),
    Target::parser("http", 512),
    Target::story("igb", 160),
    Target::parser("ktap", 512),
    Target::parser("net", 512),
    Target::story("nvme", 160),
    Target::parser("options", 512),
    Target::story("pcifront", 160),
    Target::story("pcnet", 160),
    Target::parser("report", 1024),
    Target::story("rtl8139", 160),
    Target::story("store", 256),
    Target::story("virtio", 160),
    Target::story("xhci", 160),
];

/// How long each target runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// So many inputs.
    Inputs(u64),
    /// So many seconds.
    Seconds(u64),
}

/// Inputs that one process plays at most: what a device that does not stop may still write to is kept for good.
const SLICE: u64 = 200_000;

impl Effort {
    /// What the next process is told, after so many inputs and so long; `None` once that was all.
    fn left(self, inputs: u64, took: Duration) -> Option<[String; 2]> {
        let (runs, seconds) = match self {
            Self::Inputs(all) => (all.saturating_sub(inputs).min(SLICE), None),
            Self::Seconds(all) => (SLICE, Some(all.saturating_sub(took.as_secs()))),
        };
        let is_left = runs > 0 && seconds != Some(0);
        // 0 is no bound.
        let seconds = seconds.unwrap_or(0);
        is_left.then(|| [format!("-runs={runs}"), format!("-max_total_time={seconds}")])
    }
}

/// What came of one target.
struct Outcome {
    target: &'static str,
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
    for kind in Build::ALL {
        if targets.iter().any(|target| target.build == kind) {
            build(&nightly, &tools, kind)?;
        }
    }
    targets.into_iter().map(|target| play(target, effort)).collect()
}

fn build(nightly: &Nightly, tools: &OsStr, kind: Build) -> Result {
    let what = format!("libFuzzer's programs, {}", kind.words().join(" "));
    let stage = Stage::start("build", what.as_str());
    let mut command = nightly.command("cargo");
    command.args(["fuzz", "build", "--fuzz-dir", PROJECT]).args(kind.words());
    command.env("CARGO_TARGET_DIR", kind.folder()).env("PATH", tools);
    child::output(&mut command).advise("see the compiler's message above")?;
    stage.done(what);
    Ok(())
}

/// Those that are wanted; all if none is named.
fn targets(wanted: &[String]) -> Result<Vec<Target>> {
    let by_name = |name: &String| {
        TARGETS.into_iter().find(|target| target.name == name).ok_or_else(|| {
            let all = TARGETS.map(|target| target.name).join(", ");
            Error::unfit(format!("no target {name}"), format!("one of: {all}"))
        })
    };
    match wanted {
        [] => Ok(TARGETS.to_vec()),
        names => names.iter().map(by_name).collect(),
    }
}

/// Runs one target to its end or its first finding.
fn play(target: Target, effort: Effort) -> Result<Outcome> {
    let (stage, start) = (Stage::start("fuzz", target.name), Instant::now());
    let (mut inputs, mut finding) = (0, None);
    while finding.is_none()
        && let Some(bounds) = effort.left(inputs, start.elapsed())
    {
        let (more, found) = slice(target, bounds, &stage)?;
        (inputs, finding) = (inputs + more.max(1), found);
    }
    let end = finding.as_ref().map_or_else(String::new, |file| format!(", {}", file.display()));
    stage.done(format!("{}: {inputs} inputs{end}", target.name));
    Ok(Outcome { target: target.name, inputs, seconds: start.elapsed().as_secs_f64(), finding })
}

/// One process: how many inputs it played, and what it found.
fn slice(target: Target, bounds: [String; 2], stage: &Stage) -> Result<(u64, Option<PathBuf>)> {
    let Target { name, build, longest } = target;
    let [grown, found] = ["corpus", "findings"].map(|kind| Path::new(OUTPUT).join(kind));
    let grown = grown.join(name);
    for folder in [&grown, &found] {
        fs::create_dir_all(folder).on("create", folder)?;
    }
    let log = Path::new(OUTPUT).join(format!("{name}.log"));
    let program = build.folder().join("x86_64-unknown-linux-gnu/release").join(name);
    let mut command = child::mortal(&program);
    command.args(bounds).args(ALWAYS).arg(format!("-max_len={longest}"));
    command.arg(format!("-artifact_prefix={}/{name}-", found.display()));
    command.arg(&grown).arg(Path::new(CORPUS).join(name));
    command.env("ASAN_OPTIONS", ADDRESS).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(&log).on("create", &log)?);
    let status = follow(Guard::spawn(&mut command)?, &log, stage)?;
    let said = Said::read(&log)?;
    let finding = match (status.success(), said.finding) {
        (true, _) => None,
        (false, found) => Some(found.unwrap_or(log)),
    };
    Ok((said.inputs, finding))
}

fn follow(mut child: Guard, log: &Path, stage: &Stage) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.wait(Duration::from_secs(2))? {
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
    fn every_folder_of_the_corpus_is_a_targets() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(CORPUS);
        let folders = fs::read_dir(corpus).unwrap();
        let mut names: Vec<String> =
            folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, TARGETS.map(|target| target.name));
    }

    #[test]
    fn only_what_there_is_can_be_wanted() {
        assert_eq!(targets(&[]).unwrap().len(), TARGETS.len());
        assert_eq!(targets(&["store".to_owned()]).unwrap()[0].build, Build::Story);
        assert!(targets(&["stores".to_owned()]).is_err());
    }

    #[test]
    fn a_target_is_played_in_slices_until_it_had_its_inputs_or_its_time() {
        let left = |effort: Effort, inputs, seconds| {
            effort.left(inputs, Duration::from_secs(seconds)).map(|words| words.join(" "))
        };
        let all = Effort::Inputs(SLICE + 7);
        assert_eq!(left(all, 0, 99).unwrap(), "-runs=200000 -max_total_time=0");
        assert_eq!(left(all, SLICE, 99).unwrap(), "-runs=7 -max_total_time=0");
        assert_eq!(left(all, SLICE + 7, 0), None);
        let all = Effort::Seconds(60);
        assert_eq!(left(all, 5, 59).unwrap(), "-runs=200000 -max_total_time=1");
        assert_eq!(left(all, 0, 60), None);
    }

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

//! `matrix`: releases, devices, IOMMUs, memory and the pool's start, so that each two of them meet; a run of the rig's own for
//! each cell, so that the command which repeats one is the one that ran.

mod cells;
mod cover;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::Utc;
use serde::{Deserialize, Serialize};

use super::at_once::{self, Task};
use super::workbench::run_folder;
use crate::artifacts::{self, RELEASES};
use crate::checks::Tally;
use crate::child::{self, Guard};
use crate::cli::Options;
use crate::error::{Context, Error, Result};
use crate::guest::Guest;
use crate::judge::Verdict;
use crate::progress::Stage;

use cells::Cell;

/// What came of the cells so far, in the run's folder: a line each.
const DONE: &str = "matrix.jsonl";
const NAME: &str = "matrix";
/// A cell's own limits end it long before.
const LIMIT: Duration = Duration::from_secs(1800);

/// What came of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    /// Its words on the command line.
    command: String,
    /// What was run, and judged it: guest and rig, each by length and checksum, and whether without KVM.
    made_of: String,
    verdict: Verdict,
    seconds: f64,
    /// Why, if it is not a SUCCESS.
    reason: String,
}

/// What the cells of a run have in common.
struct Shared<'o> {
    options: &'o Options,
    // As they were at the start: a build may replace either before the last cell.
    rig: PathBuf,
    guest: PathBuf,
    sum: String,
    folder: PathBuf,
    earlier: Vec<Outcome>,
    done: Done,
}

/// A cell, and what came of it, or why it was not run.
type Told = (Cell, std::result::Result<Outcome, String>);

pub(super) fn run(options: &Options, quick: bool, resume: bool) -> Result<ExitCode> {
    let cells = if quick { cells::quick() } else { cells::all() };
    let (told, folder) = go(options, cells, quick, resume)?;
    println!();
    told.iter().for_each(print);
    if !quick {
        cells::left_out().for_each(|line| println!("{line}"));
    }
    println!("logs: {}", folder.display());
    // A cell that could not run shows nothing.
    let verdict = |(_, came): &Told| came.as_ref().map_or(Verdict::Skip, |came| came.verdict);
    let worst = told.iter().map(verdict).max().unwrap_or(Verdict::Skip);
    Ok(ExitCode::from(worst.exit_code()))
}

/// The quick form, as a part of `test`.
pub(super) fn quick(options: &Options) -> Result<Tally> {
    let (told, _) = go(options, cells::quick(), true, false)?;
    let mut tally = Tally::default();
    for (cell, came) in &told {
        match came {
            Ok(outcome) => tally.one(&cell.line(), outcome.verdict == Verdict::Success),
            Err(_) => tally.skipped += 1,
        }
    }
    told.iter()
        .filter(|(_, came)| !matches!(came, Ok(o) if o.verdict == Verdict::Success))
        .for_each(print);
    Ok(tally)
}

/// Runs these cells, and says where their logs are.
fn go(
    options: &Options,
    cells: Vec<Cell>,
    may_lack: bool,
    resume: bool,
) -> Result<(Vec<Told>, PathBuf)> {
    let elf = Guest::get(options.guest.as_deref())?.elf;
    let own = std::env::current_exe().on("find", "the rig")?;
    let sum = format!("{} {} {}", artifacts::sum(&elf)?, artifacts::sum(&own)?, options.no_kvm);
    let earlier = if resume { earlier(Path::new("runs"), &sum)? } else { Vec::new() };
    let lacking = lacking(&cells, may_lack)?;
    let folder = run_folder(&format!("{}-{NAME}", Utc::now().format("%Y%m%d-%H%M%S")))?;
    let [rig, guest] = ["rig", "pvbounce"].map(|name| folder.join(name));
    fs::copy(&own, &rig).on("copy", &own)?;
    fs::copy(&elf, &guest).on("copy", &elf)?;
    let done = Done::create(&folder)?;
    let shared = Shared { options, rig, guest, sum, folder, earlier, done };
    let task = |(number, cell): (usize, Cell)| -> Task<'_, Told> {
        let (shared, lacking) = (&shared, &lacking);
        Box::new(move || {
            let came = match lacking.iter().find(|(release, _)| *release == cell.release) {
                Some((_, why)) => Err(why.clone()),
                None => Ok(shared.cell(number, &cell)?),
            };
            Ok((cell, came))
        })
    };
    let machines = options.machines.unwrap_or_else(at_once::fitting);
    let told = at_once::run(machines, cells.into_iter().enumerate().map(task).collect())?;
    Ok((told, shared.folder))
}

impl Shared<'_> {
    /// Runs a cell, unless an earlier run did.
    fn cell(&self, number: usize, cell: &Cell) -> Result<Outcome> {
        let known = self.earlier.iter().find(|known| known.command == command(cell));
        let outcome = match known {
            Some(known) => known.clone(),
            None => self.run(cell, &self.folder.join(format!("{number:02}.log")))?,
        };
        self.done.note(&outcome)?;
        Ok(outcome)
    }

    /// As anybody would by hand, with what is printed in a log.
    fn run(&self, cell: &Cell, log: &Path) -> Result<Outcome> {
        let stage = Stage::start("run", cell.line());
        let start = Instant::now();
        let output = File::create(log).on("create", log)?;
        let errors = output.try_clone().on("open", log)?;
        let mut rig = child::mortal(std::path::absolute(&self.rig).on("find", &self.rig)?);
        rig.args(cell.words()).arg("--guest").arg(&self.guest);
        let Options { no_kvm, cold, .. } = self.options;
        rig.args(no_kvm.then_some("--no-kvm")).args(cold.then_some("--cold"));
        rig.stdin(Stdio::null()).stdout(output).stderr(errors);
        let verdict = match Guard::spawn(&mut rig)?.wait(LIMIT)? {
            None => Verdict::Timeout,
            Some(status) => status.code().and_then(Verdict::of_exit_code).unwrap_or(Verdict::Error),
        };
        let seconds = start.elapsed().as_secs_f64();
        stage.done(format!("{}  {verdict}", cell.line()));
        let said = fs::read_to_string(log).on("read", log)?;
        let reason = if verdict == Verdict::Success { String::new() } else { reason(&said) };
        Ok(Outcome { command: command(cell), made_of: self.sum.clone(), verdict, seconds, reason })
    }
}

/// Gets the packages of all cells, here, so that no cell's time is the network's. Where some may lack: the releases whose
/// packages can't be had, and why.
fn lacking(cells: &[Cell], may_lack: bool) -> Result<Vec<(&'static str, String)>> {
    let mut lacking = Vec::new();
    for release in RELEASES.iter().filter(|one| cells.iter().any(|cell| cell.release == one.name)) {
        match artifacts::ensure(release) {
            Ok(_) => {}
            Err(error) if may_lack && !matches!(error, Error::Interrupted) => {
                lacking.push((release.name, format!("its packages can't be had: {error}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(lacking)
}

fn print((cell, came): &Told) {
    match came {
        Err(why) => println!("{}  SKIP: {why}", cell.line()),
        Ok(Outcome { verdict, seconds, reason, command, .. }) => {
            println!("{}  {verdict:<12} {seconds:>6.1} s", cell.line());
            if *verdict != Verdict::Success {
                println!("    {reason}\n    ./run.sh {command}");
            }
        }
    }
}

fn command(cell: &Cell) -> String {
    cell.words().join(" ")
}

/// What a run said of why it is no SUCCESS: the lines after its table, or an error of the rig's.
fn reason(said: &str) -> String {
    let is_head = |line: &&str| {
        let mut words = line.split(' ');
        words.next().and_then(Verdict::of_word).is_some() && words.next() == Some("in")
    };
    let mut lines = said.lines().skip_while(|line| !is_head(line));
    let head = lines.next().map(|head| format!("{head}: {}", lines.next().unwrap_or("").trim()));
    let error = || said.lines().find(|line| line.starts_with("error: ")).map(str::to_owned);
    head.or_else(error).unwrap_or_else(|| child::tail(said, 1))
}

/// The cells that were a SUCCESS in earlier runs with this guest and this rig. Others may have been the host's doing, and are run again.
fn earlier(runs: &Path, made_of: &str) -> Result<Vec<Outcome>> {
    let Ok(entries) = fs::read_dir(runs) else { return Ok(Vec::new()) };
    let files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path().join(DONE))).collect();
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let mut found: Vec<Outcome> = Vec::new();
    for text in texts {
        // The last line of one that was killed may be half a line.
        let outcomes = text.lines().filter_map(|line| serde_json::from_str::<Outcome>(line).ok());
        let good = |one: &Outcome| one.made_of == made_of && one.verdict == Verdict::Success;
        found.extend(outcomes.filter(good));
    }
    Ok(found)
}

/// The file of what was done.
struct Done(Mutex<File>, PathBuf);

impl Done {
    fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(DONE);
        Ok(Self(Mutex::new(File::create(&path).on("create", &path)?), path))
    }

    fn note(&self, outcome: &Outcome) -> Result {
        let line = serde_json::to_string(outcome).map_err(std::io::Error::from);
        let line = line.on("encode", &self.1)?;
        let mut file = self.0.lock().map_err(|_| Error::unfit("a cell panicked", "see above"))?;
        writeln!(file, "{line}").on("write", &self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(command: &str, made_of: &str, verdict: Verdict) -> Outcome {
        let (command, made_of) = (command.to_owned(), made_of.to_owned());
        Outcome { command, made_of, verdict, seconds: 1.0, reason: String::new() }
    }

    #[test]
    fn an_interrupted_run_goes_on_with_what_was_done_with_the_same_guest() {
        let runs = tempfile::tempdir().unwrap();
        for (name, outcomes) in [
            (
                "1-matrix",
                vec![outcome("a", "new", Verdict::Failure), outcome("b", "old", Verdict::Success)],
            ),
            ("2-matrix", vec![outcome("c", "new", Verdict::Success)]),
        ] {
            let folder = runs.path().join(name);
            fs::create_dir(&folder).unwrap();
            let done = Done::create(&folder).unwrap();
            outcomes.iter().for_each(|one| done.note(one).unwrap());
            let mut file = File::options().append(true).open(folder.join(DONE)).unwrap();
            file.write_all(b"{\"command\":\"d").unwrap();
        }
        let known = earlier(runs.path(), "new").unwrap();
        assert_eq!(known, [outcome("c", "new", Verdict::Success)]);
    }

    #[test]
    fn the_reason_is_the_runs_own() {
        let said = "smoke-late  SKIP  1.0 s  no IOMMU in this machine\n  net   SKIP\n\nSKIP in smoke-late: pci no-driver\n  no driver for it\n  remedy: x\n";
        assert_eq!(reason(said), "SKIP in smoke-late: pci no-driver: no driver for it");
        assert_eq!(reason("x\nerror: no disk\n  remedy: y\n"), "error: no disk");
        assert_eq!(reason(""), "");
    }
}

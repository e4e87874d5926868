//! The host tests with one mutant after the other, as many at once as there are cores.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::switched::{self, Source, Switched};
use super::{Fate, LIBRARY, Mutant, PACKAGES, Package, singly};
use crate::child::{self, Guard};
use crate::error::{Error, Result};
use crate::progress::Stage;

/// Unit tests and tests through the public API.
const BUILD: [&str; 4] = ["build", "--profile", "mutants", "--tests"];
/// Tests of the source's text, which is another one in the copy.
const OF_TEXT: [&str; 3] = ["docs-", "imports-", "waits-"];
/// A mutant that is this much slower than the source will not end.
const PATIENCE: u32 = 5;
const LEAST_PATIENCE: Duration = Duration::from_secs(5);
/// What the source may take for each of its programs.
const UNMEASURED: Duration = Duration::from_secs(120);
/// All tests of a program.
const WHOLE: &str = "";
/// One that sleeps takes none of the processor's time; it has this many times as much of everybody's.
const ASLEEP: u32 = 20;
/// `SIGXCPU`: the processor's time is over.
const TOO_LONG: i32 = 24;
/// What a mutant may take of the host's memory.
const MEMORY: &str = "--as=4294967296";

/// A test program, and how long it takes.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    package: &'static Package,
    has_units: bool,
    /// Alone, and its tests of one module.
    takes: BTreeMap<String, Duration>,
}

/// What became of each.
pub(super) fn run(mutants: &[Mutant]) -> Result<Vec<Fate>> {
    let asked = PACKAGES.iter().filter(|package| {
        package.name == LIBRARY || mutants.iter().any(|mutant| mutant.package == package.name)
    });
    let asked: Vec<&Package> = asked.collect();
    let roots: Vec<&str> = asked.iter().map(|package| package.root).collect();
    let packages = asked.iter().flat_map(|package| ["--package", package.name]);
    let words: Vec<&str> = BUILD.into_iter().chain(packages).collect();
    let switched = Source { mutants, roots: &roots, edits: &[], words: &words }.build()?;
    let programs = measure(&switched, mutants)?;
    let mut fates = all(mutants, &switched.numbers, &programs)?;
    for number in switched.refused {
        fates[number] = mutants[number].is_no_program_when_refused().then_some(Fate::NoProgram);
    }
    singly::the_rest(mutants, fates)
}

/// Runs each program as it is, and each part of it that is asked alone: it has to pass.
fn measure(switched: &Switched, mutants: &[Mutant]) -> Result<Vec<Program>> {
    let stage = Stage::start("mutants", "the tests without a mutant");
    let parts = |package: &str| -> BTreeSet<String> {
        let own = mutants.iter().filter(|mutant| mutant.package == package);
        own.flat_map(|mutant| modules(&mutant.file)).collect()
    };
    let mut programs = Vec::new();
    for path in &switched.programs {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        if OF_TEXT.iter().any(|test| name.starts_with(test)) {
            continue;
        }
        // The tests through the public API are programs of the library's package, and called as their files.
        let own = PACKAGES.iter().find(|package| name.starts_with(&format!("{}-", package.name)));
        let package = own.unwrap_or(&PACKAGES[0]);
        let has_units = own.is_some();
        let mut program =
            Program { path: path.clone(), package, has_units, takes: BTreeMap::new() };
        let parts = if has_units { parts(package.name) } else { BTreeSet::new() };
        for part in parts.into_iter().chain([WHOLE.to_owned()]) {
            let start = Instant::now();
            if program.run(usize::MAX - 1, &part)? != Fate::Survived {
                return Err(Error::unfit(
                    format!("{} fails without any mutant", path.display()),
                    "see `cargo test`; what it needs may lie outside of the tree that git knows",
                ));
            }
            program.takes.insert(part, start.elapsed());
        }
        programs.push(program);
    }
    programs.sort_by_key(|program| program.takes(WHOLE));
    let whole: Duration = programs.iter().map(|program| program.takes(WHOLE)).sum();
    stage.done(format!("{} test programs take {:.1} s", programs.len(), whole.as_secs_f64()));
    Ok(programs)
}

/// Fates of those that are in the programs; the others come as no program.
fn all(
    mutants: &[Mutant],
    numbers: &BTreeSet<usize>,
    programs: &[Program],
) -> Result<Vec<Option<Fate>>> {
    let stage = Stage::start("mutants", "host tests");
    let queue: Vec<usize> = numbers.iter().copied().collect();
    let (next, fates) = (AtomicUsize::new(0), Mutex::new(vec![None; mutants.len()]));
    let work = || -> Result {
        while let Some(&number) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            let fate = one(number, &mutants[number], programs)?;
            if fate == Fate::Survived {
                eprintln!("survived: {}", mutants[number].name);
            }
            if let Ok(mut fates) = fates.lock() {
                fates[number] = Some(fate);
            }
            let done = next.load(Ordering::Relaxed).min(queue.len());
            stage.doing(format!("{done} of {} mutants", queue.len()));
        }
        Ok(())
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended.map(|ended| ended.unwrap_or(Err(Error::Interrupted))).collect::<Result<Vec<()>>>()
    })?;
    stage.done(format!("{} mutants, host tests", queue.len()));
    Ok(fates.into_inner().unwrap_or_default())
}

/// First the unit tests of the mutant's own file and folder, which mostly suffice and take a moment, then all programs, the
/// quick ones first.
fn one(number: usize, mutant: &Mutant, programs: &[Program]) -> Result<Fate> {
    let fitting = programs.iter().filter(|program| match mutant.package.as_str() {
        // Who is built from it.
        "protocol" => true,
        LIBRARY => {
            program.package.name == LIBRARY
                || program.package.name == "rig" && mutant.file.starts_with("src/suites")
        }
        own => program.package.name == own,
    });
    let fitting: Vec<_> = fitting.collect();
    let own = fitting
        .iter()
        .filter(|program| program.has_units && program.package.name == mutant.package);
    let parts: Vec<_> = modules(&mutant.file).collect();
    let first = own.flat_map(|program| parts.iter().map(move |part| (program, part.as_str())));
    for (program, part) in first.chain(fitting.iter().map(|program| (program, WHOLE))) {
        let fate = program.run(number, part)?;
        if fate != Fate::Survived {
            return Ok(fate);
        }
    }
    Ok(Fate::Survived)
}

/// The paths of a file's module, and of the folder's that it is in, as the names of their tests have them: of
/// `src/dma/slots.rs` `dma::slots::` and `dma::`.
fn modules(file: &Path) -> impl Iterator<Item = String> {
    let sources = PACKAGES.iter().filter_map(|package| Path::new(package.root).parent());
    let inside = sources.filter_map(|folder| file.strip_prefix(folder).ok()).next();
    let path = inside.map(|inside| inside.with_extension("")).unwrap_or_default();
    let names: Vec<_> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let names = names.strip_suffix(&["mod".to_owned()]).unwrap_or(&names).to_vec();
    let module = |depth: usize| names[..depth].iter().map(|name| format!("{name}::")).collect();
    let mut modules: Vec<String> = vec![module(names.len()), module(names.len().min(1))];
    modules.dedup();
    modules.into_iter().filter(|module| !module.is_empty())
}

impl Program {
    /// How long it, or a part of it, takes without a mutant; unmeasured, it has its time.
    fn takes(&self, part: &str) -> Duration {
        self.takes.get(part).copied().unwrap_or(UNMEASURED)
    }

    fn run(&self, number: usize, filter: &str) -> Result<Fate> {
        // Of the processor's time: a busy host makes no mutant endless.
        let limit = (self.takes(filter) * PATIENCE).max(LEAST_PATIENCE);
        let mut command = child::mortal("prlimit");
        command.arg(format!("--cpu={}", limit.as_secs())).arg(MEMORY).arg("--");
        // Several at a time, since those that play a host mostly sleep.
        command.arg(&self.path).args(["--test-threads=8", "-q", filter]);
        // The test harness stops at the first failure, which it calls unstable.
        command.args(["-Z", "unstable-options", "--fail-fast"]).env("RUSTC_BOOTSTRAP", "1");
        // What a mutant failed at is nothing to begin the next one with.
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        // Nobody asks for the smallest input that a mutant fails at.
        command.env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command
            .current_dir(switched::tree().join(self.package.folder()))
            .env("MUTANT", number.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(match Guard::spawn(&mut command)?.wait(limit * ASLEEP)? {
            None => Fate::Endless,
            Some(status) if status.signal() == Some(TOO_LONG) => Fate::Endless,
            Some(status) if status.success() => Fate::Survived,
            Some(_) => Fate::Noticed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_knows_the_names_of_its_tests() {
        let names = |file: &str| modules(file.as_ref()).collect::<Vec<_>>();
        assert_eq!(names("src/dma/slots.rs"), ["dma::slots::", "dma::"]);
        assert_eq!(names("src/nic/intel/ring.rs"), ["nic::intel::ring::", "nic::"]);
        assert_eq!(names("protocol/src/options/mod.rs"), ["options::"]);
        assert_eq!(names("tests/rig/src/judge/mod.rs"), ["judge::"]);
        assert_eq!(names("elsewhere.rs"), [""; 0]);
    }
}

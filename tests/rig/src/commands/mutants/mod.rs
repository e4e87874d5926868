//! `mutants`: cargo-mutants' changes to the source, and which of them nothing notices.
//!
//! ```text
//! list      cargo-mutants, .cargo/mutants.toml says of what
//! switched  all of them in one program (tests/mutants), where a number picks one
//! host      the tests, with one number after the other
//! nested    one image, and a domain for each number; a mutant survived whose report is SUCCESS and says what the
//!           source's says
//! singly    what can't be switched (constants): cargo-mutants itself, a build each
//! ```
//! Mutants that change nothing are listed with their reason in .cargo/mutants.toml, and left out by all; one that is no more
//! is told of (`stale`).

mod host;
mod nested;
mod notes;
mod singly;
mod stale;
mod switched;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

use super::nightly::tool_path;
use crate::child;
use crate::cli::Options;
use crate::error::{Context, Error, Result};
use crate::judge::Verdict;

const TOOL: [&str; 2] = ["cargo-mutants", "27.1.0"];
const OUTPUT: &str = "target/mutants";

/// A package with mutants.
#[derive(Debug)]
struct Package {
    name: &'static str,
    /// The root of its program.
    root: &'static str,
    /// Its files, as globs.
    files: &'static [&'static str],
}

/// The guest, as a library.
const LIBRARY: &str = "pvbounce";
/// All of them, the library first; of the rig the part that decides.
const PACKAGES: [Package; 3] = [
    Package { name: LIBRARY, root: "src/lib.rs", files: &["src/**"] },
    Package { name: "protocol", root: "protocol/src/lib.rs", files: &["protocol/src/**"] },
    Package {
        name: "rig",
        root: "tests/rig/src/main.rs",
        files: &["tests/rig/src/judge/**", "tests/rig/src/evidence.rs"],
    },
];

impl Package {
    /// Where its tests run.
    fn folder(&self) -> &'static Path {
        Path::new(self.root).ancestors().nth(2).unwrap_or(Path::new(""))
    }
}

/// Which mutants, and where they run.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Files, as globs; none: all of them.
    pub(crate) files: Vec<String>,
    /// Whether they run as guests.
    pub(crate) nested: bool,
    /// How many of them, drawn; none: all.
    pub(crate) sample: Option<usize>,
    /// What they are drawn with.
    pub(crate) seed: u64,
}

/// A change as cargo-mutants lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mutant {
    name: String,
    package: String,
    file: PathBuf,
    replacement: String,
    span: Span,
    genre: String,
}

/// A part of a file: from the first character to the one after the last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Both count from 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

impl Mutant {
    /// Whether it is another value for a function of type `impl Trait`.
    fn gives_some_type(&self) -> bool {
        self.genre == "FnValue" && self.name.contains("-> impl ")
    }

    /// Whether a refused branch tells of the mutant itself: a value that does not fit a function's type does not fit it in a program
    /// of its own either, while other changes may only be wrong beside the original.
    fn is_no_program_when_refused(&self) -> bool {
        self.genre == "FnValue" && !self.gives_some_type()
    }
}

/// How a mutant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A test failed, or the guest's run was no SUCCESS.
    Noticed,
    /// The guest's run was a SUCCESS, and its report says something that no run of the source says.
    Told,
    /// It did not end in time, which nobody overlooks.
    Endless,
    /// It is no program.
    NoProgram,
    Survived,
}

pub(super) fn run(options: &Options, choice: &Choice) -> Result<ExitCode> {
    let survivors = survivors(options, choice)?;
    let verdict = if survivors.is_empty() { Verdict::Success } else { Verdict::Failure };
    Ok(ExitCode::from(verdict.exit_code()))
}

/// The names of the mutants that survived, after they and the table were printed.
pub(super) fn survivors(options: &Options, choice: &Choice) -> Result<Vec<String>> {
    let _alone = alone()?;
    if choice.files.is_empty() {
        stale::check()?;
    }
    let mutants = choose(list(choice)?, choice);
    let fates = if choice.nested { nested::run(options, &mutants)? } else { host::run(&mutants)? };
    print!("{}", table(&mutants, &fates));
    let survivors = fates.iter().zip(&mutants).filter(|(fate, _)| **fate == Fate::Survived);
    let survivors: Vec<String> = survivors.map(|(_, mutant)| mutant.name.clone()).collect();
    survivors.iter().for_each(|name| println!("survived: {name}"));
    println!("{} of {} mutants survived", survivors.len(), mutants.len());
    Ok(survivors)
}

/// Holds others off as long as it lives: two builds in one folder spoil each other.
fn alone() -> Result<File> {
    fs::create_dir_all(OUTPUT).on("create", OUTPUT)?;
    let path = Path::new(OUTPUT).join("lock");
    let file = File::create(&path).on("create", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::unfit(
            format!("somebody else runs mutants in {OUTPUT}"),
            "wait until that has ended, or use another clone",
        )),
        Err(TryLockError::Error(error)) => Err(error).on("lock", &path),
    }
}

/// A row for each folder of the source.
fn table(mutants: &[Mutant], fates: &[Fate]) -> String {
    let mut rows: BTreeMap<&Path, [usize; 5]> = BTreeMap::new();
    for (mutant, fate) in mutants.iter().zip(fates) {
        let folder = mutant.file.parent().unwrap_or(&mutant.file);
        rows.entry(folder).or_default()[*fate as usize] += 1;
    }
    let head = format!(
        "{:<28} {:>8} {:>8} {:>8} {:>10} {:>9}\n",
        "folder", "noticed", "told", "endless", "no program", "survived"
    );
    let row = |(folder, [noticed, told, endless, none, survived]): (&&Path, &[usize; 5])| {
        let folder = folder.display();
        format!("{folder:<28} {noticed:>8} {told:>8} {endless:>8} {none:>10} {survived:>9}\n")
    };
    head + &rows.iter().map(row).collect::<String>()
}

fn cargo() -> Result<Command> {
    let mut command = Command::new("cargo");
    command.env("PATH", tool_path(TOOL)?);
    // Set by `cargo run` for the rig itself; the mutants' builds would take them for theirs.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Those of the host or those of the guest, as wanted.
fn list(choice: &Choice) -> Result<Vec<Mutant>> {
    let [library, others @ ..] = &PACKAGES;
    let library = listed(library, &choice.files, &[])?;
    let guest_only = switched::guest_only(&library)?;
    let wanted = |(number, _): &(usize, Mutant)| guest_only.contains(number) == choice.nested;
    let library = library.into_iter().enumerate().filter(wanted);
    let mut all: Vec<Mutant> = library.map(|(_, mutant)| mutant).collect();
    for package in others.iter().filter(|_| !choice.nested) {
        all.extend(listed(package, &choice.files, &[])?);
    }
    Ok(all)
}

/// A package's, in the files that are wanted, with further words for cargo-mutants.
fn listed(package: &Package, files: &[String], words: &[&str]) -> Result<Vec<Mutant>> {
    let mut command = cargo()?;
    command.args(["mutants", "--list", "--json", "--package", package.name]);
    command.args(words);
    let default = package.files.iter().copied();
    let wanted = files.iter().map(String::as_str);
    let globs: Vec<&str> = if files.is_empty() { default.collect() } else { wanted.collect() };
    command.args(globs.into_iter().flat_map(|glob| ["--file", glob]));
    let printed = child::output(&mut command)?;
    serde_json::from_str(&printed).map_err(|error| {
        Error::unfit(format!("cargo-mutants listed no JSON: {error}"), "see `cargo mutants --list`")
    })
}

/// Draws the sample: the same seed draws the same mutants of the same source.
fn choose(mut all: Vec<Mutant>, choice: &Choice) -> Vec<Mutant> {
    let Some(count) = choice.sample else { return all };
    let mut state = choice.seed | 1;
    let mut chosen = Vec::new();
    while chosen.len() < count && !all.is_empty() {
        // xorshift64: only has to be spread.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state >> 33).unwrap_or(0) % all.len();
        chosen.push(all.swap_remove(at));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(name: &str) -> Mutant {
        let place = |column| Place { line: 2, column };
        let span = Span { start: place(3), end: place(5) };
        Mutant {
            name: name.into(),
            package: "pvbounce".into(),
            file: "src/dma/x.rs".into(),
            replacement: "==".into(),
            span,
            genre: "BinaryOperator".into(),
        }
    }

    #[test]
    fn a_sample_is_the_same_for_the_same_seed_and_has_none_twice() {
        let all: Vec<Mutant> = ["a", "b", "c", "d"].map(mutant).into();
        let draw = |seed, count| -> Vec<String> {
            let choice = Choice { files: Vec::new(), nested: false, sample: Some(count), seed };
            choose(all.clone(), &choice).into_iter().map(|mutant| mutant.name).collect()
        };
        assert_eq!(draw(7, 2), draw(7, 2));
        let mut every = draw(3, 9);
        every.sort();
        assert_eq!(every, ["a", "b", "c", "d"]);
    }

    #[test]
    fn each_folder_has_a_row() {
        let fates = [Fate::Noticed, Fate::Survived, Fate::Endless];
        let table = table(&["a", "b", "c"].map(mutant), &fates);
        let row = table.lines().nth(1).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["src/dma", "1", "0", "1", "0", "1"]
        );
    }
}

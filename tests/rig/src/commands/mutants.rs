//! `mutants`: cargo-mutants' changes to the source, one at a time, and which of them nothing notices.
//!
//! ```text
//! host      cargo-mutants itself: build and host tests for each mutant; .cargo/mutants.toml says how
//! --nested  what only the guest has: cargo-mutants lists, the rig builds an image of each and runs them as jobs
//!           of one boot; a mutant whose report is SUCCESS survived
//! ```
//! Mutants that change nothing are listed with their reason in .cargo/mutants.toml, and left out by both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::Deserialize;

use super::nightly::tool_path;
use super::smoke::DEFAULT_NIC;
use super::{Bench, smoke};
use crate::child;
use crate::cli::Options;
use crate::error::{Context, Error, Result};
use crate::job::Job;
use crate::judge::Verdict;
use crate::machine::Device;
use crate::peers::Peers;
use crate::progress::Stage;

const TOOL: [&str; 2] = ["cargo-mutants", "27.1.0"];
const OUTPUT: &str = "target/mutants";

/// What only the guest's target has, so that no host test can see it.
const GUEST_ONLY: [&str; 7] = [
    "src/start.rs",
    "src/ending.rs",
    "src/arch/image.rs",
    "src/arch/probe.rs",
    "src/arch/traps.rs",
    "src/xen/hypercall/real/*.rs",
    "src/suites/**",
];

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
#[derive(Clone, Debug, Deserialize)]
struct Mutant {
    name: String,
    file: PathBuf,
    replacement: String,
    span: Span,
}

/// A part of a file: from the first character to the one after the last.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Both count from 1.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

pub(super) fn run(options: &Options, choice: &Choice) -> Result<ExitCode> {
    let survivors = survivors(options, choice)?;
    let verdict = if survivors.is_empty() { Verdict::Success } else { Verdict::Failure };
    Ok(ExitCode::from(verdict.exit_code()))
}

/// The names of the mutants that survived, after they were printed.
pub(super) fn survivors(options: &Options, choice: &Choice) -> Result<Vec<String>> {
    let mutants = choose(list(choice)?, choice);
    let survivors = if choice.nested { nested(options, &mutants)? } else { on_the_host(&mutants)? };
    survivors.iter().for_each(|name| println!("survived: {name}"));
    println!("{} of {} mutants survived", survivors.len(), mutants.len());
    Ok(survivors)
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

fn list(choice: &Choice) -> Result<Vec<Mutant>> {
    let mut command = cargo()?;
    command.args(["mutants", "--list", "--json"]);
    let guest_only = GUEST_ONLY.map(str::to_owned);
    let globs: &[String] =
        if choice.nested && choice.files.is_empty() { &guest_only } else { &choice.files };
    globs.iter().for_each(|glob| {
        command.args(["--file", glob]);
    });
    let printed = child::output(&mut command)?;
    let mut all: Vec<Mutant> = serde_json::from_str(&printed).map_err(|error| {
        Error::unfit(format!("cargo-mutants listed no JSON: {error}"), "see `cargo mutants --list`")
    })?;
    if !choice.nested {
        let guest_only = |file: &Path| GUEST_ONLY.iter().any(|only| file == Path::new(only));
        all.retain(|mutant| !guest_only(&mutant.file));
    }
    Ok(all)
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

fn on_the_host(mutants: &[Mutant]) -> Result<Vec<String>> {
    let stage = Stage::start("mutants", format!("{} mutants, host tests", mutants.len()));
    let mut command = cargo()?;
    command.args(["mutants", "--no-times", "--output", OUTPUT]);
    for mutant in mutants {
        command.args(["--re", &format!("^{}$", escaped(&mutant.name))]);
        // Its mutants that leave a field out are no matter of names: those of other files would all be tried.
        command.arg("--file").arg(&mutant.file);
    }
    fs::create_dir_all(OUTPUT).on("create", OUTPUT)?;
    let ended = child::output(&mut command);
    let missed = Path::new(OUTPUT).join("mutants.out/missed.txt");
    let Ok(missed) = fs::read_to_string(&missed) else {
        return ended.map(|_| Vec::new());
    };
    stage.done(format!("{} mutants", mutants.len()));
    // Its exit code says that some survived, or that some took too long, which is a way to be noticed.
    let chosen = |name: &&str| mutants.iter().any(|mutant| mutant.name == *name);
    Ok(missed.lines().filter(chosen).map(str::to_owned).collect())
}

fn escaped(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " _:/".contains(c);
    name.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

/// Builds the image of each and runs them as the jobs of one boot.
fn nested(options: &Options, mutants: &[Mutant]) -> Result<Vec<String>> {
    let bench = Bench::prepare("mutants", options)?;
    let peers = Peers::start()?;
    let tree = Path::new(OUTPUT).join("tree");
    copy_tree(&tree)?;
    let mut jobs = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let image = bench.folder.join(format!("mutant-{number}.elf"));
        let stage = Stage::start("build", mutant.name.clone());
        let built = build(mutant, &tree, &image)?;
        stage.done(if built {
            mutant.name.clone()
        } else {
            format!("no program: {}", mutant.name)
        });
        if built {
            let (_, device) = smoke::device(DEFAULT_NIC);
            let job = smoke::job(options, device.or(Some(Device::Nic)), &peers);
            let name = format!("mutant-{number}");
            jobs.push(Job { name, image: Some(image), ..job });
        }
    }
    let records = bench.run(options, DEFAULT_NIC, &jobs)?;
    let survived = records.iter().filter(|record| record.is_as_expected());
    let numbers = survived.filter_map(|record| record.name.strip_prefix("mutant-")?.parse().ok());
    Ok(numbers.filter_map(|n: usize| Some(mutants.get(n)?.name.clone())).collect())
}

/// The tree as git knows it, with what is not committed yet.
fn copy_tree(to: &Path) -> Result {
    let files = child::output(Command::new("git").args(["ls-files"]))?;
    for file in files.lines().map(Path::new).filter(|file| file.is_file()) {
        let copy = to.join(file);
        let folder = copy.parent().unwrap_or(to);
        fs::create_dir_all(folder).on("create", folder)?;
        fs::copy(file, &copy).on("copy", file)?;
    }
    Ok(())
}

/// Builds one mutant's image; false when the change is no program.
fn build(mutant: &Mutant, tree: &Path, image: &Path) -> Result<bool> {
    let (source, changed) = (&mutant.file, tree.join(&mutant.file));
    let text = fs::read_to_string(source).on("read", source)?;
    fs::write(&changed, mutant.span.replace(&text, &mutant.replacement)).on("write", &changed)?;
    let mut command = cargo()?;
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--profile",
        "mutants-guest",
        "--bin",
        "pvbounce",
    ]);
    command.args(["--target", "x86_64-unknown-none"]).current_dir(tree);
    command.env("CARGO_TARGET_DIR", std::path::absolute(OUTPUT).on("find", OUTPUT)?);
    let built = child::output(&mut command);
    fs::write(&changed, &text).on("write", &changed)?;
    match built {
        Err(Error::Command { .. }) => Ok(false),
        Err(error) => Err(error),
        Ok(_) => {
            let elf = Path::new(OUTPUT).join("x86_64-unknown-none/mutants-guest/pvbounce");
            let guest = crate::guest::Guest { elf };
            guest.strip(image).map(|_| true)
        }
    }
}

impl Span {
    /// The text with this part of it replaced.
    fn replace(self, text: &str, by: &str) -> String {
        let at = |place: Place| {
            let before: usize = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
            let line = &text[before..];
            let columns = line.char_indices().nth(place.column - 1);
            before + columns.map_or(line.len(), |(at, _)| at)
        };
        [&text[..at(self.start)], by, &text[at(self.end)..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(name: &str) -> Mutant {
        let place = |column| Place { line: 2, column };
        let span = Span { start: place(3), end: place(5) };
        Mutant { name: name.into(), file: "x.rs".into(), replacement: "==".into(), span }
    }

    #[test]
    fn a_part_of_a_text_is_replaced_by_lines_and_characters() {
        let mutant = mutant("");
        assert_eq!(mutant.span.replace("é\nä != ö\n", &mutant.replacement), "é\nä == ö\n");
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
    fn names_are_taken_as_they_are() {
        assert_eq!(escaped("a.rs:1: replace + with *"), r"a\.rs:1: replace \+ with \*");
    }
}

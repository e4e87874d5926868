//! A copy of the tree with all mutants in it (tests/mutants), built until the compiler has nothing against those that are left.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Mutant, OUTPUT, cargo};
use crate::artifacts;
use crate::child;
use crate::error::{Context, Error, Result};
use crate::progress::Stage;

/// The mutants of a tree that was built, by their places in the list.
#[derive(Debug)]
pub(super) struct Switched {
    /// Those that are in it.
    pub(super) numbers: BTreeSet<usize>,
    /// Those that the compiler refused.
    pub(super) refused: BTreeSet<usize>,
    /// The programs that were built.
    pub(super) programs: Vec<PathBuf>,
}

/// What tests/mutants is told.
#[derive(Serialize)]
struct Request<'a> {
    mutants: &'a [Mutant],
    roots: &'a [&'a str],
    refused: &'a BTreeSet<usize>,
}

/// What it says.
#[derive(Deserialize)]
struct Answer {
    switched: BTreeSet<usize>,
    parts: BTreeMap<PathBuf, Vec<Part>>,
}

/// Bytes of a file that belong to mutants.
#[derive(Clone, Debug, Deserialize)]
struct Part {
    start: usize,
    end: usize,
    numbers: Vec<usize>,
}

/// Where the copy is.
pub(super) fn tree() -> PathBuf {
    Path::new(OUTPUT).join("tree")
}

/// A text in a file of the copy, and what comes in its place.
pub(super) type Edit<'a> = (&'a str, [&'a str; 2]);

/// What is built.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) mutants: &'a [Mutant],
    /// The root file of each crate with mutants.
    pub(super) roots: &'a [&'a str],
    pub(super) edits: &'a [Edit<'a>],
    /// What cargo is told, `build` first.
    pub(super) words: &'a [&'a str],
}

impl Source<'_> {
    /// Copies the tree, edits it, puts the mutants in, and builds it.
    pub(super) fn build(&self) -> Result<Switched> {
        // A file that the tree has no more must not be in the copy either.
        artifacts::remove(&tree())?;
        let all = self.mutants.len();
        let stage = Stage::start("build", format!("{all} mutants in one program"));
        // Most is refused by a look at the types, without the tests and without making a program.
        let look = self.words.iter().filter(|word| **word != "--tests");
        let look: Vec<&str> =
            look.map(|word| if *word == "build" { "check" } else { word }).collect();
        // Two values for one `impl Trait` have two types: no place for both.
        let one_type = |(_, mutant): &(usize, &Mutant)| mutant.gives_some_type();
        let mut refused: BTreeSet<usize> =
            self.mutants.iter().enumerate().filter(one_type).map(|(number, _)| number).collect();
        self.sift(&look, &mut refused, &stage)?;
        let (numbers, programs) = self.sift(self.words, &mut refused, &stage)?;
        stage.done(format!("{} of {all} mutants in one program", numbers.len()));
        Ok(Switched { numbers, refused, programs })
    }

    /// Takes out what the compiler refuses until it refuses nothing.
    fn sift(
        &self,
        words: &[&str],
        refused: &mut BTreeSet<usize>,
        stage: &Stage,
    ) -> Result<(BTreeSet<usize>, Vec<PathBuf>)> {
        loop {
            copy_tree(&tree())?;
            self.edits.iter().chain(&UNLOCK).try_for_each(edit)?;
            let answer = switch(&Request { mutants: self.mutants, roots: self.roots, refused })?;
            let (programs, errors) = compile(words)?;
            if errors.is_empty() {
                return Ok((answer.switched, programs));
            }
            let before = refused.len();
            refused.extend(errors.iter().flat_map(|error| culprits(error, &answer.parts)));
            if refused.len() == before {
                return Err(nobodys(errors));
            }
            stage.doing(format!("without {} that are no program", refused.len()));
        }
    }
}

fn nobodys(errors: Vec<Diagnostic>) -> Error {
    let said = errors.into_iter().map(|error| error.rendered.unwrap_or_default());
    let said: String = said.collect();
    Error::unfit(
        format!("no mutant is to blame for this:\n{}", child::tail(&said, 20)),
        format!("see {}; the tree itself builds by `./run.sh build`", tree().display()),
    )
}

fn switch(request: &Request<'_>) -> Result<Answer> {
    ask(tree().as_os_str(), request)
}

/// The places in the list of those that the guest's target alone has.
pub(super) fn guest_only(mutants: &[Mutant]) -> Result<BTreeSet<usize>> {
    ask("guest-only".as_ref(), &Request { mutants, roots: &[], refused: &BTreeSet::new() })
}

/// Has tests/mutants answer.
pub(super) fn ask<T: DeserializeOwned>(what: &OsStr, request: &impl Serialize) -> Result<T> {
    let unreadable = |error: serde_json::Error| {
        Error::unfit(format!("tests/mutants: {error}"), "see `cargo run -p mutants`")
    };
    let text = serde_json::to_vec(request).map_err(unreadable)?;
    fs::create_dir_all(OUTPUT).on("create", OUTPUT)?;
    let file = Path::new(OUTPUT).join("request.json");
    fs::write(&file, text).on("write", &file)?;
    let mut command = cargo()?;
    command.args(["run", "--quiet", "--locked", "--package", "mutants", "--"]);
    command.arg(what).arg(&file);
    serde_json::from_str(&child::output(&mut command)?).map_err(unreadable)
}

/// Lints are for the tree itself; here they would refuse what is only unusual.
const UNLOCK: [Edit<'_>; 3] = [
    ("Cargo.toml", ["[lints]\nworkspace = true\n", ""]),
    ("protocol/Cargo.toml", ["[lints]\nworkspace = true\n", ""]),
    ("tests/rig/Cargo.toml", ["[lints]\nworkspace = true\n", ""]),
];

fn edit((file, [old, new]): &Edit<'_>) -> Result {
    let path = tree().join(file);
    let text = fs::read_to_string(&path).on("read", &path)?;
    if !text.contains(old) {
        return Err(Error::unfit(
            format!("{file} has no `{}`", old.escape_default()),
            "say in tests/rig/src/commands/mutants what it has in its place",
        ));
    }
    fs::write(&path, text.replace(old, new)).on("write", &path)
}

/// One line of cargo's and the compiler's.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    message: Option<Diagnostic>,
}

/// What the compiler has to say.
#[derive(Clone, Debug, Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
    spans: Vec<Spot>,
    #[serde(default)]
    children: Vec<Diagnostic>,
}

/// Where.
#[derive(Clone, Debug, Deserialize)]
struct Spot {
    file_name: PathBuf,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

/// The place whose macro has it.
#[derive(Clone, Debug, Deserialize)]
struct Expansion {
    span: Spot,
}

fn compile(words: &[&str]) -> Result<(Vec<PathBuf>, Vec<Diagnostic>)> {
    let mut command = cargo()?;
    command.args(words).args(["--locked", "--keep-going", "--message-format=json"]);
    command.current_dir(tree()).env("CARGO_TARGET_DIR", absolute("build")?);
    // What tells a constant from a value that is computed while running is a feature of the compiler's own.
    command.env("RUSTC_BOOTSTRAP", "1").stdin(Stdio::null());
    let said = command
        .stderr(Stdio::null())
        .output()
        .map_err(|source| Error::Start { program: "cargo".to_owned(), source })?;
    let text = String::from_utf8_lossy(&said.stdout);
    let messages: Vec<Message> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let errors = messages.iter().filter_map(|message| message.message.clone());
    let mut errors: Vec<Diagnostic> = errors.filter(|error| error.level == "error").collect();
    // `aborting due to 3 previous errors` is nobody's.
    errors.retain(|error| !error.spans.is_empty());
    if errors.is_empty() && !said.status.success() {
        return Err(Error::unfit(
            format!("cargo {} failed in {} without a message", words.join(" "), tree().display()),
            "run it there",
        ));
    }
    let programs = messages.into_iter().filter_map(|message| message.executable);
    Ok((programs.collect(), errors))
}

/// A folder of the output's.
pub(super) fn absolute(name: &str) -> Result<PathBuf> {
    std::path::absolute(Path::new(OUTPUT).join(name)).on("find", OUTPUT)
}

/// Whose fault an error is: of the smallest part around where it shows, else around what it also names.
fn culprits(error: &Diagnostic, parts: &BTreeMap<PathBuf, Vec<Part>>) -> Vec<usize> {
    let children = error.children.iter().flat_map(|child| &child.spans);
    let spots: Vec<&Spot> = error.spans.iter().chain(children).collect();
    let (primary, other): (Vec<&Spot>, Vec<&Spot>) =
        spots.into_iter().partition(|spot| spot.is_primary);
    // An arm with a guard may leave its `match` without an answer, whose head is then the place that is named.
    let is_match = error.message.starts_with("non-exhaustive patterns");
    let found = |spots: &[&Spot]| {
        let found = spots.iter().find_map(|spot| smallest(spot, is_match, parts));
        found.map(|part| part.numbers.clone())
    };
    found(&primary).or_else(|| found(&other)).unwrap_or_default()
}

fn smallest<'a>(
    spot: &Spot,
    is_match: bool,
    parts: &'a BTreeMap<PathBuf, Vec<Part>>,
) -> Option<&'a Part> {
    let of_file = parts.get(&spot.file_name).map_or(&[][..], Vec::as_slice);
    let behind = |part: &&Part| part.start >= spot.byte_end;
    if is_match {
        return of_file.iter().filter(behind).min_by_key(|part| part.start);
    }
    let around = |part: &&Part| part.start <= spot.byte_start && spot.byte_end <= part.end;
    let inside = |part: &&Part| spot.byte_start <= part.start && part.end <= spot.byte_end;
    let size = |part: &&Part| part.end - part.start;
    let found = of_file.iter().filter(around).min_by_key(size);
    // A function's head may be what does not fit its body.
    let found = found.or_else(|| of_file.iter().filter(inside).min_by_key(size));
    found.or_else(|| smallest(&spot.expansion.as_ref()?.span, is_match, parts))
}

/// The tree as git knows it, with what is not committed yet.
fn copy_tree(to: &Path) -> Result {
    let files = child::output(Command::new("git").args(["ls-files", "-co", "--exclude-standard"]))?;
    // The copy lies below the tree, whose settings cargo adds to those of the copy: each linker script once.
    let wanted = |file: &&Path| file.is_file() && *file != Path::new(".cargo/config.toml");
    for file in files.lines().map(Path::new).filter(wanted) {
        let copy = to.join(file);
        let folder = copy.parent().unwrap_or(to);
        fs::create_dir_all(folder).on("create", folder)?;
        fs::copy(file, &copy).on("copy", file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(start: usize, end: usize, is_primary: bool) -> Spot {
        let file_name = PathBuf::from("a.rs");
        Spot { file_name, byte_start: start, byte_end: end, is_primary, expansion: None }
    }

    fn part(start: usize, end: usize, numbers: &[usize]) -> Part {
        Part { start, end, numbers: numbers.to_vec() }
    }

    fn blamed(spots: Vec<Spot>) -> Vec<usize> {
        blamed_for("mismatched types", spots)
    }

    fn blamed_for(message: &str, spans: Vec<Spot>) -> Vec<usize> {
        let parts = vec![part(10, 90, &[1, 2, 3]), part(20, 30, &[1]), part(40, 60, &[2])];
        let parts = BTreeMap::from([(PathBuf::from("a.rs"), parts)]);
        let (level, message) = ("error".into(), message.into());
        let error = Diagnostic { level, message, rendered: None, spans, children: vec![] };
        culprits(&error, &parts)
    }

    #[test]
    fn the_smallest_part_around_an_error_is_to_blame() {
        assert_eq!(blamed(vec![spot(22, 25, true)]), [1]);
        assert_eq!(blamed(vec![spot(35, 38, true)]), [1, 2, 3]);
    }

    #[test]
    fn what_an_error_also_names_counts_when_it_shows_outside() {
        assert_eq!(blamed(vec![spot(95, 99, true), spot(41, 42, false)]), [2]);
        assert_eq!(blamed(vec![spot(22, 25, true), spot(41, 42, false)]), [1]);
    }

    #[test]
    fn an_error_around_parts_is_theirs_and_one_elsewhere_is_nobodys() {
        assert_eq!(blamed(vec![spot(15, 35, true)]), [1, 2, 3]);
        assert_eq!(blamed(vec![spot(0, 100, true)]), [1]);
        let patterns = "non-exhaustive patterns: `B` not covered";
        assert_eq!(blamed_for(patterns, vec![spot(12, 15, true)]), [1]);
        assert_eq!(blamed(vec![spot(95, 99, true)]), [0; 0]);
    }
}

//! The documents against the code: each reason code and each option is explained, and nothing is that isn't there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What a code is the first argument of; `fn code` comes on top.
const OPENERS: [&str; 8] = [
    "Reason::new(",
    "failure(",
    "skip(",
    "all_hold(",
    "error(",
    "refuse(",
    "Problem::rig(",
    "|code| ",
];

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit())
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("tests run in the repository's top folder")
}

/// The files below a folder, without the tests' and the fakes' own.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match path.is_dir() {
            true if name != "fake" && name != "tests" => sources(&path, found),
            false if !name.contains("tests") => found.push(path),
            _ => {}
        }
    }
}

/// The string literal that `text` starts with, after blanks.
fn literal(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix('"')?.split('"').next()
}

/// The codes in one file: what its functions called `code` return, and where a reason is made.
fn codes(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let bodies = text.split("fn code(").skip(1).filter_map(|body| body.split("\n    }\n").next());
    // What follows an arrow, or is the whole body.
    let arms =
        bodies.flat_map(|body| body.split("=> ").chain(body.split("{\n")).filter_map(literal));
    let makers = OPENERS.iter().flat_map(|opener| text.split(opener).skip(1).filter_map(literal));
    arms.chain(makers).filter(|code| is_code(code)).map(str::to_owned).collect()
}

/// The codes in the Linux guest's script: its own all start alike.
fn script_codes(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
    words.filter(|word| word.starts_with("peer-")).map(str::to_owned).collect()
}

/// The codes in the script for a real host: what follows the words that begin a reason.
fn host_codes(text: &str) -> BTreeSet<String> {
    let verdicts =
        ["SKIP", "ERROR", "FAILURE", "CRASH", "TIMEOUT"].map(|v| format!("because {v} "));
    let openers =
        verdicts.iter().map(String::as_str).chain(["lacks ", "kept=\"", "\"ERROR        "]);
    let after = openers.flat_map(|opener| text.split(opener).skip(1));
    let words = after.filter_map(|rest| rest.split([' ', ':', '"']).next());
    // What says where a host lacks something is no code.
    let is_one = |word: &&str| is_code(word) && word.contains('-');
    words.filter(is_one).map(str::to_owned).collect()
}

/// The files of the rig that make codes.
const RIG: [&str; 9] = [
    "tests/rig/src/commands/stick.rs",
    "tests/rig/src/judge/mod.rs",
    "tests/rig/src/judge/ending.rs",
    "tests/rig/src/judge/witness.rs",
    "tests/rig/src/report/record.rs",
    "tests/rig/src/report/stream/read.rs",
    "tests/rig/src/commands/bundle/mod.rs",
    "tests/rig/src/commands/peer.rs",
    "tests/rig/src/commands/host.rs",
];

#[test]
fn every_reason_code_is_explained() {
    let mut files: Vec<_> = RIG.map(PathBuf::from).into();
    ["src", "protocol/src"].iter().for_each(|folder| sources(Path::new(folder), &mut files));
    let mut used: BTreeSet<_> = files.iter().flat_map(|file| codes(&read(file))).collect();
    used.extend(script_codes(&read("tests/rig/src/dom0/peer.sh")));
    let host = host_codes(&read("host/pvbounce.sh"));
    assert!(host.len() > 10, "the search finds only {host:?}");
    used.extend(host);
    used.extend(host_codes(&read("tests/rig/src/commands/host.rs")));
    let document = read("docs/suites.md");
    let (_, table) = document.split_once("## Reason codes").unwrap();
    let rows: Vec<_> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let explained: BTreeSet<_> = rows.iter().map(|&row| row.to_owned()).collect();
    assert!(used.len() > 100, "the search finds only {used:?}");
    assert_eq!(used.difference(&explained).collect::<Vec<_>>(), [""; 0], "not in docs/suites.md");
    assert_eq!(explained.difference(&used).collect::<Vec<_>>(), [""; 0], "not in the source");
    assert!(rows.is_sorted(), "the table is not in order");
}

/// The tests in a file: all of it, or its module of that name.
fn tests_of(path: &Path) -> String {
    let text = read(path);
    let name = path.to_string_lossy();
    let whole = name.contains("tests.rs") || name.contains("/tests/") || !name.contains("src/");
    if whole {
        return text;
    }
    let module =
        text.split_once("#[cfg(test)]\n").and_then(|(_, rest)| rest.split_once("mod tests {"));
    module.map_or_else(String::new, |(_, tests)| tests.to_owned())
}

fn all_tests(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => all_tests(&path, text),
            false if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("docs.rs") => {
                *text += &tests_of(&path);
            }
            false => {}
        }
    }
}

/// Whether a text has the code, and not as a part of another. One of a single word has to stand in quotes.
fn names(text: &str, code: &str) -> bool {
    let quoted = format!("\"{code}\"");
    let apart = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + code.len()..].chars().next();
        let joins = |c: Option<char>| c.is_some_and(|c| c == '-' || c.is_ascii_alphanumeric());
        !joins(before) && !joins(after)
    };
    text.contains(&quoted)
        || code.contains('-') && text.match_indices(code).any(|(at, _)| apart(at))
}

#[test]
fn every_reason_code_is_provoked_or_says_what_would() {
    let document = read("docs/suites.md");
    let (_, table) = document.split_once("## Reason codes").unwrap();
    let codes = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let testing = read("docs/testing.md");
    let (_, section) = testing.split_once("## What provokes each reason code").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (jobs, excused) = section.split_once("| What would provoke it |").unwrap();
    let cells = |text: &str| -> BTreeSet<String> {
        let rows = text.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit("| ").next());
        rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
    };
    let (jobs, excused) = (cells(jobs), cells(excused));
    assert!(jobs.len() > 30 && excused.len() > 30);
    let mut tests = String::new();
    ["src", "protocol", "tests"].iter().for_each(|folder| all_tests(Path::new(folder), &mut tests));
    let (mut nothing, mut twice) = (Vec::new(), Vec::new());
    for code in codes {
        let provoked = jobs.contains(code) || names(&tests, code);
        match (provoked, excused.contains(code)) {
            (false, false) => nothing.push(code),
            (true, true) => twice.push(code),
            _ => {}
        }
    }
    assert_eq!(nothing, [""; 0], "no job of docs/testing.md and no test comes to them");
    assert_eq!(twice, [""; 0], "docs/testing.md says that nothing comes to them");
    let known = |code: &&String| !table.contains(&format!("| `{code}` |"));
    assert_eq!(jobs.union(&excused).filter(known).collect::<Vec<_>>(), [""; 0], "no code");
}

#[test]
fn every_option_of_the_guest_is_explained() {
    let readme = read("README.md");
    for (name, _) in pvbounce::options::KNOWN {
        assert!(readme.contains(&format!("| `{name}=` |")), "{name}= is not in README.md");
    }
}

#[test]
fn every_suite_is_named_where_one_is_chosen() {
    use pvbounce::options::{KNOWN, SUITES, SuiteSet};
    let readme = read("README.md");
    let row = readme.lines().find(|line| line.starts_with("| `suite=` |")).unwrap();
    let list = SUITES.join(",");
    assert!(row.contains(&format!("`{list}`")), "README.md has not {list}: {row}");
    assert!(KNOWN.iter().any(|(name, text)| *name == "suite" && text.ends_with(&list)));
    let menu = read("boot/grub.cfg");
    for suite in SUITES.into_iter().filter(|suite| SuiteSet::SMOKE.contains(suite)) {
        assert!(menu.contains(&format!("suite={suite};")), "{suite} is not in the stick's menu");
    }
}

#[test]
fn who_makes_a_reason_code_stands_in_its_row() {
    let document = read("docs/suites.md");
    let (_, table) = document.split_once("## Reason codes").unwrap();
    let unmarked = |codes: BTreeSet<String>, is_mark: fn(&str) -> bool| {
        let is_marked = |code: &String| {
            let (_, row) = table.split_once(&format!("| `{code}` | ")).unwrap();
            let marks = row.lines().next().unwrap().split('(').skip(1);
            marks
                .filter_map(|mark| mark.split(')').next())
                .flat_map(|mark| mark.split(", "))
                .any(is_mark)
        };
        codes.into_iter().filter(|code| !is_marked(code)).collect::<Vec<_>>()
    };
    let script = host_codes(&read("host/pvbounce.sh"));
    assert_eq!(unmarked(script, |mark| mark == "host"), [""; 0], "not said to be (host)");
    let rig = RIG.iter().flat_map(|file| codes(&read(file))).collect();
    // Or the only command of the rig's that comes to it.
    let is_rig = |mark: &str| mark == "rig" || mark.starts_with('`');
    assert_eq!(unmarked(rig, is_rig), [""; 0], "not said to be (rig)");
}

/// The names in a folder, but hidden ones.
fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn the_map_of_the_tree_has_what_is_there() {
    let readme = read("README.md");
    let (_, map) = readme.split_once("## Map of the tree").unwrap();
    let cells = map.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let paths: Vec<_> = cells.flat_map(|cell| cell.split('`').step_by(2)).collect();
    let mapped: Vec<_> = paths.iter().map(|path| path.trim_end_matches('/')).collect();
    let known = |path: &&str| path.is_empty() || path.contains('*') || Path::new(path).exists();
    assert_eq!(mapped.iter().filter(|path| !known(path)).collect::<Vec<_>>(), [&""; 0], "gone");
    for folder in ["tests", "docs"] {
        let there = names_in(folder).into_iter().map(|name| format!("{folder}/{name}"));
        let lacks = there.filter(|path| !path.ends_with(".rs") && !mapped.contains(&path.as_str()));
        assert_eq!(lacks.collect::<Vec<_>>(), [""; 0], "not in README.md");
    }
    let testing = read("docs/testing.md");
    for suite in names_in("tests").into_iter().map(|name| format!("tests/{name}")) {
        let is_one = Path::new(&suite).join("main.rs").exists();
        assert!(!is_one || testing.contains(&format!("`{suite}`")), "{suite}: docs/testing.md");
    }
}

/// The crates that a manifest names, but those of this tree.
fn crates(manifest: &str) -> BTreeSet<String> {
    let tables = manifest
        .split("\n[")
        .filter(|table| table.lines().next().is_some_and(|name| name.ends_with("dependencies]")));
    let lines =
        tables.flat_map(|table| table.lines().skip(1)).filter(|line| !line.contains("path ="));
    let names = lines.filter_map(|line| Some(line.split_once(" = ")?.0));
    names.filter(|name| !name.starts_with(['#', ' '])).map(str::to_owned).collect()
}

#[test]
fn every_crate_says_what_it_is_there_for() {
    let document = read("docs/architecture.md");
    let (_, section) = document.split_once("\n## Crates\n").unwrap();
    for (manifests, opening) in [
        (&["Cargo.toml"][..], "Guest (`"),
        (&["tests/rig/Cargo.toml"], "Rig (`"),
        (&["tests/speed/Cargo.toml"], "Benchmarks (`"),
        (&["tests/fuzz/Cargo.toml", "tests/fuzz/libfuzzer/Cargo.toml"], "Drawn inputs (`"),
        (&["tests/mutants/Cargo.toml"], "Mutants (`"),
    ] {
        let (_, part) = section.split_once(&format!("\n{opening}")).unwrap();
        let rows = part.lines().skip_while(|line| !line.starts_with('|'));
        let rows = rows.take_while(|line| line.starts_with('|'));
        let first = rows.filter_map(|row| row.split(" | ").next());
        let told: BTreeSet<_> = first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let used: BTreeSet<_> = manifests.iter().flat_map(|file| crates(&read(file))).collect();
        assert!(!used.is_empty(), "{manifests:?}");
        let lacks: Vec<_> = used.iter().filter(|name| !told.contains(name.as_str())).collect();
        assert_eq!(lacks, [""; 0], "{manifests:?}: not in docs/architecture.md");
        // What is of this tree may stand there, too.
        let own = ["pvbounce", "protocol"];
        let gone = told.iter().filter(|name| !used.contains(**name) && !own.contains(name));
        assert_eq!(gone.collect::<Vec<_>>(), [&""; 0], "not in {manifests:?}");
    }
}

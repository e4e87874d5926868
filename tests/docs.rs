//! The documents against the code: each reason code and each option is explained, and nothing is that isn't there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What a code is the first argument of; `fn code` comes on top.
const OPENERS: [&str; 7] =
    ["Reason::new(", "failure(", "skip(", "error(", "refuse(", "Problem::rig(", "|code| "];

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit())
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
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

/// The codes in one file: in the arms of its functions called `code`, and where a reason is made.
fn codes(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let bodies = text.split("fn code(").skip(1).filter_map(|body| body.split("\n    }\n").next());
    let arms = bodies.flat_map(|body| body.split("=> ").skip(1).filter_map(literal));
    let makers = OPENERS.iter().flat_map(|opener| text.split(opener).skip(1).filter_map(literal));
    arms.chain(makers).filter(|code| is_code(code)).map(str::to_owned).collect()
}

#[test]
fn every_reason_code_is_explained() {
    let mut files = vec![PathBuf::from("tests/rig/src/judge/mod.rs")];
    sources(Path::new("src"), &mut files);
    let used: BTreeSet<_> =
        files.iter().flat_map(|f| codes(&fs::read_to_string(f).unwrap())).collect();
    let document = fs::read_to_string("docs/suites.md").unwrap();
    let (_, table) = document.split_once("## Reason codes").unwrap();
    let rows: Vec<_> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let explained: BTreeSet<_> = rows.iter().map(|&row| row.to_owned()).collect();
    assert!(used.len() > 100, "the search finds only {used:?}");
    assert_eq!(used.difference(&explained).collect::<Vec<_>>(), [""; 0], "not in docs/suites.md");
    assert_eq!(explained.difference(&used).collect::<Vec<_>>(), [""; 0], "not in the source");
    assert!(rows.is_sorted(), "the table is not in order");
}

#[test]
fn every_option_of_the_guest_is_explained() {
    let readme = fs::read_to_string("README.md").unwrap();
    for (name, _) in pvbounce::options::KNOWN {
        assert!(readme.contains(&format!("| `{name}=` |")), "{name}= is not in README.md");
    }
}

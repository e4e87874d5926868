//! Patterns of .cargo/mutants.toml that leave nothing out any more: they would leave out what is new and happens to be called
//! that, and nobody would know why.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{OUTPUT, PACKAGES, listed, switched};
use crate::error::{Context, Error, Result};
use crate::progress::Stage;

const SETTINGS: &str = ".cargo/mutants.toml";
/// Where the patterns begin and end.
const LIST: [&str; 2] = ["\nexclude_re = [\n", "\n]\n"];

/// What tests/mutants is told.
#[derive(Serialize)]
struct Request {
    patterns: Vec<String>,
    names: Vec<String>,
}

/// Refuses the settings if a pattern in them matches no mutant.
pub(super) fn check() -> Result {
    let stage = Stage::start("mutants", "whether each exception has a mutant");
    let text = fs::read_to_string(SETTINGS).on("read", SETTINGS)?;
    let (patterns, others) = parts(&text)?;
    fs::create_dir_all(OUTPUT).on("create", OUTPUT)?;
    let settings = Path::new(OUTPUT).join("without-exceptions.toml");
    fs::write(&settings, others).on("write", &settings)?;
    let mut names = Vec::new();
    for package in &PACKAGES {
        let all = listed(package, &[], Some(&settings))?;
        names.extend(all.into_iter().map(|mutant| mutant.name));
    }
    let count = patterns.len();
    let stale: Vec<String> = switched::ask("stale".as_ref(), &Request { patterns, names })?;
    if !stale.is_empty() {
        return Err(Error::unfit(
            format!("{SETTINGS} leaves out what no mutant is called:\n{}", stale.join("\n")),
            "delete these lines of exclude_re, or say there what the mutants are called now",
        ));
    }
    stage.done(format!("{count} exceptions, each with a mutant"));
    Ok(())
}

/// The patterns, and the settings without them.
fn parts(text: &str) -> Result<(Vec<String>, String)> {
    let unlike = |what: String| {
        Error::unfit(
            what,
            format!("write exclude_re in {SETTINGS} as it was, one pattern in a line"),
        )
    };
    let [begin, end] = LIST;
    let split = text.split_once(begin).and_then(|(before, rest)| {
        let (list, after) = rest.split_once(end)?;
        Some((list, format!("{before}\n{after}")))
    });
    let (list, others) =
        split.ok_or_else(|| unlike("exclude_re is no list of lines".to_owned()))?;
    let lines = list.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    // What escapes there are in such a string are also those of JSON.
    let pattern = |line: &str| {
        let quoted = line.strip_suffix(',').unwrap_or(line);
        serde_json::from_str(quoted).map_err(|error| unlike(format!("{line}: {error}")))
    };
    Ok((lines.map(pattern).collect::<Result<_>>()?, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_are_read_as_cargo_mutants_reads_them_and_the_rest_stays() {
        let text = "a = [\"b\"]\nexclude_re = [\n    # Why: \"no\".\n    \"x \\\\| y\",\n    \"z\"\n]\nc = 1\n";
        let (patterns, others) = parts(text).unwrap();
        assert_eq!(patterns, ["x \\| y", "z"]);
        assert_eq!(others, "a = [\"b\"]\nc = 1\n");
    }

    #[test]
    fn a_list_in_another_shape_is_refused() {
        for text in ["", "\nexclude_re = [\"a\"]\n", "\nexclude_re = [\n    'a',\n]\n"] {
            let error = parts(text).unwrap_err();
            assert!(error.remedy().unwrap().contains("one pattern in a line"), "{error}");
        }
    }

    #[test]
    fn the_trees_own_settings_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SETTINGS);
        let (patterns, others) = parts(&fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            patterns.len() > 50 && others.contains("exclude_globs") && !others.contains("SelfTest")
        );
    }
}

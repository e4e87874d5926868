//! Puts all of cargo-mutants' changes to a tree into one program, where a number picks one: `mutants TREE REQUEST`.
//! `mutants guest-only REQUEST` says which of them the guest's target alone has, `mutants stale REQUEST` which patterns match none.
//!
//! Thousands of mutants then cost one build and a run of the tests each, in place of a build each. The tree is a copy; its files are
//! written over. A mutant's number is its place in the request's list.

mod stale;
mod switch;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use serde::{Deserialize, Serialize};

use switch::{Mutant, Part, switch};

/// What makes a crate root know which mutant runs.
const MODULE: &str = include_str!("mutant.rs");
// In two parts, as it is the copy's, and this crate has no such line.
const FEATURES: &str = concat!("#!", "[feature(core_intrinsics, const_eval_select)]");

/// Which mutants.
#[derive(Debug, Deserialize)]
struct Request {
    /// As cargo-mutants lists them.
    mutants: Vec<Mutant>,
    /// The root file of each crate with mutants.
    roots: Vec<String>,
    /// Numbers of those that the compiler refused.
    refused: BTreeSet<usize>,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Answer {
    /// The numbers of those that are in the tree.
    switched: BTreeSet<usize>,
    /// By file: whose bytes are whose.
    parts: BTreeMap<String, Vec<Part>>,
}

fn main() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let [tree, request] = words.as_slice() else {
        return Err("usage: mutants TREE REQUEST".into());
    };
    let request = fs::read(request)?;
    if tree == "stale" {
        let request: stale::Request = serde_json::from_slice(&request)?;
        return Ok(serde_json::to_writer(io::stdout(), &request.stale()?)?);
    }
    let request: Request = serde_json::from_slice(&request)?;
    if tree == "guest-only" {
        let numbers = target::guest_only(&request.mutants)?;
        return Ok(serde_json::to_writer(io::stdout(), &numbers)?);
    }
    let tree = Path::new(tree);
    let mut by_file: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in request.mutants.iter().enumerate() {
        let of_file = by_file.entry(&mutant.file).or_default();
        if !request.refused.contains(&number) {
            of_file.push((number, mutant));
        }
    }
    let mut answer = Answer { switched: BTreeSet::new(), parts: BTreeMap::new() };
    for (file, mutants) in by_file {
        let path = tree.join(file);
        let text = fs::read_to_string(&path)?;
        let switched = switch(&text, &mutants).map_err(|error| format!("{file}: {error}"))?;
        fs::write(&path, &switched.text)?;
        answer.switched.extend(switched.parts.iter().flat_map(|part| &part.numbers));
        answer.parts.insert(file.to_owned(), switched.parts);
    }
    for root in &request.roots {
        let path = tree.join(root);
        fs::write(&path, with_module(&fs::read_to_string(&path)?))?;
        fs::write(path.with_file_name("mutant.rs"), MODULE)?;
    }
    serde_json::to_writer(io::stdout(), &answer)?;
    Ok(())
}

/// A crate's root with the module in it: behind the root's own documentation and attributes.
fn with_module(text: &str) -> String {
    let inner = |line: &str| line.starts_with("//!") || line.starts_with("#![") || line.is_empty();
    let head: usize =
        text.split_inclusive('\n').take_while(|line| inner(line.trim())).map(str::len).sum();
    format!("{}\n{FEATURES}\npub mod mutant;\n{}", &text[..head], &text[head..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_comes_behind_what_has_to_be_first() {
        let got = with_module("//! What.\n#![no_std]\n\nmod a;\n");
        assert_eq!(
            got,
            format!("//! What.\n#![no_std]\n\n\n{FEATURES}\npub mod mutant;\nmod a;\n")
        );
    }
}

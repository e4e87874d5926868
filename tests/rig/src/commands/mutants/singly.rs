//! Mutants that can't be switched while running, as in a constant: cargo-mutants builds and tests each on its own.

use std::fs;
use std::path::Path;

use super::{Fate, Mutant, OUTPUT, PACKAGES, cargo};
use crate::child;
use crate::error::{Context, Result};
use crate::progress::Stage;

/// Fates of those that have none yet.
pub(super) fn the_rest(mutants: &[Mutant], fates: Vec<Option<Fate>>) -> Result<Vec<Fate>> {
    let rest = mutants.iter().zip(&fates).filter(|(_, fate)| fate.is_none());
    let rest: Vec<&Mutant> = rest.map(|(mutant, _)| mutant).collect();
    let [survived, refused] = if rest.is_empty() { Default::default() } else { run(&rest)? };
    let fate = |(mutant, fate): (&Mutant, Option<Fate>)| match fate {
        Some(fate) => fate,
        None if survived.contains(&mutant.name) => Fate::Survived,
        None if refused.contains(&mutant.name) => Fate::NoProgram,
        None => Fate::Noticed,
    };
    Ok(mutants.iter().zip(fates).map(fate).collect())
}

/// Names of those that survived, and of those that are no program.
fn run(mutants: &[&Mutant]) -> Result<[Vec<String>; 2]> {
    let stage = Stage::start("mutants", format!("{} mutants, a build each", mutants.len()));
    let mut command = cargo()?;
    command.args(["mutants", "--no-times", "--output", OUTPUT]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package.name]));
    for mutant in mutants {
        command.args(["--re", &format!("^{}$", escaped(&mutant.name))]);
        // Its mutants that leave a field out are no matter of names: those of other files would all be tried.
        command.arg("--file").arg(&mutant.file);
    }
    fs::create_dir_all(OUTPUT).on("create", OUTPUT)?;
    // Its exit code says that some survived, or that some took too long, which is a way to be noticed.
    let ended = child::output(&mut command);
    let lines = |name: &str| {
        fs::read_to_string(Path::new(OUTPUT).join("mutants.out").join(name))
            .map(|text| text.lines().map(str::to_owned).collect::<Vec<String>>())
    };
    let (Ok(missed), Ok(refused)) = (lines("missed.txt"), lines("unviable.txt")) else {
        return ended.map(|_| Default::default());
    };
    stage.done(format!("{} mutants, a build each", mutants.len()));
    Ok([missed, refused])
}

fn escaped(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " _:/".contains(c);
    name.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        assert_eq!(escaped("a.rs:1: replace + with *"), r"a\.rs:1: replace \+ with \*");
    }
}

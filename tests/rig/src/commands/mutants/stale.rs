//! Exceptions in .cargo/mutants.toml that leave nothing out any more.

use std::fs;

use serde::Serialize;

use super::{PACKAGES, listed, switched};
use crate::error::{Context, Error, Result};
use crate::progress::Stage;

const SETTINGS: &str = ".cargo/mutants.toml";
/// Has cargo-mutants list what the settings leave out, too.
const ALL: [&str; 1] = ["--no-config"];

/// What tests/mutants is told.
#[derive(Serialize)]
struct Request {
    settings: String,
    names: Vec<String>,
}

/// Refuses the settings if an exception in them matches no mutant.
pub(super) fn check() -> Result {
    let stage = Stage::start("mutants", "whether each exception has a mutant");
    let settings = fs::read_to_string(SETTINGS).on("read", SETTINGS)?;
    let mut names = Vec::new();
    for package in &PACKAGES {
        names.extend(listed(package, &[], &ALL)?.into_iter().map(|mutant| mutant.name));
    }
    let stale: Vec<String> = switched::ask("stale".as_ref(), &Request { settings, names })?;
    if !stale.is_empty() {
        return Err(Error::unfit(
            format!("{SETTINGS} leaves out what no mutant is called:\n{}", stale.join("\n")),
            "delete these lines of exclude_re, or say there what the mutants are called now",
        ));
    }
    stage.done("each exception has a mutant");
    Ok(())
}

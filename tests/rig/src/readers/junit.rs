//! junitparser, as CI systems and their scripts read `junit.xml`; out of PyPI.

use std::path::Path;
use std::process::Command;

use crate::child;
use crate::error::{Error, Result};
use crate::report::RunRecord;

/// The release, and the folder that pip puts it into.
const PACKAGE: &str = "junitparser==5.0.3";
const FOLDER: &str = "target/tools/junitparser";
/// Has it read a file: how many cases, and how many of them failed.
const SCRIPT: &str = "import sys; from junitparser import JUnitXml; x = JUnitXml.fromfile(sys.argv[1]); \
                      print(x.tests, x.failures + x.errors, sum(1 for suite in x for case in suite if case.classname))";

/// What it makes of a file that is not what the run was. The error says why it can't be had.
pub(super) fn wrong(
    file: &Path,
    run: &RunRecord,
) -> Result<std::result::Result<Vec<String>, String>> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--target", FOLDER, PACKAGE]);
    if !Path::new(FOLDER).join("junitparser").is_dir()
        && let Err(error) = child::output(&mut pip)
    {
        return match error {
            Error::Interrupted => Err(error),
            error => Ok(Err(format!("pip does not install it: {error}"))),
        };
    }
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).arg(file).env("PYTHONPATH", FOLDER);
    let said = child::output(&mut command)?;
    let cases: usize = run.jobs.iter().map(|job| 1 + job.cases()).sum();
    let bad = run.jobs.iter().filter(|job| !job.is_as_expected()).count();
    let numbers: Vec<usize> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let holds = numbers.len() == 3 && numbers[0] == cases && numbers[2] == cases;
    let holds = holds && (numbers[1] == 0) == (bad == 0);
    let wrong = format!("says `{}`, and there were {cases} cases", said.trim());
    Ok(Ok(if holds { Vec::new() } else { vec![wrong] }))
}

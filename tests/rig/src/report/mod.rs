//! What a run comes to: records of its jobs, and the ways they are shown.

mod failing;
mod html;
mod junit;
mod record;
mod recording;
mod table;

use std::fs;
use std::path::Path;

pub(crate) use record::{ComparisonRecord, FiguresRecord, JobRecord, RunRecord};
pub(crate) use recording::{logged, record, unborn};
pub(crate) use table::{print, print_bad};

use crate::error::{Context, Error, Result};

/// Writes the reports for machines and for people into the run's folder.
pub(crate) fn write(run: &RunRecord, folder: &Path) -> Result {
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).on("write", &path)
    };
    let json = serde_json::to_string_pretty(run).map_err(std::io::Error::from);
    put("result.json", json.on("encode", folder.join("result.json"))?)?;
    let junit = junit::render(run)
        .map_err(|error| Error::unfit(format!("junit.xml: {error}"), "this is a bug of the rig"))?;
    put("junit.xml", junit)?;
    put("report.html", html::render(run))
}

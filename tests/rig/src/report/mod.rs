//! What a run comes to: records of its jobs, and the ways they are shown.

mod changes;
mod failing;
mod junit;
mod page;
mod reading;
mod record;
mod recording;
mod stream;
mod table;
mod told;

use std::fs;
use std::path::Path;

#[cfg(test)]
pub(crate) use failing::{FailingRecord, SiteRecord};
pub(crate) use record::{ComparisonRecord, FiguresRecord, JobRecord, RunRecord};
pub(crate) use recording::{logged, record, unborn};
pub(crate) use stream::{Stream, is_stream, read};
pub(crate) use table::{print, print_bad};

use crate::error::{Context, Error, Result};

/// Ends the stream of a run and makes the reports of it, for machines and for people, beside it. What they show is what can be
/// read back.
pub(crate) fn write(mut run: RunRecord, stream: &Stream) -> Result<RunRecord> {
    let folder = stream.path().parent().unwrap_or(Path::new("."));
    run.changes = run.changes.take().or_else(|| changes::since_last(folder, &run));
    stream.close(&run)?;
    let run = read(stream.path())?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).on("write", &path)
    };
    let json = serde_json::to_string_pretty(&run).map_err(std::io::Error::from);
    put("result.json", json.on("encode", folder.join("result.json"))?)?;
    let junit = junit::render(&run)
        .map_err(|error| Error::unfit(format!("junit.xml: {error}"), "this is a bug of the rig"))?;
    put("junit.xml", junit)?;
    put("report.html", page::render(&run))?;
    Ok(run)
}

//! What a run comes to: records of its jobs, and the ways they are shown.

mod failing;
mod html;
mod junit;
mod reading;
mod record;
mod recording;
mod stream;
mod table;

use std::fs;
use std::path::Path;

pub(crate) use record::{ComparisonRecord, FiguresRecord, JobRecord, RunRecord};
pub(crate) use recording::{logged, record, unborn};
pub(crate) use stream::{Stream, is_stream, read};
pub(crate) use table::{print, print_bad};

use crate::error::{Context, Error, Result};

/// Ends the stream of a run and makes the reports of it, for machines and for people, beside it. What they show is what can be
/// read back.
pub(crate) fn write(run: RunRecord, stream: &Stream) -> Result<RunRecord> {
    stream.close(&run)?;
    let run = read(stream.path())?;
    let folder = stream.path().parent().unwrap_or(Path::new("."));
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).on("write", &path)
    };
    let json = serde_json::to_string_pretty(&run).map_err(std::io::Error::from);
    put("result.json", json.on("encode", folder.join("result.json"))?)?;
    let junit = junit::render(&run)
        .map_err(|error| Error::unfit(format!("junit.xml: {error}"), "this is a bug of the rig"))?;
    put("junit.xml", junit)?;
    put("report.html", html::render(&run))?;
    Ok(run)
}

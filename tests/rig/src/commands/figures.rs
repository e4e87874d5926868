//! `bench`: suite `bench` in a domain with a card, its tables on the terminal and in bench.json.

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use serde::Serialize;

use super::{Bench, conclude, smoke};
use crate::cli::Options;
use crate::error::{Context, Result};
use crate::report::{FiguresRecord, RunRecord};

/// What bench.json holds.
#[derive(Serialize)]
struct Document<'r> {
    started: &'r str,
    machine: &'r str,
    tables: Vec<&'r FiguresRecord>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let mut options = options.clone();
    options.suite.get_or_insert_with(|| "bench".to_owned());
    // The trace of each address costs the card's time, and nothing here asks for it.
    options.no_trace = true;
    let bench = Bench::prepare("bench", &options)?;
    let records = smoke::records(&bench, &options)?;
    let run = bench.record(records);
    let tables: Vec<_> = run.jobs.iter().flat_map(|job| &job.figures).collect();
    print!("{}", text(&tables));
    write(&run, tables, &bench)?;
    conclude(&run, &bench)
}

fn write(run: &RunRecord, tables: Vec<&FiguresRecord>, bench: &Bench) -> Result {
    let document = Document { started: &run.started, machine: &run.machine, tables };
    let path = bench.folder.join("bench.json");
    let json = serde_json::to_string_pretty(&document).map_err(std::io::Error::from);
    fs::write(&path, json.on("encode", &path)?).on("write", &path)
}

/// The tables for a person: columns as wide as their widest cell.
fn text(tables: &[&FiguresRecord]) -> String {
    let mut out = String::new();
    for table in tables {
        let lines = || std::iter::once(&table.columns).chain(&table.rows);
        let width = |column: usize| {
            lines().filter_map(|cells| cells.get(column)).map(String::len).max().unwrap_or(0)
        };
        let _always = writeln!(out, "\n{}", table.table);
        for cells in lines() {
            let cells = cells.iter().enumerate();
            let padded =
                cells.map(|(column, cell)| format!("{cell:>width$}", width = width(column)));
            let _always = writeln!(out, "  {}", padded.collect::<Vec<_>>().join("  "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = FiguresRecord {
            table: "map".to_owned(),
            columns: row(["bytes", "ns"]),
            rows: vec![row(["64", "312"])],
        };
        assert_eq!(text(&[&table]), "\nmap\n  bytes   ns\n     64  312\n");
    }
}

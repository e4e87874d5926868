//! `bench`: suite `bench` in a domain with a card, its tables on the terminal and in bench.json. With a peer, that guest
//! beside ours, too.

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use serde::Serialize;

use super::workbench::Spread;
use super::{Bench, conclude, peer, smoke};
use crate::cli::{Options, Peer};
use crate::error::{Context, Result};
use crate::peers::Peers;
use crate::report::{ComparisonRecord, FiguresRecord, RunRecord};

/// MiB of a guest that is measured, unless told: more than our configs have, for the peer with its files.
const MEMORY: u32 = 256;

/// What bench.json holds.
#[derive(Serialize)]
struct Document<'r> {
    started: &'r str,
    machine: &'r str,
    tables: Vec<&'r FiguresRecord>,
    comparison: Option<&'r ComparisonRecord>,
}

pub(super) fn run(options: &Options, peer: Option<(Peer, u32)>) -> Result<ExitCode> {
    let mut options = options.clone();
    options.suite.get_or_insert_with(|| "bench".to_owned());
    options.memory.get_or_insert(MEMORY);
    // The trace of each address costs the card's time, and nothing here asks for it.
    options.no_trace = true;
    let bench = Bench::prepare("bench", &options)?;
    let peers = Peers::start()?;
    let (nic, device) = smoke::device(options.device());
    let mut jobs = vec![smoke::job(&options, device, &peers)];
    if let Some((Peer::Linux, rounds)) = peer {
        // Last: whatever it leaves of the card or of the machine, our figures have been taken.
        jobs.extend(peer::jobs(&options, &bench.stack, &peers, rounds)?);
    }
    let mut records = bench.run(&options, nic, &jobs, Spread::One)?;
    records.iter_mut().for_each(peer::advise);
    records.iter_mut().for_each(peer::must_ping);
    let comparison = peer::compare(&records);
    let run = RunRecord { comparison, ..bench.record(records) };
    let tables: Vec<_> = run.jobs.iter().flat_map(|job| &job.figures).collect();
    print!("{}", text(&tables));
    print!("{}", run.comparison.as_ref().map_or(String::new(), beside));
    write(&run, tables, &bench)?;
    conclude(run, &bench)
}

fn write(run: &RunRecord, tables: Vec<&FiguresRecord>, bench: &Bench) -> Result {
    let RunRecord { started, machine, comparison, .. } = run;
    let document = Document { started, machine, tables, comparison: comparison.as_ref() };
    let path = bench.folder.join("bench.json");
    let json = serde_json::to_string_pretty(&document).map_err(std::io::Error::from);
    fs::write(&path, json.on("encode", &path)?).on("write", &path)
}

/// The comparison's table, and below it how its figures were come by.
fn beside(record: &ComparisonRecord) -> String {
    let legend = record.legend.iter().map(|line| format!("  - {line}\n"));
    text(&[&record.figures]) + &legend.collect::<String>()
}

/// The tables for a person: columns as wide as their widest cell, names to the left and numbers to the right.
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
            let padded = cells.map(|(column, cell)| match (column, named(table)) {
                (0, true) => format!("{cell:width$}", width = width(column)),
                _ => format!("{cell:>width$}", width = width(column)),
            });
            let _always = writeln!(out, "  {}", padded.collect::<Vec<_>>().join("  "));
        }
    }
    out
}

/// Whether a table's rows start with a name.
fn named(table: &FiguresRecord) -> bool {
    let first = |row: &Vec<String>| row.first().is_some_and(|cell| cell.parse::<f64>().is_err());
    table.rows.iter().any(first)
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

    #[test]
    fn names_stand_to_the_left_and_the_legend_below() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let figures = FiguresRecord {
            table: "beside".to_owned(),
            columns: row(["seconds", "ours"]),
            rows: vec![row(["ping", "2.10"]), row(["download", "-"])],
        };
        let record = ComparisonRecord { figures, legend: vec!["how".to_owned()] };
        let wanted = "\nbeside\n  seconds   ours\n  ping      2.10\n  download     -\n  - how\n";
        assert_eq!(beside(&record), wanted);
    }
}

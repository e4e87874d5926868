//! The page for looking: one file, no links to anywhere, read on a phone and on paper, in light and dark, with and without
//! colour or script.

mod changes;
mod checks;
mod console;
mod curves;
mod job;
mod ladder;
mod memory;
mod timeline;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::record::{ComparisonRecord, FiguresRecord, JobRecord, RunRecord};
use super::table::counts;
use crate::judge::Verdict;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(super) fn render(run: &RunRecord) -> String {
    // What did not end as it has to comes first; else the order is the run's.
    let mut order: Vec<usize> = (0..run.jobs.len()).collect();
    order.sort_by_key(|&n| run.jobs[n].is_as_expected());
    let consoles = console::budget(run, &order);
    let alone = run.jobs.len() == 1;
    let job = |n: usize| job::render(&run.jobs[n], (n, run.jobs.len()), consoles[n]);
    let bad = order.partition_point(|&n| !run.jobs[n].is_as_expected());
    let (first, folded) = order.split_at(if alone { 1 } else { bad });
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "pvbounce " (run.name) ": " (run.worst()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (top(run))
                main {
                    @if run.jobs.len() > 1 { (jobs(run, &order)) }
                    @if let Some(record) = &run.comparison { (comparison(record)) }
                    @for &n in first { (job(n)) }
                    @if let Some(record) = &run.changes { (changes::render(run, record)) }
                    @for &n in folded { (job(n)) }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// What was run on what, and what came of it.
fn top(run: &RunRecord) -> Markup {
    let good = run.jobs.iter().filter(|job| job.is_as_expected()).count();
    let all = run.jobs.len();
    html! {
        header {
            h1 { "pvbounce " (run.name) " " (badge(run.worst())) }
            @if all != 1 { p.lead { (good) " of " (all) " jobs ended as they have to" } }
            @if !run.over { p.lead { "The run was cut off: this is what it had until then." } }
            p.facts {
                (run.machine) br;
                (run.started) " UTC"
                @if run.image_bytes > 0 { ", image " (run.image_bytes.div_ceil(1024)) " KiB" }
            }
        }
    }
}

/// A line for each job, those that did not end as they have to first.
fn jobs(run: &RunRecord, order: &[usize]) -> Markup {
    let line = |n: usize| {
        let job = &run.jobs[n];
        html! {
            tr {
                td { (ended(job)) }
                th scope="row" { a href={ "#j" (n) } { (job.name) } }
                td.number { (format!("{:.1} s", job.seconds)) }
                td { (counts(|verdict| job.count(verdict))) (as_it_has_to(job)) }
            }
        }
    };
    html! {
        section.card aria-labelledby="jobs" {
            h2 #jobs { "Jobs" }
            div.scroll tabindex="0" role="group" aria-label="jobs" {
                table.jobs { tbody { @for &n in order { (line(n)) } } }
            }
        }
    }
}

fn as_it_has_to(job: &JobRecord) -> String {
    match (job.is_as_expected(), job.expected) {
        (true, Verdict::Success) => String::new(),
        (true, _) => ", as it has to".to_owned(),
        (false, wanted) => format!(", has to be {wanted}"),
    }
}

fn comparison(record: &ComparisonRecord) -> Markup {
    html! {
        section.card {
            h2 { (record.figures.table) }
            (figures(&record.figures))
            ul.facts { @for line in &record.legend { li { (line) } } }
        }
    }
}

/// A table of figures.
fn figures(table: &FiguresRecord) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label={ "figures: " (table.table) } {
            table.figures {
                thead { tr { @for cell in &table.columns { th scope="col" { (cell) } } } }
                tbody { @for row in &table.rows { tr { @for cell in row { td { (cell) } } } } }
            }
        }
    }
}

/// How a job ended: whatever it ended as, if it has to, is well.
fn ended(job: &JobRecord) -> Markup {
    if job.is_as_expected() { mark(job.verdict, Verdict::Success) } else { badge(job.verdict) }
}

/// A verdict as a word, with a shape and a colour beside it.
fn badge(verdict: Verdict) -> Markup {
    mark(verdict, verdict)
}

/// One that counts as another.
fn mark(verdict: Verdict, counts_as: Verdict) -> Markup {
    let shape = match counts_as {
        Verdict::Success => "\u{2714}",
        Verdict::Skip => "\u{2013}",
        Verdict::Inconclusive => "?",
        Verdict::Failure | Verdict::Error | Verdict::Crash | Verdict::Timeout => "\u{2718}",
    };
    html! {
        span.badge.(counts_as.class()) { span aria-hidden="true" { (shape) } " " (verdict) }
    }
}

/// Bytes as a person says them: the largest unit that leaves no fraction.
fn size(bytes: u128) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &&(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(fits) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests;

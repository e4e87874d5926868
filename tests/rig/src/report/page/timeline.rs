//! When what happened: the guest's stages, and the suites with the checks in them.

use maud::{Markup, html};

use super::super::record::{JobRecord, StageRecord, SuiteRecord};
use super::console::Shown;

/// What a row is drawn on.
const WIDTH: f64 = 1000.0;
/// Checks that are marked in a suite's row.
const MARKS: usize = 200;
/// What a mark takes of it.
const MARK: f64 = 5.0;

/// One row: what it is, when it began, how long it took, and moments in it.
struct Row<'j> {
    name: &'j str,
    detail: &'j str,
    line: usize,
    at: f64,
    seconds: f64,
    marks: Vec<f64>,
}

pub(super) fn render(job: &JobRecord, n: usize, shown: Shown) -> Markup {
    // A log alone has no time but the guest's own, of its start.
    let timed = job.suites.iter().any(|suite| suite.at > 0.0);
    let mut rows: Vec<_> = created(job).into_iter().filter(|_| timed).collect();
    rows.extend(stages(&job.stages, timed));
    rows.extend(job.suites.iter().filter(|_| timed).map(of_suite));
    let ends = rows.iter().map(|row| row.at + row.seconds).filter(|end| end.is_finite());
    let end = ends.fold(0.0, f64::max);
    if end <= 0.0 {
        return html! {};
    }
    html! {
        details.part open {
            summary { "Timeline, " (format!("{end:.1}")) " s" }
            @if !timed { p.facts { "By the guest's own clock: a log has no other." } }
            ol.timeline { @for row in &rows { (drawn(row, end, n, shown)) } }
        }
    }
}

/// What went by until the guest ran: it is the toolstack's, and Xen's.
fn created(job: &JobRecord) -> Option<Row<'_>> {
    let first = job.stages.first()?;
    let seconds = Some(first.at - first.guest_at).filter(|seconds| *seconds > 0.0)?;
    let (name, detail) = ("created", "until the guest ran");
    Some(Row { name, detail, line: 0, at: 0.0, seconds, marks: Vec::new() })
}

/// A stage is told when it is done: what it took is the time since the one before.
fn stages(stages: &[StageRecord], timed: bool) -> Vec<Row<'_>> {
    let end = |stage: &StageRecord| if timed { stage.at } else { stage.guest_at };
    // What came before the first one is not the guest's.
    let first = stages.first().map(|stage| (end(stage) - stage.guest_at).max(0.0));
    let before = first.into_iter().chain(stages.iter().map(end));
    let row =
        |(stage, before): (&'_ StageRecord, f64)| (before, f64::max(end(stage) - before, 0.0));
    let spans: Vec<_> = stages.iter().zip(before).map(row).collect();
    let rows = stages.iter().zip(spans);
    rows.map(|(stage, (at, seconds))| {
        let StageRecord { name, detail, line, .. } = stage;
        Row { name, detail, line: *line, at, seconds, marks: Vec::new() }
    })
    .collect()
}

fn of_suite(suite: &SuiteRecord) -> Row<'_> {
    Row {
        name: &suite.name,
        detail: suite.verdict.word(),
        line: suite.checks.first().map_or(0, |check| check.line),
        at: suite.at,
        seconds: suite.seconds,
        marks: suite.checks.iter().take(MARKS).map(|check| check.at).collect(),
    }
}

fn drawn(row: &Row<'_>, end: f64, n: usize, shown: Shown) -> Markup {
    let x = |seconds: f64| (seconds / end).clamp(0.0, 1.0) * WIDTH;
    let (from, to) = (x(row.at), x(row.at + row.seconds));
    // More marks than there is room for would be all that is seen.
    let fit = row.marks.iter().filter(|_| {
        to - from > MARK * f64::from(u32::try_from(row.marks.len()).unwrap_or(u32::MAX))
    });
    html! {
        li {
            span.what title=(row.detail) {
                @if shown.has(row.line) { a href={ "#j" (n) "l" (row.line) } { (row.name) } }
                @else { (row.name) }
            }
            svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                rect.bar x=(format!("{from:.1}")) y="1" width=(format!("{:.1}", to - from)) height="8" {}
                @for mark in fit {
                    line.mark x1=(format!("{:.1}", x(*mark))) x2=(format!("{:.1}", x(*mark))) y1="1" y2="9" {}
                }
            }
            span.number { (format!("{:.2} s", row.seconds)) }
        }
    }
}

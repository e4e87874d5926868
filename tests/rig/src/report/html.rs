//! The page for people: one file, no scripts, no links to anywhere, readable in light and dark.

use super::record::{
    CheckRecord, ComparisonRecord, FiguresRecord, JobRecord, RunRecord, SuiteRecord,
};
use super::table::counts;
use crate::judge::Verdict;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn render(run: &RunRecord) -> String {
    let jobs: String = run.jobs.iter().map(job).collect();
    let good = run.jobs.iter().filter(|job| job.is_as_expected()).count();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>pvbounce {name}</title><style>{STYLE}</style></head><body>\n\
         <h1>pvbounce {name}</h1>\n\
         <p class=\"facts\">{machine}<br>{started} UTC{image}, {good} of {all} jobs as expected</p>\n\
         {comparison}{jobs}</body></html>\n",
        name = escape(&run.name),
        machine = escape(&run.machine),
        started = escape(&run.started),
        image = image(run.image_bytes),
        all = run.jobs.len(),
        comparison = run.comparison.as_ref().map_or(String::new(), comparison),
    )
}

/// How large the image was, where it is known.
fn image(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(", image {} KiB", bytes.div_ceil(1024)) }
}

fn comparison(record: &ComparisonRecord) -> String {
    let legend: String =
        record.legend.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    format!(
        "<section class=\"job\"><h2>{}</h2>{}<ul class=\"facts\">{legend}</ul></section>\n",
        escape(&record.figures.table),
        figures(&record.figures)
    )
}

/// A table of the guest's own, folded away: there are many.
fn named_figures(table: &FiguresRecord) -> String {
    let name = escape(&table.table);
    format!("<details><summary>figures: {name}</summary>{}</details>\n", figures(table))
}

fn figures(table: &FiguresRecord) -> String {
    let row = |cells: &Vec<String>, tag: &str| {
        let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let rows: String = table.rows.iter().map(|cells| row(cells, "td")).collect();
    format!("<table class=\"figures\">{}{rows}</table>\n", row(&table.columns, "th"))
}

fn job(job: &JobRecord) -> String {
    let open = if job.is_as_expected() { "" } else { " open" };
    format!(
        "<section class=\"job\"><h2>{name} {badge}{expected}</h2>\n<p class=\"facts\">{facts}</p>\n{problem}{suites}{tables}\
         </section>\n",
        name = escape(&job.name),
        badge = badge(job.verdict),
        expected = expected(job),
        facts = escape(&facts(job)),
        problem = problem(job),
        suites = job.suites.iter().map(|s| suite(s, open)).collect::<String>(),
        tables = job.figures.iter().map(named_figures).collect::<String>(),
    )
}

fn expected(job: &JobRecord) -> String {
    match (job.is_as_expected(), job.expected) {
        (true, Verdict::Success) => String::new(),
        (true, _) => "<small>as it has to</small>".to_owned(),
        (false, wanted) => format!("<small>has to be {wanted}</small>"),
    }
}

fn facts(job: &JobRecord) -> String {
    let mut facts = vec![format!("xl create to domain gone {:.2} s", job.seconds)];
    facts.extend(job.evidence.as_ref().map(|seen| {
        format!(
            "{} DMA addresses traced in {} pages, {} of them the pool's in {} segments, {} outside",
            seen.addresses, seen.pages, seen.pool_pages, seen.segments, seen.outside
        )
    }));
    facts.extend(job.no_witness.as_ref().map(|why| format!("no witness of DMA: {why}")));
    facts.extend(job.wire.map(|wire| format!("on the wire, {wire}")));
    facts.extend(
        job.free_mib
            .map(|(before, after)| format!("Xen's free memory {before} MiB, then {after} MiB")),
    );
    facts.extend(job.taken.as_ref().map(|taken| format!("still held at the end: {taken}")));
    facts.extend(job.store.iter().map(|(key, value)| format!("store {key}={value}")));
    facts.join(" \u{b7} ")
}

fn problem(job: &JobRecord) -> String {
    let Some(problem) = &job.problem else {
        return String::new();
    };
    let remedy = match problem.remedy.as_str() {
        "" => String::new(),
        text => format!("<br><b>Remedy:</b> {}", escape(text)),
    };
    let backtrace = match job.backtrace.as_slice() {
        [] => String::new(),
        lines => format!("<pre>{}</pre>", escape(&lines.join("\n"))),
    };
    let also: String = job
        .also
        .iter()
        .map(|p| format!("{} {}: {}", p.at, p.code, p.detail))
        .chain(job.said_surprises().into_iter().map(|text| format!("not as it has to be: {text}")))
        .map(|text| format!("<br>{}", escape(&text)))
        .collect();
    format!(
        "<div class=\"problem {}\"><code>{} {}</code><br>{}{remedy}{also}{backtrace}</div>\n",
        class(job.verdict),
        escape(&problem.at),
        escape(&problem.code),
        escape(&problem.detail)
    )
}

fn suite(suite: &SuiteRecord, open: &str) -> String {
    let rows: String = suite.checks.iter().map(check).collect();
    let summary = format!(
        "{} <b>{}</b> <span class=\"facts\">{}, {:.1} s {}</span>",
        badge(suite.verdict),
        escape(&suite.name),
        counts(|verdict| suite.count(verdict)),
        suite.seconds,
        escape(&suite.reason)
    );
    format!("<details{open}><summary>{summary}</summary><table>{rows}</table></details>\n")
}

fn check(check: &CheckRecord) -> String {
    let code = match check.code.as_str() {
        "" => String::new(),
        code => format!("<code>{}</code> ", escape(code)),
    };
    let remedy = match check.remedy.as_str() {
        "" => String::new(),
        text => format!("<br><b>Remedy:</b> {}", escape(text)),
    };
    format!(
        "<tr><td>{}</td><td>{}</td><td>{code}{}{remedy}</td></tr>\n",
        badge(check.verdict),
        escape(&check.name),
        escape(&check.detail)
    )
}

fn badge(verdict: Verdict) -> String {
    format!("<span class=\"badge {}\">{verdict}</span>", class(verdict))
}

const fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "good",
        Verdict::Skip | Verdict::Inconclusive => "skip",
        Verdict::Failure | Verdict::Error | Verdict::Crash | Verdict::Timeout => "bad",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_text_can_not_become_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        let cells = |text: &str| vec![text.to_owned()];
        let table =
            FiguresRecord { table: "<i>".into(), columns: cells("<b>"), rows: vec![cells("<u>")] };
        let html = named_figures(&table);
        assert!(!["<i>", "<b>", "<u>"].iter().any(|tag| html.contains(tag)), "{html}");
    }
}

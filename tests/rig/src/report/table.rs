//! The verdict table that ends a run on the terminal, and the first problem of each job that has one. The words are coloured where
//! it is a terminal and nobody asked for none (`NO_COLOR`): they say the same without.

use std::path::Path;

use anstyle::{AnsiColor, Style};

use super::{JobRecord, RunRecord};
use crate::evidence::Evidence;
use crate::judge::{Problem, Verdict};

/// The longest of the words.
const WORD: usize = Verdict::Inconclusive.word().len();

/// Prints it to standard output.
pub(crate) fn print(run: &RunRecord, folder: &Path) {
    anstream::print!("{}", render(run, folder));
}

/// Prints only what did not end as it has to, and where the logs are.
pub(crate) fn print_bad(run: &RunRecord, folder: &Path) {
    let bad = run.jobs.iter().filter(|job| !job.is_as_expected());
    let lines: String = bad.map(problem_lines).collect();
    anstream::print!("{lines}\n{}\nlogs: {}\n", run.machine, folder.display());
}

fn render(run: &RunRecord, folder: &Path) -> String {
    let name = |job: &JobRecord| {
        job.name.len().max(job.suites.iter().map(|s| s.name.len() + 2).max().unwrap_or(0))
    };
    let width = run.jobs.iter().map(name).max().unwrap_or(0);
    let mut out = format!("\n{}\n", run.machine);
    for job in &run.jobs {
        out += &job_lines(job, width, run.jobs.len() == 1);
    }
    for job in run.jobs.iter().filter(|job| !job.is_as_expected() || run.jobs.len() == 1) {
        out += &problem_lines(job);
    }
    if !run.over {
        out += "the run was cut off: this is what it had until then\n";
    }
    out + &format!("logs: {}\n", folder.display())
}

fn job_lines(job: &JobRecord, width: usize, with_suites: bool) -> String {
    let mut out = String::new();
    // In a long run the suites are in the reports.
    for suite in job.suites.iter().filter(|_| with_suites) {
        let name = format!("  {}", suite.name);
        let tail = format!("{}{}", counts(|verdict| suite.count(verdict)), reason(&suite.reason));
        let word = word(suite.verdict);
        out += &format!("{name:width$}  {word}  {:>6.1} s  {tail}\n", suite.seconds);
    }
    let expected = match (job.is_as_expected(), job.expected) {
        (_, Verdict::Success) => String::new(),
        (true, _) => ", as it has to".to_owned(),
        (false, wanted) => format!(", has to be {wanted}"),
    };
    out + &format!(
        "{:width$}  {}  {:>6.1} s  {}{}{expected}\n",
        job.name,
        word(job.verdict),
        job.seconds,
        counts(|verdict| job.count(verdict)),
        witnessed(job) + &job.wire.map_or(String::new(), |wire| format!("; {wire}")),
    )
}

/// A verdict in its colour, as wide as the longest.
fn word(verdict: Verdict) -> String {
    let colour = match verdict {
        Verdict::Success => AnsiColor::Green,
        Verdict::Skip | Verdict::Inconclusive => AnsiColor::Yellow,
        Verdict::Failure | Verdict::Error | Verdict::Crash | Verdict::Timeout => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(colour.into())).bold();
    format!("{style}{verdict:WORD$}{style:#}")
}

/// What the second witness saw of the device, or why there is none.
fn witnessed(job: &JobRecord) -> String {
    let Some(Evidence { addresses, pool_pages, segments, outside, ranges, .. }) = &job.evidence
    else {
        let why = job.no_witness.as_ref();
        return why.map_or(String::new(), |why| format!("; no witness: {why}"));
    };
    let place = match outside {
        0 => "all inside".to_owned(),
        outside => format!("{outside} OUTSIDE"),
    };
    match addresses {
        0 => "; no DMA".to_owned(),
        all if *ranges == 0 => format!("; {all} DMA addresses, and no report to hold them against"),
        all => format!(
            "; {all} DMA addresses, {place}; {pool_pages} pool pages in {segments} segment{}",
            if *segments == 1 { "" } else { "s" }
        ),
    }
}

fn reason(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("  {text}") }
}

/// How many checks ended in which way, in the words that every report uses.
pub(super) fn counts(count: impl Fn(Verdict) -> usize) -> String {
    let words = [
        (Verdict::Success, "passed"),
        (Verdict::Skip, "skipped"),
        (Verdict::Inconclusive, "inconclusive"),
        (Verdict::Failure, "failed"),
        (Verdict::Error, "errors"),
    ];
    let parts = words.iter().map(|(verdict, word)| (count(*verdict), word));
    let parts: Vec<_> =
        parts.filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if parts.is_empty() { "no checks".to_owned() } else { parts.join(", ") }
}

fn problem_lines(job: &JobRecord) -> String {
    let Some(problem) = &job.problem else {
        return String::new();
    };
    let mut out = format!("\n{} in {}: {} {}\n", job.verdict, job.name, problem.at, problem.code);
    out += &format!("  {}\n", problem.detail);
    if !problem.remedy.is_empty() {
        out += &format!("  remedy: {}\n", problem.remedy);
    }
    for Problem { at, code, detail, .. } in &job.also {
        out += &format!("  also: {at} {code}: {detail}\n");
    }
    for surprise in job.said_surprises() {
        out += &format!("  not as it has to be: {surprise}\n");
    }
    job.backtrace.iter().for_each(|line| out += &format!("  {}\n", line.trim()));
    out
}

#[cfg(test)]
mod tests {
    use super::super::record::SuiteRecord;
    use super::*;

    #[test]
    fn columns_line_up_and_say_the_same_without_colour() {
        let suite = |verdict| SuiteRecord { verdict, ..SuiteRecord::new("net@0000:00:01.0") };
        let suites = vec![suite(Verdict::Inconclusive), suite(Verdict::Skip)];
        let job = JobRecord { verdict: Verdict::Inconclusive, suites, ..JobRecord::new("x") };
        let coloured = job_lines(&job, 18, true);
        assert!(coloured.contains("\u{1b}[1m\u{1b}[33mINCONCLUSIVE\u{1b}[0m"), "{coloured:?}");
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        let wanted = "  net@0000:00:01.0  INCONCLUSIVE     0.0 s  no checks\n  \
                      net@0000:00:01.0  SKIP             0.0 s  no checks\n\
                      x                   INCONCLUSIVE     0.0 s  no checks\n";
        assert_eq!(plain, wanted);
    }
}

//! Suites and their checks: what did not pass is open, what passed is folded.

use maud::{Markup, html};

use super::super::record::{CheckRecord, JobRecord, SuiteRecord};
use super::super::table::counts;
use super::badge;
use super::console::Shown;
use crate::judge::Verdict;

pub(super) fn render(job: &JobRecord, n: usize, shown: Shown) -> Markup {
    let is_bad = |suite: &&SuiteRecord| suite.verdict > Verdict::Skip;
    let (bad, good): (Vec<_>, Vec<_>) = job.suites.iter().partition(is_bad);
    html! {
        @for suite in bad.iter().chain(&good) { (of_suite(suite, n, shown)) }
    }
}

fn of_suite(suite: &SuiteRecord, n: usize, shown: Shown) -> Markup {
    let is_bad = |check: &&CheckRecord| check.verdict > Verdict::Skip;
    let (bad, good): (Vec<_>, Vec<_>) = suite.checks.iter().partition(is_bad);
    html! {
        details.suite open[suite.verdict > Verdict::Skip] {
            summary {
                (badge(suite.verdict)) " " b { (suite.name) } " "
                span.facts {
                    (counts(|verdict| suite.count(verdict)))
                    (format!(", {:.1} s", suite.seconds))
                    @if !suite.reason.is_empty() { "; " (suite.reason) }
                }
            }
            @if !suite.checks.is_empty() {
                ul.checks { @for check in bad.iter().chain(&good) { (of_check(check, n, shown)) } }
            }
        }
    }
}

fn of_check(check: &CheckRecord, n: usize, shown: Shown) -> Markup {
    html! {
        li {
            (badge(check.verdict)) " "
            @if shown.has(check.line) {
                a href={ "#j" (n) "l" (check.line) } title="to its line on the console" { (check.name) }
            } @else { b { (check.name) } }
            @if !check.code.is_empty() || !check.detail.is_empty() {
                div.detail {
                    @if !check.code.is_empty() { code { (check.code) } " " }
                    (check.detail)
                }
            }
            @if !check.remedy.is_empty() { div.detail { b { "Remedy: " } (check.remedy) } }
        }
    }
}

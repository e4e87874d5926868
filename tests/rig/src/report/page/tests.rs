//! The page says what there is to say, and nobody's text becomes markup.

use super::super::record::{CheckRecord, LineRecord, SuiteRecord};
use super::*;
use crate::judge::Problem;

fn hostile() -> JobRecord {
    let evil = || "<script>\"'&".to_owned();
    let check = CheckRecord {
        name: evil(),
        at: 1.0,
        line: 1,
        verdict: Verdict::Failure,
        code: evil(),
        detail: evil(),
        remedy: evil(),
    };
    let suite = SuiteRecord { reason: evil(), checks: vec![check], ..SuiteRecord::new(&evil()) };
    let figures = FiguresRecord { table: evil(), columns: vec![evil()], rows: vec![vec![evil()]] };
    let problem = || Problem { at: evil(), code: evil(), detail: evil(), remedy: evil() };
    JobRecord {
        problem: Some(problem()),
        also: vec![problem()],
        suites: vec![suite],
        figures: vec![figures],
        store: vec![(evil(), evil())],
        backtrace: vec![evil()],
        console: vec![LineRecord { at: 0.0, text: evil() }],
        ..JobRecord::new(&evil())
    }
}

#[test]
fn nobodys_text_becomes_markup_and_nothing_leads_outside() {
    let run = RunRecord {
        name: "<script>".into(),
        machine: "<script>".into(),
        jobs: vec![hostile(), hostile()],
        ..RunRecord::default()
    };
    let page = render(&run);
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    for outside in ["http:", "https:", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_went_wrong_is_first_and_open() {
    let good = JobRecord { verdict: Verdict::Success, ..JobRecord::new("good") };
    let mut bad = hostile();
    bad.name = "bad".to_owned();
    let run = RunRecord { jobs: vec![good, bad], over: true, ..RunRecord::default() };
    let page = render(&run);
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} in {page}"));
    assert!(at("id=\"j1\"") < at("id=\"j0\""));
    assert!(page[at("id=\"j0\"")..].contains("<details class=\"more\">"));
    assert!(!page[at("id=\"j1\"")..at("id=\"j0\"")].contains("class=\"more\""));
    assert!(page.contains("href=\"#j1l1\"") && page.contains("id=\"j1l1\""));
    assert!(page.contains("1 of 2 jobs ended as they have to"));
}

#[test]
fn sizes_are_said_in_units_that_leave_no_fraction() {
    for (bytes, said) in
        [(0, "0 bytes"), (4095, "4095 bytes"), (4096, "4 KiB"), (16 << 20, "16 MiB")]
    {
        assert_eq!(size(bytes), said);
    }
}

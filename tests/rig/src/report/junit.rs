//! JUnit XML, which every CI system shows: one test suite for each suite of each job, and one for the rig's own verdicts.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite,
};

use super::record::{CheckRecord, JobRecord, RunRecord, SuiteRecord};
use crate::judge::Verdict;

/// The whole document.
pub(super) fn render(run: &RunRecord) -> Result<String, SerializeError> {
    let mut report = Report::new(format!("pvbounce {}", run.name));
    for job in &run.jobs {
        report.add_test_suite(rig(run, job));
        for suite in &job.suites {
            report.add_test_suite(guest(job, suite));
        }
    }
    report.to_string()
}

/// The job as a whole: whether it ended as it has to.
fn rig(run: &RunRecord, job: &JobRecord) -> TestSuite {
    let mut suite = TestSuite::new(job.name.clone());
    for (name, value) in [("machine", &run.machine), ("started", &run.started)] {
        suite.add_property(Property::new(name, value.clone()));
    }
    let status = match job.is_as_expected() {
        true => TestCaseStatus::success(),
        false => {
            let all = job
                .problems()
                .map(|p| format!("{} {}: {}{}", p.at, p.code, p.detail, remedied(&p.remedy)));
            let text: Vec<_> = all.chain(job.said_surprises()).collect();
            status(job.verdict, job.verdict.word(), &text.join("; "), "")
        }
    };
    let mut case = TestCase::new(format!("ends as {}", job.expected), status);
    case.set_classname(job.name.clone());
    case.set_time(duration(job.seconds));
    if let Some(seen) = &job.evidence {
        for (name, value) in [("dma-addresses", seen.addresses), ("dma-outside", seen.outside)] {
            case.add_property(Property::new(name, value.to_string()));
        }
    }
    suite.add_test_case(case);
    suite
}

/// A suite's checks, or why it has none. What has to fail in this job, and nothing else, passes here.
fn guest(job: &JobRecord, record: &SuiteRecord) -> TestSuite {
    let name = format!("{}.{}", job.name, record.name);
    let mut suite = TestSuite::new(name.clone());
    suite.set_time(duration(record.seconds));
    let mut before = record.at;
    for check in &record.checks {
        let mut case = case(check, job.is_wanted(&record.name, check));
        case.set_classname(name.clone()).set_time(duration(check.at - before));
        before = check.at;
        suite.add_test_case(case);
    }
    if record.checks.is_empty() {
        let (code, detail) = record.reason.split_once(": ").unwrap_or((&record.reason, ""));
        let mut case = TestCase::new(&record.name, status(record.verdict, code, detail, ""));
        case.set_classname(name);
        suite.add_test_case(case);
    }
    suite
}

fn case(check: &CheckRecord, forgiven: bool) -> TestCase {
    let ok = check.verdict <= Verdict::Skip;
    let status = match (forgiven && !ok, check.verdict) {
        (true, _) | (false, Verdict::Success) => TestCaseStatus::success(),
        _ => status(check.verdict, &check.code, &check.detail, &check.remedy),
    };
    let mut case = TestCase::new(check.name.clone(), status);
    let known = [("code", check.code.clone()), ("line", check.line.to_string())];
    for (name, value) in known.into_iter().filter(|(_, value)| !value.is_empty()) {
        case.add_property(Property::new(name, value));
    }
    if !check.detail.is_empty() {
        case.set_system_out(check.detail.clone());
    }
    case
}

fn status(verdict: Verdict, code: &str, detail: &str, remedy: &str) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Skip => TestCaseStatus::skipped(),
        Verdict::Failure => TestCaseStatus::non_success(NonSuccessKind::Failure),
        _ => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let text = format!("{detail}{}", remedied(remedy));
    status.set_type(code).set_message(detail).set_description(text);
    status
}

fn remedied(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!(" (remedy: {remedy})") }
}

/// A file's seconds may be any number.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_says_where_it_is_how_long_it_took_and_what_to_do() {
        let check = CheckRecord {
            name: "dhcp".into(),
            at: 2.5,
            line: 7,
            verdict: Verdict::Failure,
            code: "dhcp-timeout".into(),
            detail: "waited <10> ms".into(),
            remedy: "start a server".into(),
        };
        let with = |name: &str| SuiteRecord {
            at: 1.0,
            checks: vec![check.clone(), CheckRecord { at: 1e300, ..check.clone() }],
            ..SuiteRecord::new(name)
        };
        let reason = "pci-no-board: a domU".to_owned();
        let none = SuiteRecord { verdict: Verdict::Skip, reason, ..SuiteRecord::new("board") };
        let suites = vec![with("net@0000:00:00.0"), with("net@0000:00:01.0"), none];
        let job = JobRecord { suites, ..JobRecord::new("x") };
        let run = RunRecord { jobs: vec![job], machine: "Xen".into(), ..RunRecord::default() };
        let text = render(&run).unwrap();
        for wanted in [
            r#"<testcase name="dhcp" classname="x.net@0000:00:00.0" time="1.500""#,
            r#"classname="x.net@0000:00:01.0""#,
            r#"<property name="line" value="7""#,
            "waited &lt;10&gt; ms (remedy: start a server)",
            r#"<property name="machine" value="Xen""#,
            r#"<testcase name="board" classname="x.board""#,
            r#"<skipped message="a domU" type="pci-no-board""#,
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}

//! JUnit XML, which every CI system shows: one test suite for each suite of each job, and one for the rig's own verdicts.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::record::{CheckRecord, JobRecord, RunRecord, SuiteRecord};
use crate::judge::Verdict;

/// The whole document.
pub(super) fn render(run: &RunRecord) -> Result<String, SerializeError> {
    let mut report = Report::new(format!("pvbounce {}", run.name));
    for job in &run.jobs {
        report.add_test_suite(rig(job));
        for suite in &job.suites {
            report.add_test_suite(guest(job, suite));
        }
    }
    report.to_string()
}

/// The job as a whole: whether it ended as it has to.
fn rig(job: &JobRecord) -> TestSuite {
    let mut suite = TestSuite::new(job.name.clone());
    let status = match job.is_as_expected() {
        true => TestCaseStatus::success(),
        false => {
            let all = job.problems().map(|p| format!("{} {}: {}", p.at, p.code, p.detail));
            let text: Vec<_> = all.chain(job.said_surprises()).collect();
            status(job.verdict, job.verdict.word(), &text.join("; "))
        }
    };
    let mut case = TestCase::new(format!("ends as {}", job.expected), status);
    case.set_time(Duration::from_secs_f64(job.seconds.max(0.0)));
    suite.add_test_case(case);
    suite
}

/// A suite's checks. What has to fail in this job, and nothing else, passes here.
fn guest(job: &JobRecord, record: &SuiteRecord) -> TestSuite {
    let mut suite = TestSuite::new(format!("{}.{}", job.name, record.name));
    suite.set_time(Duration::from_secs_f64(record.seconds.max(0.0)));
    for check in &record.checks {
        suite.add_test_case(case(check, job.is_wanted(&record.name, check)));
    }
    suite
}

fn case(check: &CheckRecord, forgiven: bool) -> TestCase {
    let ok = check.verdict <= Verdict::Skip;
    let status = match (forgiven && !ok, check.verdict) {
        (true, _) | (false, Verdict::Success) => TestCaseStatus::success(),
        _ => status(check.verdict, &check.code, &check.detail),
    };
    let mut case = TestCase::new(check.name.clone(), status);
    if !check.detail.is_empty() {
        case.set_system_out(check.detail.clone());
    }
    case
}

fn status(verdict: Verdict, code: &str, text: &str) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Skip => TestCaseStatus::skipped(),
        Verdict::Failure => TestCaseStatus::non_success(NonSuccessKind::Failure),
        _ => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_type(code).set_message(text);
    status
}

//! The record of a run: everything that the table, result.json, JUnit and the page show.

use std::path::Path;

use pvbounce::suites::ktap::{Check, Figures, Parser, Report};
use serde::Serialize;

use crate::boot::{Seen, guest_log};
use crate::console::Dom0;
use crate::error::Result;
use crate::evidence::{self, Evidence};
use crate::guest::Guest;
use crate::job::{Job, Shown};
use crate::judge::{Facts, Problem, Verdict, judge};

/// A run of several jobs.
#[derive(Debug, Serialize)]
pub(crate) struct RunRecord {
    /// What was run: smoke, dom0, test.
    pub(crate) name: String,
    /// When it started, UTC.
    pub(crate) started: String,
    /// What it ran on, for people: versions of Xen, Linux, QEMU, and KVM or TCG.
    pub(crate) machine: String,
    /// The bytes of the guest's image.
    pub(crate) image_bytes: u64,
    /// The jobs.
    pub(crate) jobs: Vec<JobRecord>,
    /// Two of them side by side, where the run was for that.
    pub(crate) comparison: Option<ComparisonRecord>,
}

impl RunRecord {
    /// The worst verdict of all jobs.
    pub(crate) fn worst(&self) -> Verdict {
        self.jobs.iter().map(|job| job.verdict).max().unwrap_or(Verdict::Error)
    }
}

/// One job.
#[derive(Debug, Serialize)]
pub(crate) struct JobRecord {
    /// Its name.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// How it has to end.
    pub(crate) expected: Verdict,
    /// Why, unless it is SUCCESS.
    pub(crate) problem: Option<Problem>,
    /// The reason code that has to be among the reasons.
    pub(crate) because: Option<&'static str>,
    /// What it was to show and did not.
    pub(crate) not_shown: Option<String>,
    /// Seconds from the start of `xl create` to the domain being gone.
    pub(crate) seconds: f64,
    /// What QEMU traced.
    pub(crate) evidence: Option<Evidence>,
    /// Xen's free memory in MiB before and after.
    pub(crate) free_mib: Option<(u64, u64)>,
    /// Xen's free pages below 4 GiB before and after.
    pub(crate) low_pages: Option<(u64, u64)>,
    /// dom0 itself, after it.
    pub(crate) dom0: Option<Dom0>,
    /// What the guest wrote to `data/pvbounce`.
    pub(crate) store: Vec<(String, String)>,
    /// What the guest still held at the end, in its own words.
    pub(crate) taken: Option<String>,
    /// The suites.
    pub(crate) suites: Vec<SuiteRecord>,
    /// What was measured.
    pub(crate) figures: Vec<FiguresRecord>,
    /// A panic's backtrace, with names.
    pub(crate) backtrace: Vec<String>,
}

impl JobRecord {
    /// Whether it ended as it has to.
    pub(crate) fn is_as_expected(&self) -> bool {
        let for_its_reason = self.because.is_none_or(|code| self.names(code));
        self.verdict == self.expected && for_its_reason && self.not_shown.is_none()
    }

    /// Whether the code is among the reasons given.
    fn names(&self, code: &str) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.code == code)
            || self.suites.iter().flat_map(|suite| &suite.checks).any(|check| check.code == code)
    }

    /// Notes what the job was to show and did not. A success without it is none.
    fn must_show(&mut self, shows: &[Shown]) {
        self.not_shown = shows.iter().find_map(|Shown { suite, check, words }| {
            let note = self.note(suite, check).unwrap_or("nothing");
            (!note.contains(words)).then(|| {
                format!("{suite}.{check} has to say `{words}` in this run, and says: {note}")
            })
        });
        if let Some(detail) = self.not_shown.as_ref().filter(|_| self.verdict == self.expected) {
            let remedy = "see the guest's log for what came instead, and dom0.log";
            self.problem = Some(Problem::rig("not-shown", detail, remedy));
            self.verdict = self.verdict.max(Verdict::Failure);
        }
    }

    /// What a check that passed measured.
    pub(crate) fn note(&self, suite: &str, check: &str) -> Option<&str> {
        Some(&self.check(suite, check)?.detail)
    }

    /// A check by its suite's name and its own.
    pub(crate) fn check(&self, suite: &str, check: &str) -> Option<&CheckRecord> {
        let suite = self.suites.iter().find(|known| known.name == suite)?;
        suite.checks.iter().find(|known| known.name == check)
    }

    /// Checks of one verdict, over all suites.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.suites.iter().map(|suite| suite.count(verdict)).sum()
    }
}

/// One table of figures.
#[derive(Debug, Serialize)]
pub(crate) struct FiguresRecord {
    /// Its name.
    pub(crate) table: String,
    /// What the columns are called.
    pub(crate) columns: Vec<String>,
    /// The rows, a cell for each column.
    pub(crate) rows: Vec<Vec<String>>,
}

impl From<&Figures> for FiguresRecord {
    fn from(figures: &Figures) -> Self {
        let Figures { table, columns, rows } = figures.clone();
        Self { table, columns, rows }
    }
}

/// What two jobs measured, side by side.
#[derive(Debug, Serialize)]
pub(crate) struct ComparisonRecord {
    /// The figures.
    #[serde(flatten)]
    pub(crate) figures: FiguresRecord,
    /// How they were come by: what a reader needs in order to call it fair or not.
    pub(crate) legend: Vec<String>,
}

/// One suite.
#[derive(Debug, Serialize)]
pub(crate) struct SuiteRecord {
    /// Its name.
    pub(crate) name: String,
    /// Its result; CRASH if the line never came.
    pub(crate) verdict: Verdict,
    /// Why it was skipped.
    pub(crate) reason: String,
    /// Seconds from its first line on the console to its last.
    pub(crate) seconds: f64,
    /// The checks.
    pub(crate) checks: Vec<CheckRecord>,
}

impl SuiteRecord {
    /// Checks of one verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct CheckRecord {
    /// Its name.
    pub(crate) name: String,
    /// Seconds from the job's begin to its line on the console.
    pub(crate) at: f64,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// The reason's code; empty for a pass.
    pub(crate) code: String,
    /// The measured value, or a pass's note.
    pub(crate) detail: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// Judges a job by all that was seen of it.
pub(crate) fn record(job: &Job, seen: Seen, guest: &Guest, folder: &Path) -> Result<JobRecord> {
    let (report, times) = read(&seen.console);
    let evidence = match job.device.filter(|_| seen.trace.exists()) {
        Some(device) => {
            let part = seen.traced.clone();
            Some(evidence::examine(&seen.trace, part, device.slot(), &report.ranges)?)
        }
        None => None,
    };
    let last_line =
        seen.console.iter().rev().map(|(_, line)| line.trim()).find(|line| !line.is_empty());
    let (verdict, problem) = judge(&Facts {
        report: &report,
        end: seen.end.as_ref(),
        machine: seen.machine,
        xl: &seen.xl,
        last_line: last_line.unwrap_or("none at all"),
        evidence: evidence.as_ref(),
        has_device: job.device.is_some(),
    });
    let text: String = seen.console.iter().map(|(_, line)| format!("{line}\n")).collect();
    let backtrace = report.panic.as_ref().map_or(Vec::new(), |_| guest.symbolise(&text));
    append(&folder.join(guest_log(&job.name)), &backtrace)?;
    let mut record = JobRecord {
        name: job.name.clone(),
        verdict,
        expected: job.expect.unwrap_or(Verdict::Success),
        problem,
        because: job.because,
        not_shown: None,
        seconds: seen.end.as_ref().map_or(0.0, |end| end.seconds),
        evidence,
        free_mib: seen.end.as_ref().and_then(|end| end.free_mib),
        low_pages: seen.end.as_ref().and_then(|end| end.low_pages),
        dom0: seen.end.and_then(|end| end.dom0),
        store: seen.store,
        taken: report.taken.map(|taken| taken.to_string()),
        suites: suites(&report, &times),
        figures: report.figures.iter().map(FiguresRecord::from).collect(),
        backtrace,
    };
    record.must_show(&job.shows);
    Ok(record)
}

fn append(log: &Path, lines: &[String]) -> Result {
    use crate::error::Context;
    use std::io::Write;
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = std::fs::File::options().append(true).open(log).on("open", log)?;
    writeln!(file, "\nThe same with names, by the rig:\n{}", lines.join("\n")).on("write", log)
}

/// When a suite's first line came, its last, and those of its checks.
struct Times {
    first: f64,
    last: f64,
    checks: Vec<f64>,
}

/// The report, and the times of each suite.
fn read(console: &[(f64, String)]) -> (Report, Vec<Times>) {
    let mut parser = Parser::new();
    let mut times: Vec<Times> = Vec::new();
    for (at, line) in console {
        parser.line(line);
        let suites = &parser.report().suites;
        if suites.len() > times.len() {
            times.push(Times { first: *at, last: *at, checks: Vec::new() });
        } else if let (Some(time), Some(suite)) = (times.last_mut(), suites.last()) {
            time.last = if suite.verdict.is_none() { *at } else { time.last };
            time.checks.resize(suite.checks.len(), *at);
        }
    }
    (parser.finish(), times)
}

fn suites(report: &Report, times: &[Times]) -> Vec<SuiteRecord> {
    let with_times = report.suites.iter().zip(times);
    with_times
        .map(|(suite, times)| SuiteRecord {
            name: suite.name.clone(),
            verdict: suite.verdict.map_or(Verdict::Crash, Verdict::from),
            reason: suite.reason.clone(),
            seconds: times.last - times.first,
            checks: suite.checks.iter().zip(&times.checks).map(check).collect(),
        })
        .collect()
}

fn check((check, at): (&Check, &f64)) -> CheckRecord {
    CheckRecord {
        name: check.name.clone(),
        at: *at,
        verdict: check.verdict.into(),
        code: check.code.clone(),
        detail: check.detail.clone(),
        remedy: check.remedy.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::JobEnd;

    fn ended(job: &Job, text: &str) -> JobRecord {
        let console = text.lines().map(|line| (0.0, line.to_owned())).collect();
        let end = Some(JobEnd { reason: Some(0), code: Some(0), ..JobEnd::default() });
        let guest = Guest { elf: Path::new("").to_owned() };
        record(job, Seen { console, end, ..Seen::default() }, &guest, Path::new("")).unwrap()
    }

    const BOUNCED: &str = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: dma\n  1..1\n  \
                           ok 1 frames # bouncing is forced\nok 1 dma\nTest result: SUCCESS\n";

    #[test]
    fn a_run_that_does_not_show_what_it_is_for_is_a_failure() {
        let job = Job::new("x", "no-device.cfg", None);
        assert!(ended(&job, BOUNCED).is_as_expected());
        assert!(ended(&job.clone().shows("dma", "frames", "forced"), BOUNCED).is_as_expected());
        for (check, words) in [("frames", "direct"), ("others", "forced")] {
            let record = ended(&job.clone().shows("dma", check, words), BOUNCED);
            assert_eq!(record.verdict, Verdict::Failure);
            assert_eq!(record.problem.as_ref().unwrap().code, "not-shown");
            assert!(!record.is_as_expected());
        }
    }

    #[test]
    fn a_run_that_has_to_fail_has_to_show_it_too() {
        let text = BOUNCED.replace("ok 1 frames # bouncing", "not ok 1 frames # FAILURE x: b");
        let text = text.replace("ok 1 dma", "not ok 1 dma # FAILURE").replace("SUCCESS", "FAILURE");
        let job = Job::new("x", "no-device.cfg", None).expect(Verdict::Failure, "x");
        assert!(ended(&job, &text).is_as_expected());
        let record = ended(&job.shows("dma", "frames", "direct"), &text);
        assert!(!record.is_as_expected());
        assert_eq!(record.problem.unwrap().code, "not-shown");
    }

    #[test]
    fn each_check_has_the_time_of_its_own_line() {
        let lines = [
            "banner",
            "KTAP version 1",
            "1..1",
            "  KTAP version 1",
            "  # Subtest: net",
            "  1..2",
            "  ok 1 link_is_up",
            "  noise",
            "  ok 2 router_answers_arp",
            "ok 1 net",
            "Test result: SUCCESS",
        ];
        let at = (0_u32..).map(f64::from);
        let console: Vec<_> = at.zip(lines.map(str::to_owned)).collect();
        let (report, times) = read(&console);
        let suites = suites(&report, &times);
        let at: Vec<_> = suites[0].checks.iter().map(|check| check.at).collect();
        assert_eq!(at, [6.0, 8.0]);
        assert!((suites[0].seconds - 5.0).abs() < 1e-9, "{}", suites[0].seconds);
    }
}

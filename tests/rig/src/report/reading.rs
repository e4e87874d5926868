//! A guest's console, read line by line as it comes: its report, and when and where each part of it was said.

use protocol::report::ktap::{Check, Parser, Report};

use super::record::{CheckRecord, StageRecord, SuiteRecord};
use crate::judge::Verdict;

/// Stages that are kept: a start has about ten.
const STAGES: usize = 64;

/// A console under way.
#[derive(Debug, Default)]
pub(super) struct Reading {
    parser: Parser,
    lines: usize,
    stages: Vec<StageRecord>,
    suites: Vec<Said>,
}

/// When a suite's first line came, its last, and when and in which line each of its checks.
#[derive(Debug)]
struct Said {
    first: f64,
    last: f64,
    checks: Vec<(f64, usize)>,
}

impl Reading {
    /// A whole console.
    pub(super) fn of(console: &[(f64, String)]) -> Self {
        let mut reading = Self::default();
        console.iter().for_each(|(at, line)| reading.line(*at, line));
        reading
    }

    /// Takes the next line, and how many seconds after the job's begin it came.
    pub(super) fn line(&mut self, at: f64, line: &str) {
        self.lines += 1;
        self.parser.line(line);
        let suites = &self.parser.report().suites;
        if suites.is_empty() && self.stages.len() < STAGES {
            self.stages.extend(stage(at, self.lines, line));
        }
        if suites.len() > self.suites.len() {
            self.suites.push(Said { first: at, last: at, checks: Vec::new() });
        } else if let (Some(said), Some(suite)) = (self.suites.last_mut(), suites.last()) {
            said.last = if suite.verdict.is_none() { at } else { said.last };
            said.checks.resize(suite.checks.len(), (at, self.lines));
        }
    }

    /// Lines so far.
    pub(super) const fn lines(&self) -> usize {
        self.lines
    }

    /// The stages so far.
    pub(super) fn stages(&self) -> &[StageRecord] {
        &self.stages
    }

    /// How many suites have begun.
    pub(super) fn begun(&self) -> usize {
        self.suites.len()
    }

    /// A suite that has begun, with its checks so far, and whether it has ended.
    pub(super) fn suite(&self, index: usize) -> Option<(SuiteRecord, bool)> {
        let (suite, said) = (self.parser.report().suites.get(index)?, self.suites.get(index)?);
        let record = SuiteRecord {
            name: suite.name.clone(),
            verdict: suite.verdict.map_or(Verdict::Crash, Verdict::from),
            reason: suite.reason.clone(),
            at: said.first,
            seconds: said.last - said.first,
            checks: suite.checks.iter().zip(&said.checks).map(check).collect(),
        };
        Some((record, suite.verdict.is_some()))
    }

    /// The report, and what a record takes from it.
    pub(super) fn finish(self) -> (Report, Vec<StageRecord>, Vec<SuiteRecord>) {
        let suites = (0..self.begun()).filter_map(|index| self.suite(index));
        let suites = suites.map(|(suite, _)| suite).collect();
        (self.parser.finish(), self.stages, suites)
    }
}

/// `[    0.021] memory: 65020 of 65536 pages free`: a stage, and when by the guest's clock.
fn stage(at: f64, line: usize, text: &str) -> Option<StageRecord> {
    let (clock, rest) = text.strip_prefix('[')?.split_once("] ")?;
    let guest_at: f64 = clock.trim().parse().ok()?;
    let (name, detail) = rest.split_once(": ")?;
    let guest_at = Some(guest_at).filter(|at| at.is_finite() && *at >= 0.0)?;
    Some(StageRecord { name: name.to_owned(), detail: detail.to_owned(), at, guest_at, line })
}

fn check((check, &(at, line)): (&Check, &(f64, usize))) -> CheckRecord {
    CheckRecord {
        name: check.name.clone(),
        at,
        line,
        verdict: check.verdict.into(),
        code: check.code.clone(),
        detail: check.detail.clone(),
        remedy: check.remedy.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_its_time_and_the_number_of_its_line() {
        let mut reading = Reading::default();
        for (n, line) in [
            "pvbounce 0.1.0 on Xen",
            "[    0.021] memory: 3 of 4 pages free",
            "[ 0.1.2] no: stage",
            "KTAP version 1",
            "1..1",
            "  KTAP version 1",
            "  # Subtest: dma",
            "  1..2",
            "  ok 1 a",
            "  # 7 words of the suite's own",
            "  # reason: x: y",
            "  not ok 2 b # FAILURE x: y",
        ]
        .iter()
        .enumerate()
        {
            reading.line(n as f64, line);
        }
        let (suite, ended) = reading.suite(0).unwrap();
        assert!(!ended && suite.verdict == Verdict::Crash);
        let said: Vec<_> = suite.checks.iter().map(|check| (check.at, check.line)).collect();
        assert_eq!(said, [(8.0, 9), (11.0, 12)]);
        reading.line(12.0, "not ok 1 dma # FAILURE");
        let (suite, ended) = reading.suite(0).unwrap();
        assert!(ended && suite.verdict == Verdict::Failure);
        assert_eq!((suite.at, suite.seconds), (5.0, 6.0));
        let [stage] = reading.stages() else { panic!("one stage") };
        assert_eq!((&*stage.name, &*stage.detail), ("memory", "3 of 4 pages free"));
        assert_eq!((stage.at, stage.guest_at, stage.line), (1.0, 0.021, 2));
    }
}

//! What a page tells: the suites so far, what did not hold, how it ended.

use crate::report::{Event, Outcome, Tally, Verdict};
use alloc::{string::String, vec::Vec};

/// How many checks that did not hold are kept of each kind; all are counted.
const KEPT: usize = 16;

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    #[default]
    Running,
    /// It has its verdict.
    Over(Verdict),
    /// It panicked.
    Crashed,
}

/// A suite.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its title.
    pub name: String,
    /// How many checks it has.
    pub planned: usize,
    /// Those that have ended.
    pub tally: Tally,
    /// How it ended, once it has.
    pub verdict: Option<Verdict>,
}

/// A check, or a suite, that did not hold.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What it is.
    pub verdict: Verdict,
    /// Its reason code.
    pub code: &'static str,
    /// The suite.
    pub suite: String,
    /// The check; empty for a suite.
    pub check: String,
}

/// What is on a page.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// What runs on what.
    pub title: String,
    /// The suites, in order.
    pub suites: Vec<Row>,
    /// How it ended.
    pub end: End,
    /// Whether the page stays when it has.
    pub stays: bool,
    bad: Vec<Trouble>,
    skipped: Vec<Trouble>,
}

impl Board {
    /// A page on which nothing has happened.
    pub fn new(title: String, stays: bool) -> Self {
        Self { title, stays, ..Self::default() }
    }

    /// Notes what happened.
    pub fn told(&mut self, event: &Event<'_>) {
        match *event {
            Event::Suite { name, checks } => self.suites.push(Row {
                name: name.into(),
                planned: checks,
                tally: Tally::default(),
                verdict: None,
            }),
            Event::Check { name, outcome } => self.check(name, outcome),
            Event::Ended { verdict, why } => {
                if let Some(row) = self.suites.last_mut() {
                    row.verdict = Some(verdict);
                }
                // What a check of it said already is not said again.
                let said = self.suites.last().is_some_and(|row| row.tally.total() > 0);
                if let Some(reason) = why.filter(|_| !said) {
                    self.trouble(verdict, reason.code, self.suite(), String::new());
                }
            }
            Event::Over { verdict, why } => {
                self.end = End::Over(verdict);
                if let Some(reason) = why {
                    self.decide(verdict, reason.code);
                }
            }
        }
    }

    fn check(&mut self, name: &str, outcome: &Outcome) {
        let verdict = outcome.verdict();
        if let Some(row) = self.suites.last_mut() {
            row.tally.add(verdict);
        }
        match outcome {
            Outcome::Pass { .. } => {}
            Outcome::Skip(reason)
            | Outcome::Inconclusive(reason)
            | Outcome::Failure(reason)
            | Outcome::Error(reason) => {
                self.trouble(verdict, reason.code, self.suite(), name.into());
            }
        }
    }

    /// The title of the suite that runs.
    fn suite(&self) -> String {
        self.suites.last().map(|row| row.name.clone()).unwrap_or_default()
    }

    fn list(&mut self, verdict: Verdict) -> &mut Vec<Trouble> {
        if verdict.is_ok() { &mut self.skipped } else { &mut self.bad }
    }

    /// Puts what the whole run ends with before what single checks said.
    fn decide(&mut self, verdict: Verdict, code: &'static str) {
        let list = self.list(verdict);
        list.truncate(KEPT - 1);
        list.insert(0, Trouble { verdict, code, suite: String::new(), check: String::new() });
    }

    fn trouble(&mut self, verdict: Verdict, code: &'static str, suite: String, check: String) {
        let list = self.list(verdict);
        if list.len() < KEPT {
            list.push(Trouble { verdict, code, suite, check });
        }
    }

    /// All checks so far.
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        for Row { tally, .. } in &self.suites {
            all.passed += tally.passed;
            all.skipped += tally.skipped;
            all.inconclusive += tally.inconclusive;
            all.failed += tally.failed;
            all.errors += tally.errors;
        }
        all
    }

    /// How it is, in a word.
    pub const fn word(&self) -> &'static str {
        match self.end {
            End::Running => "RUNNING",
            End::Crashed => "CRASH",
            End::Over(verdict) => verdict.word(),
        }
    }

    /// What did not hold, first; then what could not be tried.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.bad.iter().chain(&self.skipped)
    }

    /// The codes that the verdict stands on, each once: of what did not hold or, in a SKIP, of what could not be tried.
    pub fn codes(&self) -> impl Iterator<Item = &'static str> + Clone {
        let skip = self.end == End::Over(Verdict::Skip);
        let list: &[Trouble] = if skip { &self.skipped } else { &self.bad };
        let new = |at: &usize| list[..*at].iter().all(|before| before.code != list[*at].code);
        (0..list.len()).filter(new).map(|at| list[at].code)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::Reason;

    /// Plays a run with a suite of a check that holds, and more.
    fn played(verdict: Verdict, outcomes: &[Outcome]) -> Board {
        let mut board = Board::new("pvbounce on Xen".into(), false);
        board.told(&Event::Suite { name: "dma", checks: 1 + outcomes.len() });
        board.told(&Event::Check { name: "device_reads_memory", outcome: &Outcome::pass("") });
        for outcome in outcomes {
            board.told(&Event::Check { name: "every_length_comes_back", outcome });
        }
        board.told(&Event::Ended { verdict, why: None });
        board.told(&Event::Over { verdict, why: None });
        board
    }

    /// A run that ended like this.
    pub(crate) fn board(verdict: Verdict) -> Board {
        played(verdict, &[])
    }

    /// A run in which checks failed with these codes, and one could not be tried.
    pub(crate) fn fails(codes: &[&'static str]) -> Board {
        let skip = Outcome::Skip(Reason::new("no-com-port", ""));
        let failed = codes.iter().map(|code| Outcome::Failure(Reason::new(code, "")));
        played(Verdict::Failure, &core::iter::once(skip).chain(failed).collect::<Vec<_>>())
    }

    #[test]
    fn each_word_has_its_turn() {
        let mut run = Board::default();
        assert_eq!(run.word(), "RUNNING");
        run.end = End::Crashed;
        assert_eq!(run.word(), "CRASH");
        for verdict in Verdict::ALL {
            assert_eq!(board(verdict).word(), verdict.word());
        }
    }

    #[test]
    fn what_did_not_hold_comes_first_and_alone_is_why() {
        let run = fails(&["leak", "dma-overrun", "leak"]);
        assert!(run.codes().eq(["leak", "dma-overrun"]));
        assert!(run.troubles().map(|t| t.code).eq(["leak", "dma-overrun", "leak", "no-com-port"]));
        assert_eq!((run.tally().passed, run.tally().failed, run.tally().skipped), (1, 3, 1));
        assert_eq!(run.suites[0].verdict, Some(Verdict::Failure));
        let skip = Outcome::Skip(Reason::new("no-com-port", ""));
        assert!(played(Verdict::Success, core::slice::from_ref(&skip)).codes().next().is_none());
        assert!(played(Verdict::Skip, &[skip]).codes().eq(["no-com-port"]));
    }

    #[test]
    fn a_suite_that_can_not_run_has_its_reason_and_so_has_a_run_that_showed_nothing() {
        let mut run = Board::default();
        let (lacks, idle) = (Reason::new("no-driver", ""), Reason::new("nothing-compared", ""));
        run.told(&Event::Suite { name: "irq", checks: 0 });
        run.told(&Event::Ended { verdict: Verdict::Skip, why: Some(&lacks) });
        assert!(run.troubles().map(|trouble| trouble.code).eq(["no-driver"]), "no check said it");
        (0..KEPT).for_each(|_| {
            run.told(&Event::Check { name: "", outcome: &Outcome::Skip(lacks.clone()) });
        });
        run.told(&Event::Over { verdict: Verdict::Skip, why: Some(&idle) });
        assert!(run.codes().eq(["nothing-compared", "no-driver"]), "what it ends with comes first");
        let suites = run.troubles().map(|trouble| trouble.suite.as_str());
        assert!(suites.eq(core::iter::once("").chain(["irq"; KEPT - 1])));
        let mut said = fails(&["leak"]);
        let before = said.troubles().count();
        said.told(&Event::Ended { verdict: Verdict::Skip, why: Some(&lacks) });
        assert_eq!(said.troubles().count(), before, "its checks have said it");
    }

    #[test]
    fn all_checks_of_all_suites_are_counted_by_how_they_ended() {
        let reason = || Reason::new("leak", "");
        let mut run = Board::default();
        for name in ["irq", "dma"] {
            run.told(&Event::Suite { name, checks: 15 });
            for (count, outcome) in [
                (5, Outcome::pass("")),
                (4, Outcome::Skip(reason())),
                (3, Outcome::Inconclusive(reason())),
                (2, Outcome::Failure(reason())),
                (1, Outcome::Error(reason())),
            ] {
                (0..count).for_each(|_| run.told(&Event::Check { name: "", outcome: &outcome }));
            }
        }
        let all = run.tally();
        assert_eq!((all.passed, all.skipped, all.inconclusive), (10, 8, 6));
        assert_eq!((all.failed, all.errors, all.total()), (4, 2, 30));
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let run = fails(&["leak"; 100]);
        assert_eq!((run.tally().failed, run.troubles().count()), (100, KEPT + 1));
    }
}

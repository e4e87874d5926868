//! A suite as a value, and how it runs: which of its checks prove something, and what follows if none of those could.
//!
//! A check *proves* when its passing means that the thing under test did its work: a frame crossed the device and was
//! compared. Others *attend*: guards that hold and counters that read zero do so on a machine where nothing moved, too.
//! They can fail a suite, but they can't make it a success.
//!
//! `G` is the guest; on the host the tests play it.

use crate::report::{
    ktap::Writer,
    verdict::{Outcome, Reason, Tally, Verdict},
};
use alloc::{format, string::String, vec::Vec};
use core::fmt;

/// What a check found: a note for the report, or why the claim does not hold.
pub type Finding = Result<String, Outcome>;

/// A claim and the function that tries it.
#[derive(Debug)]
pub struct Check<G> {
    name: &'static str,
    run: fn(&mut G) -> Finding,
    proves: bool,
}

/// A check whose passing shows that what the suite is about works.
pub const fn proof<G>(name: &'static str, run: fn(&mut G) -> Finding) -> Check<G> {
    Check { name, run, proves: true }
}

/// A check that passes as well where nothing was done.
pub const fn attends<G>(name: &'static str, run: fn(&mut G) -> Finding) -> Check<G> {
    Check { name, run, proves: false }
}

/// Checks that share a subject, and what they need to run at all.
#[derive(Debug)]
pub struct Suite<G: 'static> {
    /// Its name on the command line and in the report.
    pub name: &'static str,
    /// Why the suite can't run on this guest, if it can't.
    pub missing: fn(&G) -> Option<Reason>,
    /// Whether it is about a device, and runs for each that there is.
    pub of_a_device: bool,
    /// Whether it only tidies up, so that its success proves nothing.
    pub tidies: bool,
    /// What it claims, in order.
    pub checks: &'static [Check<G>],
}

/// Whether all of these hold, each by its name; a failure names those that don't, and says what was measured.
///
/// A claim of several parts is written as a list: left to operators between them, a part that is not asked for shows
/// in no run on a machine that works.
pub fn all_hold(
    code: &'static str,
    parts: &[(&str, bool)],
    measured: impl FnOnce() -> String,
) -> Result<(), Outcome> {
    let broken: Vec<&str> =
        parts.iter().filter(|(_, holds)| !holds).map(|(name, _)| *name).collect();
    match broken.is_empty() {
        true => Ok(()),
        false => {
            let detail = format!("not so: {}; {}", broken.join(", "), measured());
            Err(Outcome::Failure(Reason::new(code, detail)))
        }
    }
}

/// What came of a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its checks.
    pub tally: Tally,
    /// Why it showed nothing, if it did not; what failed speaks for itself.
    pub skipped: Option<Reason>,
}

impl<G> Suite<G> {
    /// Runs the checks in order and writes their part of the report, under `title`. `between` comes after each, for what
    /// would wait for the guest else.
    pub fn run<W: fmt::Write>(
        &self,
        title: &str,
        guest: &mut G,
        writer: &mut Writer<W>,
        between: fn(&mut G),
    ) -> Result<Ran, fmt::Error> {
        if let Some(reason) = (self.missing)(guest) {
            writer.suite(title, 0)?.skip(&reason)?;
            return Ok(Ran { tally: Tally::default(), skipped: Some(reason) });
        }
        let mut section = writer.suite(title, self.checks.len())?;
        let mut proofs = Proofs::default();
        for check in self.checks {
            let outcome = (check.run)(guest).map_or_else(|outcome| outcome, Outcome::pass);
            section.check(check.name, &outcome)?;
            proofs.add(check.proves, &outcome);
            between(guest);
        }
        let tally = section.tally();
        if self.tidies {
            section.finish_tidying()?;
            return Ok(Ran { tally, skipped: None });
        }
        let skipped = proofs.lacking().filter(|_| tally.verdict().is_ok());
        match &skipped {
            Some(reason) => section.skip(reason)?,
            None => section.finish()?,
        };
        Ok(Ran { tally, skipped })
    }
}

/// What became of the checks of a suite that prove something.
#[derive(Debug, Default)]
struct Proofs {
    held: usize,
    // Why the first of them that could not be tried could not.
    first: Option<Reason>,
}

impl Proofs {
    fn add(&mut self, proves: bool, outcome: &Outcome) {
        match outcome.verdict() {
            Verdict::Success if proves => self.held += 1,
            Verdict::Skip if proves => {
                self.first.get_or_insert_with(|| outcome.reason());
            }
            _ => {}
        }
    }

    /// Why nothing is proved, if nothing is.
    fn lacking(self) -> Option<Reason> {
        let nothing = || Reason::new("nothing-proved", "no check that proves anything ran");
        (self.held == 0).then(|| self.first.unwrap_or_else(nothing))
    }
}

/// Why a run with a device that was to show its DMA did not show it, if it did not: not a single frame was compared.
///
/// `dma` is what came of suite `dma` for it.
pub fn not_shown(device: bool, dma: &Ran, compared: u64) -> Option<Reason> {
    let nothing = || Reason::new("nothing-compared", "no transfer came back to be compared");
    (device && compared == 0).then(|| dma.skipped.clone().unwrap_or_else(nothing))
}

/// Which devices showed their DMA, of a run's.
#[derive(Debug, Default)]
pub struct Shown {
    any: bool,
    missing: Option<Reason>,
    spared: Option<Reason>,
}

impl Shown {
    /// Adds a device: why it did not show it, if it did not, and whether it need not as long as another one does.
    pub fn add(&mut self, why_not: Option<Reason>, bonus: bool) {
        let place = match why_not {
            None => return self.any = true,
            Some(_) if bonus => &mut self.spared,
            Some(_) => &mut self.missing,
        };
        *place = place.take().or(why_not);
    }

    /// Why the run did not show what it was to show, if it did not.
    pub fn lacking(self) -> Option<Reason> {
        self.missing.or_else(|| self.spared.filter(|_| !self.any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ktap::Parser;

    /// Plays the guest: what the checks of its suite find.
    struct Played {
        proves: Finding,
        attends: Finding,
        between: usize,
    }

    const CHECKS: [Check<Played>; 2] = [
        proof("frames_come_back", |played| played.proves.clone()),
        attends("guards_hold", |played| played.attends.clone()),
    ];

    fn suite(tidies: bool) -> Suite<Played> {
        Suite { name: "dma", missing: |_| None, of_a_device: false, tidies, checks: &CHECKS }
    }

    fn run(suite: &Suite<Played>, proves: Finding, attends: Finding) -> (Ran, Verdict, Verdict) {
        let mut text = String::new();
        let mut writer = Writer::start(&mut text, 1).unwrap();
        let mut played = Played { proves, attends, between: 0 };
        let ran = suite.run("dma", &mut played, &mut writer, |played| played.between += 1).unwrap();
        assert_eq!(played.between, 2);
        let whole = writer.finish().unwrap();
        let report = Parser::read(&text);
        assert_eq!(report.suites[0].checks.len(), 2, "{text}");
        (ran, report.suites[0].verdict.unwrap(), whole)
    }

    fn pass() -> Finding {
        Ok(String::new())
    }

    fn skip() -> Finding {
        Err(Outcome::Skip(Reason::new("link-down", "no link")))
    }

    fn failure() -> Finding {
        Err(Outcome::Failure(Reason::new("dma-overrun", "byte 3")))
    }

    #[test]
    fn what_only_attends_makes_no_success() {
        let (ran, suite, whole) = run(&suite(false), skip(), pass());
        assert_eq!((suite, whole), (Verdict::Skip, Verdict::Skip));
        assert_eq!(ran.skipped.unwrap().code, "link-down");
        assert_eq!((ran.tally.passed, ran.tally.skipped), (1, 1));
    }

    #[test]
    fn a_proof_makes_one_whatever_else_was_skipped() {
        let (ran, suite, whole) = run(&suite(false), pass(), skip());
        assert_eq!((suite, whole, ran.skipped), (Verdict::Success, Verdict::Success, None));
    }

    #[test]
    fn what_fails_is_the_verdict_with_or_without_proof() {
        for (proves, attends) in [(skip(), failure()), (pass(), failure()), (failure(), pass())] {
            let (ran, suite, whole) = run(&suite(false), proves, attends);
            assert_eq!((suite, whole), (Verdict::Failure, Verdict::Failure));
            assert_eq!(ran.skipped, None);
        }
    }

    #[test]
    fn a_claim_holds_if_all_its_parts_do_and_names_those_that_do_not() {
        let claim = |a, b, c| all_hold("x-y", &[("a", a), ("b", b), ("c", c)], || "3 of 4".into());
        assert_eq!(claim(true, true, true), Ok(()));
        for (a, b, c, detail) in [
            (false, true, true, "not so: a; 3 of 4"),
            (true, false, true, "not so: b; 3 of 4"),
            (false, true, false, "not so: a, c; 3 of 4"),
        ] {
            let failure = Outcome::Failure(Reason::new("x-y", detail));
            assert_eq!(claim(a, b, c), Err(failure));
        }
    }

    #[test]
    fn a_suite_of_which_nothing_proves_is_no_success() {
        const ATTENDS: [Check<()>; 1] = [attends("guards_hold", |()| Ok(String::new()))];
        let nothing = Suite::<()> {
            name: "dma",
            missing: |()| None,
            of_a_device: false,
            tidies: false,
            checks: &ATTENDS,
        };
        let mut writer = Writer::start(String::new(), 1).unwrap();
        let ran = nothing.run("dma", &mut (), &mut writer, |()| {}).unwrap();
        assert_eq!(writer.finish().unwrap(), Verdict::Skip);
        assert_eq!(ran.skipped.unwrap().code, "nothing-proved");
    }

    #[test]
    fn what_is_missing_is_why_it_is_skipped() {
        let absent = Suite::<()> {
            name: "dma",
            missing: |()| Some(Reason::new("no-driver", "")),
            of_a_device: false,
            tidies: false,
            checks: &[],
        };
        let mut writer = Writer::start(String::new(), 1).unwrap();
        let ran = absent.run("dma", &mut (), &mut writer, |()| {}).unwrap();
        assert_eq!(ran.skipped.unwrap().code, "no-driver");
        assert_eq!(writer.finish().unwrap(), Verdict::Skip);
    }

    #[test]
    fn tidying_up_is_a_success_of_its_own_that_proves_nothing() {
        let (ran, suite, whole) = run(&suite(true), pass(), pass());
        assert_eq!((suite, whole, ran.skipped), (Verdict::Success, Verdict::Skip, None));
    }

    #[test]
    fn what_nobody_asked_for_need_not_show_anything_as_long_as_something_does() {
        let lacking = |devices: &[(Option<&'static str>, bool)]| {
            let mut shown = Shown::default();
            for (code, bonus) in devices {
                shown.add(code.map(|code| Reason::new(code, "")), *bonus);
            }
            shown.lacking().map(|reason| reason.code)
        };
        let (empty, asked) = ((Some("device-empty"), true), (Some("no-driver"), false));
        assert_eq!(lacking(&[empty, (None, false), empty]), None);
        assert_eq!(lacking(&[empty, (Some("x"), true)]), Some("device-empty"));
        assert_eq!(lacking(&[empty, (None, true), asked]), Some("no-driver"));
        assert_eq!(lacking(&[asked, (Some("x"), false)]), Some("no-driver"), "the first");
        assert_eq!(lacking(&[]), None);
    }

    #[test]
    fn a_device_whose_frames_nobody_compared_was_not_shown_to_work() {
        let silent = Ran { skipped: None, ..Ran::default() };
        let skipped = Ran { skipped: Some(Reason::new("no-driver", "")), ..Ran::default() };
        let code = |device, dma, compared| not_shown(device, dma, compared).map(|why| why.code);
        assert_eq!(code(true, &silent, 0), Some("nothing-compared"));
        assert_eq!(code(true, &skipped, 0), Some("no-driver"));
        assert_eq!(code(true, &silent, 1), None);
        assert_eq!(code(false, &skipped, 0), None, "there is no device");
    }

    #[test]
    fn only_what_would_have_proved_something_says_why_nothing_is_proved() {
        let skip = |code| Outcome::Skip(Reason::new(code, "for a test"));
        let mut proofs = Proofs::default();
        proofs.add(false, &skip("aside"));
        proofs.add(true, &skip("first"));
        proofs.add(true, &skip("second"));
        assert_eq!(proofs.lacking().map(|reason| reason.code), Some("first"));
        assert_eq!(Proofs::default().lacking().map(|reason| reason.code), Some("nothing-proved"));
    }
}

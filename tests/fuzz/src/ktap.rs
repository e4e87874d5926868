//! The report: what the guest writes is what the rig reads; and any text is read.
//!
//! [`round_trip`] asserts: verdict, code, detail, note and remedy of each check, each suite's verdict and the run's
//! come back as they were said, whatever a device or backend put into them: control characters and blanks are spaces
//! then, and those at either end are gone. [`any_text`] asserts: any text is read, and a report of which lines were
//! lost, doubled or changed; in a report without a defect every
//! suite that was announced ended, each with the verdict of its checks, and the result follows from theirs.

use crate::Input;
use pvbounce::report::{
    ktap::{Parser, Taken, Writer},
    verdict::{Outcome, Reason, Tally, Verdict},
};

const NAMES: [&str; 4] = ["boot", "a_check", "x", "dma_2"];
const CODES: [&str; 4] = ["no-ports", "dma-no-pool", "leak", "x"];
/// Beginnings and pieces that mean something to the reader.
const WORDS: [&str; 14] = [
    "SKIP ",
    "FAILURE a: b",
    "SUCCESS",
    "ERROR ",
    " # ",
    "# ",
    "ok 1 x",
    "not ok 2 y",
    "1..3",
    "KTAP version 1",
    "Test result: SUCCESS",
    "\n",
    ": ",
    "INCONCLUSIVE ",
];

fn text(input: &Input) -> String {
    (0..input.below(4)).fold(String::new(), |text, _| match input.below(2) {
        0 => text + input.one_of(&WORDS),
        _ => text + &input.text(12),
    })
}

/// What one line of the report can hold of a text.
fn line(text: &str) -> String {
    let blank = |c: char| c.is_control() || c.is_whitespace();
    text.trim_matches(blank).chars().map(|c| if blank(c) { ' ' } else { c }).collect()
}

fn outcome(input: &Input) -> Outcome {
    let reason = || Reason::new(input.one_of(&CODES), text(input)).remedy(text(input));
    match input.below(5) {
        0 => Outcome::Pass { note: text(input) },
        1 => Outcome::Skip(reason()),
        2 => Outcome::Inconclusive(reason()),
        3 => Outcome::Failure(reason()),
        _ => Outcome::Error(reason()),
    }
}

type Told = Vec<(&'static str, Vec<(&'static str, Outcome)>)>;

fn write(told: &Told) -> Option<(String, Verdict)> {
    let mut text = String::new();
    let mut report = Writer::start(&mut text, told.len()).ok()?;
    for (name, checks) in told {
        let mut suite = report.suite(name, checks.len()).ok()?;
        checks.iter().try_for_each(|(name, outcome)| suite.check(name, outcome)).ok()?;
        suite.finish().ok()?;
    }
    report.taken(&Taken::default()).ok()?;
    let verdict = report.finish().ok()?;
    Some((text, verdict))
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn round_trip(bytes: &[u8]) {
    let input = Input::new(bytes);
    // Names are the guest's own, and none comes twice.
    let checks = || NAMES[..1 + input.below(3)].iter().map(|name| (*name, outcome(&input)));
    let told: Told =
        NAMES[..1 + input.below(2)].iter().map(|name| (*name, checks().collect())).collect();
    let Some((text, verdict)) = write(&told) else { return };
    let read = Parser::read(&text);
    assert_eq!((&read.defects[..], read.result), (&[][..], Some(verdict)), "{text}");
    assert_eq!(read.suites.len(), told.len(), "{text}");
    for (suite, (name, checks)) in read.suites.iter().zip(&told) {
        let tally: Tally = checks.iter().map(|(_, outcome)| outcome.verdict()).collect();
        assert_eq!((suite.name.as_str(), suite.verdict), (*name, Some(tally.verdict())), "{text}");
        assert_eq!(suite.checks.len(), checks.len(), "{text}");
        for (check, (name, outcome)) in suite.checks.iter().zip(checks) {
            let reason = outcome.reason();
            assert_eq!((check.name.as_str(), check.verdict), (*name, outcome.verdict()), "{text}");
            assert_eq!(
                (check.code.as_str(), &check.detail),
                (reason.code, &line(&reason.detail)),
                "{text}"
            );
            assert_eq!(check.remedy, line(&reason.remedy), "{text}");
        }
    }
}

/// A report without a defect.
const REPORT: [&str; 16] = [
    "KTAP version 1",
    "1..2",
    "  KTAP version 1",
    "  # Subtest: boot",
    "  1..2",
    "  ok 1 a_check # as it should",
    "  ok 2 x # SKIP dma-no-pool: none",
    "ok 1 boot",
    "  KTAP version 1",
    "  # Subtest: dma",
    "  1..1",
    "  # reason: leak: one page",
    "  not ok 1 x # FAILURE leak: one page",
    "not ok 2 dma # FAILURE",
    "# taken frames=0 grants=0 ports=0 pirqs=0 slots=0",
    "Test result: FAILURE",
];

/// The same with lines lost, doubled or changed.
fn changed(input: &Input) -> String {
    let line = |line: &str| match input.below(16) {
        15 => String::new(),
        14 => format!("{line}\n{line}\n"),
        13 => {
            let (head, tail) = line.split_at(line.rfind(['1', '2']).unwrap_or(0));
            let number = input.one_of(&["0", "2", "3", "-1", ""]);
            format!("{head}{number}{}\n", &tail[1..])
        }
        12 => line.replacen("ok", input.one_of(&["not ok", "", "OK"]), 1) + "\n",
        11 => line.replacen("FAILURE", input.one_of(&["SUCCESS", "SKIP", "ERROR"]), 1) + "\n",
        10 => format!("{}{line}\n", input.text(4)),
        _ => line.to_owned() + "\n",
    };
    REPORT.map(line).concat()
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn any_text(bytes: &[u8]) {
    let text = match bytes {
        [0xff, story @ ..] => changed(&Input::new(story)).into(),
        _ => String::from_utf8_lossy(bytes),
    };
    let read = Parser::read(&text);
    assert!(bytes != [0xff] || read.defects.is_empty(), "unchanged, and yet {:?}", read.defects);
    if read.defects.is_empty() {
        assert_eq!(read.planned, Some(read.suites.len()), "{text}");
        assert!(read.result.is_some(), "{text}");
        for suite in &read.suites {
            assert!(suite.verdict == Some(suite.tally().verdict()), "{suite:?} of {text}");
        }
    }
    assert!(read.tally().total() <= text.lines().count());
}

//! The two halves against each other, and the parser against garbage.

mod defects;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::Flaw::{Contradiction, Missing, NotItsWord};
use super::*;
use crate::report::verdict::{Outcome, Reason, Verdict};

/// A report of a run with a device, in which a copy failed.
fn sample() -> String {
    let mut text = String::new();
    let mut report = Writer::start(&mut text, 3).unwrap();
    let mut boot = report.suite("boot", 3).unwrap();
    boot.check("start_info", &Outcome::pass("131072 pages")).unwrap();
    boot.check("com1", &Outcome::Skip(Reason::new("no-ports", "none of 8"))).unwrap();
    let reason = Reason::new("byte-mismatch", "offset 17: wrote 0x5a, read 0x00").remedy("look");
    boot.check("copy", &Outcome::Failure(reason)).unwrap();
    boot.finish().unwrap();
    report.suite("irq", 0).unwrap().skip(&Reason::new("no-device", "")).unwrap();
    report.transfers(&Transfers { sent: 3, received: 2, compared: 1, bytes: 60 }).unwrap();
    let walk = PoolWalk { slots: 1, all_slots: 1024, segments: 1, all_segments: 1 };
    report.pool_walk(&walk).unwrap();
    report.dma_limits(&DmaLimits { mask: 0xffff_ffff, memory: 16 << 20 }).unwrap();
    let range = DmaRange { first: 0x1240_0000, last: 0x125f_ffff, kind: RangeKind::Pool };
    report.dma_range(&range).unwrap();
    let mut close = report.suite("close", 1).unwrap();
    close.check("nothing_is_kept", &Outcome::pass("")).unwrap();
    close.finish_tidying().unwrap();
    report.taken(&Taken::default()).unwrap();
    report.finish().unwrap();
    text
}

#[test]
fn writes_what_the_contract_shows() {
    let wanted = "\
KTAP version 1
1..3
  KTAP version 1
  # Subtest: boot
  1..3
  ok 1 start_info # 131072 pages
  ok 2 com1 # SKIP no-ports: none of 8
  # reason: byte-mismatch: offset 17: wrote 0x5a, read 0x00
  # remedy: look
  not ok 3 copy # FAILURE byte-mismatch: offset 17: wrote 0x5a, read 0x00
not ok 1 boot # FAILURE
  KTAP version 1
  # Subtest: irq
  1..0
ok 2 irq # SKIP no-device
# transfers out=3 in=2 compared=1 bytes=60
# pool-walk slots=1/1024 segments=1/1
# dma-limits mask=0xffffffff memory=16777216
# dma-range 0x0000000012400000 0x00000000125fffff pool
  KTAP version 1
  # Subtest: close
  1..1
  ok 1 nothing_is_kept
ok 3 close
# taken frames=0 grants=0 ports=0 pirqs=0 slots=0
Test result: FAILURE
";
    assert_eq!(sample(), wanted);
}

#[test]
fn reads_what_it_wrote() {
    let report = Parser::read(&sample());
    assert_eq!(report.defects, []);
    assert_eq!(report.result, Some(Verdict::Failure));
    assert_eq!(report.suites.len(), 3);
    let (suite, check) = report.checks().find(|(_, c)| !c.verdict.is_ok()).unwrap();
    assert_eq!((suite.name.as_str(), check.name.as_str()), ("boot", "copy"));
    assert_eq!(check.code, "byte-mismatch");
    assert_eq!(check.detail, "offset 17: wrote 0x5a, read 0x00");
    assert_eq!(check.remedy, "look");
    assert_eq!(suite.checks[1].remedy, "");
    assert_eq!(report.suites[1].reason, "no-device");
    assert_eq!(report.tally().total(), 4);
    assert!(report.ranges[0].contains(0x125f_ffff));
    assert!(!report.ranges[0].contains(0x1260_0000));
    assert_eq!(report.ranges[0].bytes(), 2 << 20);
    assert_eq!(report.transfers.unwrap().received, 2);
    assert_eq!(report.pool_walk.unwrap().all_slots, 1024);
    assert!(report.taken.unwrap().is_nothing());
}

#[test]
fn a_run_without_its_tidying_needs_no_totals() {
    let text = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: s\n  1..1\n  ok 1 c\nok 1 s\n\
                Test result: SUCCESS\n";
    assert_eq!(Parser::read(text).defects, []);
    // A plan may come last.
    let text = text.replace("  1..1\n", "").replace("  ok 1 c\n", "  ok 1 c\n  1..1\n");
    assert_eq!(Parser::read(&text).defects, []);
}

#[test]
fn tidying_up_proves_nothing_but_can_fail() {
    let outcomes = [
        (Outcome::pass(""), Verdict::Skip),
        (Outcome::Failure(Reason::new("leak", "frames=1")), Verdict::Failure),
    ];
    for (outcome, expected) in outcomes {
        let mut text = String::new();
        let mut report = Writer::start(&mut text, 2).unwrap();
        report.suite("dma", 0).unwrap().skip(&Reason::new("no-device", "")).unwrap();
        let mut close = report.suite("close", 1).unwrap();
        close.check("nothing_is_kept", &outcome).unwrap();
        close.finish_tidying().unwrap();
        assert_eq!(report.finish().unwrap(), expected);
        let read = Parser::read(&text);
        assert_eq!(read.result, Some(expected));
        assert!(read.defects.iter().all(|defect| defect.flaw == Missing), "{:?}", read.defects);
    }
}

#[test]
fn a_suite_of_which_nothing_is_proven_says_why() {
    let head = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: dma\n  1..1\n";
    let sound = |check: &str, suite: &str, result: &str| {
        let text = format!("{head}{check}\n{suite}\nTest result: {result}\n");
        Parser::read(&text).defects.is_empty()
    };
    assert!(sound("  ok 1 guards", "ok 1 dma # SKIP link-down: no link", "SKIP"));
    assert!(!sound("  ok 1 guards", "ok 1 dma # SKIP", "SKIP"));
    let failed = "  not ok 1 guards # FAILURE x: y";
    assert!(!sound(failed, "ok 1 dma # SKIP link-down: no link", "SKIP"));
    let skipped = "  ok 1 guards # SKIP x: y";
    assert!(sound(skipped, "ok 1 dma # SKIP", "SKIP"));
}

#[test]
fn what_was_not_shown_caps_a_success_and_nothing_else() {
    let outcomes = [
        (Outcome::pass(""), Verdict::Skip),
        (Outcome::Failure(Reason::new("x", "y")), Verdict::Failure),
    ];
    for (outcome, expected) in outcomes {
        let mut text = String::new();
        let mut report = Writer::start(&mut text, 1).unwrap();
        let mut suite = report.suite("dma", 1).unwrap();
        suite.check("c", &outcome).unwrap();
        suite.finish().unwrap();
        report.not_shown(Reason::new("no-transfer", "the link\nis down").remedy("plug it in"));
        report.not_shown(Reason::new("another", ""));
        assert_eq!(report.verdict(), expected);
        assert_eq!(report.finish().unwrap(), expected);
        let read = Parser::read(&text);
        assert_eq!(read.result, Some(expected));
        let wanted = NotShown {
            code: "no-transfer".into(),
            detail: "the link is down".into(),
            remedy: "plug it in".into(),
        };
        assert_eq!(read.not_shown, (expected == Verdict::Skip).then_some(wanted));
        assert_eq!(read.defects, []);
        let forged = text.replace("Test result: SKIP", "Test result: SUCCESS");
        let contradicts = Parser::read(&forged).defects.iter().any(|d| d.flaw == Contradiction);
        assert_eq!(contradicts, expected == Verdict::Skip);
    }
}

#[test]
fn totals_are_read_as_written() {
    let mut text = String::new();
    let mut report = Writer::start(&mut text, 0).unwrap();
    let transfers = Transfers { sent: 4, received: 3, compared: 2, bytes: 128 };
    let walk = PoolWalk { slots: 5, all_slots: 512, segments: 1, all_segments: 1 };
    let limits = DmaLimits { mask: 0xffff_ffff, memory: 256 << 20 };
    report.transfers(&transfers).unwrap();
    report.pool_walk(&walk).unwrap();
    report.dma_limits(&limits).unwrap();
    let taken = Taken { frames: 1, ..Taken::default() };
    report.taken(&taken).unwrap();
    report.finish().unwrap();
    assert_eq!(Parser::read(&text.replace("dma-limits", "dma-")).dma_limits, None);
    let read = Parser::read(&text);
    assert_eq!((read.transfers, read.pool_walk), (Some(transfers), Some(walk)));
    assert_eq!((read.dma_limits, read.taken), (Some(limits), Some(taken)));
}

#[test]
fn what_failed_on_purpose_may_stand_between_suites_and_is_read_as_written() {
    let mut text = String::new();
    let failed = FailedSite {
        site: 2,
        operation: "send".into(),
        place: "boot".into(),
        way: Vec::from([1, 2]),
    };
    let mut report = Writer::start(&mut text, 2).unwrap();
    for (number, name) in ["boot", "dma"].into_iter().enumerate() {
        let mut suite = report.suite(name, 1).unwrap();
        suite.check("c", &Outcome::pass("")).unwrap();
        suite.finish().unwrap();
        if number == 0 {
            report.failed(&failed).unwrap();
        }
    }
    report.sites(&Sites { reached: 3 }).unwrap();
    report.finish().unwrap();
    let read = Parser::read(&text);
    assert_eq!((read.failed, read.sites), (Some(failed), Some(Sites { reached: 3 })));
    assert_eq!(read.defects, []);
}

#[test]
fn a_value_can_not_break_the_line() {
    let mut text = String::new();
    let mut report = Writer::start(&mut text, 1).unwrap();
    let mut suite = report.suite("s", 1).unwrap();
    suite.check("c", &Outcome::pass("a\nTest result: SUCCESS\r\n")).unwrap();
    let _open = suite;
    assert_eq!(Parser::read(&text).result, None);
}

#[test]
fn text_around_the_report_is_ignored() {
    let noisy: String =
        sample().lines().flat_map(|l| ["(d1) noise", l, "\n", "ok", "1.."]).map(line).collect();
    assert_eq!(Parser::read(&noisy), Parser::read(&sample()));
    assert_eq!(Parser::read(&noisy).defects, []);
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

#[test]
fn not_ok_without_our_words_is_a_failure() {
    let report = Parser::read("KTAP version 1\n1..1\n  KTAP version 1\n  not ok 1 x\n");
    assert_eq!(report.suites[0].checks[0].verdict, Verdict::Failure);
    assert_eq!(report.defects[0].flaw, NotItsWord);
}

#[test]
fn a_note_that_looks_like_a_verdict_does_not_contradict_its_ok() {
    let report = Parser::read("KTAP version 1\n  KTAP version 1\n  ok 1 x # FAILURE a: b\n");
    assert_eq!(report.suites[0].checks[0].verdict, Verdict::Success);
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    for text in ["", "0x1", "0x2 0x1 pool", "0x1 0x2 heap", "1 2 pool", "0x1 0x2 pool more"] {
        assert_eq!(text.parse::<DmaRange>(), Err(BadRange), "{text}");
    }
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _report = Parser::read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_cut_log_is_never_sound(at in 0usize..900) {
        let text = sample();
        // The last line counts once its word is whole, with or without the line end.
        let at = at.min(text.len() - 2);
        prop_assert_ne!(Parser::read(&text[..at]).defects, []);
    }

    /// Any line lost, told twice or moved is seen: a sound report is one that was written so.
    #[test]
    fn lines_lost_doubled_or_moved_are_seen(line in 0usize..26, to in 0usize..26, how in 0..3) {
        let text = sample();
        let mut lines: Vec<&str> = text.lines().collect();
        let taken = lines[line];
        match how {
            0 => {
                lines.remove(line);
            }
            1 => lines.insert(to, taken),
            _ => {
                lines.remove(line);
                lines.insert(to.min(lines.len()), taken);
            }
        }
        let moved = lines.join("\n");
        let report = Parser::read(&moved);
        // A remedy is no claim, whichever check it stands with, and a range less allows less.
        let less = taken.starts_with("# ");
        prop_assert!(
            less || !report.defects.is_empty() || unadvised(report) == unadvised(Parser::read(&text)),
            "{}",
            moved
        );
    }

    #[test]
    fn any_text_round_trips(note: String, detail: String, remedy: String, code in "[a-z][a-z0-9-]{0,20}") {
        let code: &'static str = code.leak();
        for verdict in Verdict::ALL {
            let reason = Reason::new(code, detail.clone()).remedy(remedy.clone());
            let read = through(&match verdict {
                Verdict::Success => Outcome::pass(note.clone()),
                Verdict::Skip => Outcome::Skip(reason),
                Verdict::Inconclusive => Outcome::Inconclusive(reason),
                Verdict::Failure => Outcome::Failure(reason),
                Verdict::Error => Outcome::Error(reason),
            });
            prop_assert_eq!(read.verdict, verdict);
            if verdict == Verdict::Success {
                prop_assert_eq!(read.detail, flat(&note));
            } else {
                prop_assert_eq!(read.code, code);
                prop_assert_eq!(read.detail, flat(&detail));
                prop_assert_eq!(read.remedy, flat(&remedy));
            }
        }
    }

    #[test]
    fn any_note_made_of_our_own_words_round_trips(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..8)
    ) {
        let note = words.concat();
        let read = through(&Outcome::pass(note.clone()));
        prop_assert_eq!((read.verdict, read.detail), (Verdict::Success, flat(&note)));
        let read = through(&Outcome::Failure(Reason::new("x", note.clone()).remedy(note.clone())));
        prop_assert_eq!((read.verdict, read.code.as_str()), (Verdict::Failure, "x"));
        prop_assert_eq!((read.detail, read.remedy), (flat(&note), flat(&note)));
    }
}

/// The same without its remedies.
fn unadvised(mut report: Report) -> Report {
    let suites = report.suites.iter_mut();
    suites.flat_map(|suite| &mut suite.checks).for_each(|check| check.remedy.clear());
    report
}

/// What a report's lines are made of.
const WORDS: [&str; 24] = [
    "SKIP",
    "SUCCESS",
    "FAILURE",
    "ERROR",
    "INCONCLUSIVE",
    "skip",
    " ",
    "  ",
    "#",
    " # ",
    "\\",
    ":",
    ": ",
    "\n",
    "\r\n",
    "ok 1 x",
    "not ok 1 x",
    "Test result: SUCCESS",
    "PANIC: x",
    "# taken frames=0",
    "KTAP version 1",
    "1..1",
    "\u{2028}",
    "\u{85}",
];

/// An outcome, written and read back, in a report that has to be sound.
fn through(outcome: &Outcome) -> Check {
    let mut text = String::new();
    let mut report = Writer::start(&mut text, 1).unwrap();
    let mut suite = report.suite("s", 1).unwrap();
    suite.check("c", outcome).unwrap();
    suite.finish().unwrap();
    report.finish().unwrap();
    let mut read = Parser::read(&text);
    assert_eq!(read.defects, [], "{text}");
    assert_eq!(read.result, Some(outcome.verdict()));
    read.suites.remove(0).checks.remove(0)
}

/// A text as one line shows it.
fn flat(text: &str) -> String {
    let blank = |c: char| c.is_control() || c.is_whitespace();
    text.trim_matches(blank).chars().map(|c| if blank(c) { ' ' } else { c }).collect()
}

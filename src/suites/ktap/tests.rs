//! The two halves against each other, and the parser against garbage.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::suites::verdict::{Outcome, Reason, Verdict};

fn sample() -> String {
    let mut text = String::new();
    let mut report = Writer::start(&mut text, 2).unwrap();
    let mut boot = report.suite("boot", 3).unwrap();
    boot.check("start_info", &Outcome::pass("131072 pages")).unwrap();
    boot.check("com1", &Outcome::Skip(Reason::new("no-ports", "none of 8"))).unwrap();
    let reason = Reason::new("byte-mismatch", "offset 17: wrote 0x5a, read 0x00").remedy("look");
    boot.check("copy", &Outcome::Failure(reason)).unwrap();
    boot.finish().unwrap();
    report.suite("irq", 4).unwrap().skip(&Reason::new("no-device", "")).unwrap();
    let range = DmaRange { first: 0x1240_0000, last: 0x125f_ffff, kind: RangeKind::Pool };
    report.dma_range(&range).unwrap();
    report.taken(&Taken::default()).unwrap();
    report.finish(None).unwrap();
    text
}

#[test]
fn writes_what_the_contract_shows() {
    let wanted = "\
KTAP version 1
1..2
  KTAP version 1
  # Subtest: boot
  1..3
  ok 1 start_info # 131072 pages
  ok 2 com1 # SKIP no-ports: none of 8
  not ok 3 copy # FAILURE byte-mismatch: offset 17: wrote 0x5a, read 0x00
  # remedy: look
not ok 1 boot # FAILURE
  KTAP version 1
  # Subtest: irq
  1..4
ok 2 irq # SKIP no-device
# dma-range 0x0000000012400000 0x00000000125fffff pool
# taken frames=0 grants=0 ports=0 pirqs=0 slots=0
Test result: FAILURE
";
    assert_eq!(sample(), wanted);
}

#[test]
fn reads_what_it_wrote() {
    let report = Parser::read(&sample());
    assert!(report.is_complete());
    assert_eq!(report.result, Some(Verdict::Failure));
    assert_eq!(report.suites.len(), 2);
    let (suite, check) = report.checks().find(|(_, c)| !c.verdict.is_ok()).unwrap();
    assert_eq!((suite.name.as_str(), check.name.as_str()), ("boot", "copy"));
    assert_eq!(check.code, "byte-mismatch");
    assert_eq!(check.detail, "offset 17: wrote 0x5a, read 0x00");
    assert_eq!(check.remedy, "look");
    assert_eq!(report.suites[1].reason, "no-device");
    assert!(report.ranges[0].contains(0x125f_ffff));
    assert!(!report.ranges[0].contains(0x1260_0000));
}

#[test]
fn tidying_up_proves_nothing_but_can_fail() {
    let outcomes = [
        (Outcome::pass(""), Verdict::Skip),
        (Outcome::Failure(Reason::new("leak", "frames=1")), Verdict::Failure),
    ];
    for (outcome, expected) in outcomes {
        let mut report = Writer::start(String::new(), 2).unwrap();
        report.suite("dma", 0).unwrap().skip(&Reason::new("no-device", "")).unwrap();
        let mut close = report.suite("close", 1).unwrap();
        close.check("nothing_is_kept", &outcome).unwrap();
        close.finish_tidying().unwrap();
        assert_eq!(report.finish(None).unwrap(), expected);
    }
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
        assert_eq!(report.finish(None).unwrap(), expected);
        let read = Parser::read(&text);
        assert_eq!(read.result, Some(expected));
        let wanted = NotShown {
            code: "no-transfer".into(),
            detail: "the link is down".into(),
            remedy: "plug it in".into(),
        };
        assert_eq!(read.not_shown, (expected == Verdict::Skip).then_some(wanted));
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
    report.finish(None).unwrap();
    let read = Parser::read(&text);
    assert_eq!((read.transfers, read.pool_walk), (Some(transfers), Some(walk)));
    assert_eq!((read.dma_limits, read.taken), (Some(limits), Some(taken)));
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
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

#[test]
fn not_ok_without_our_words_is_a_failure() {
    let report = Parser::read("KTAP version 1\n1..1\n  KTAP version 1\n  not ok 1 x\n");
    assert_eq!(report.suites[0].checks[0].verdict, Verdict::Failure);
    assert!(!report.is_complete());
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
    fn a_cut_log_is_never_complete(at in 0usize..600) {
        let text = sample();
        // The last line counts once its word is whole, with or without the line end.
        let at = at.min(text.len() - 2);
        let report = Parser::read(&text[..at]);
        prop_assert!(!report.is_complete());
    }

    #[test]
    fn shuffled_lines_are_survived(order in Just((0..17usize).collect::<Vec<_>>()).prop_shuffle()) {
        let text = sample();
        let lines: Vec<&str> = text.lines().collect();
        let mixed: Vec<&str> = order.iter().filter_map(|&i| lines.get(i).copied()).collect();
        let report = Parser::read(&mixed.join("\n"));
        prop_assert!(report.suites.len() <= 2);
    }

    #[test]
    fn any_check_round_trips(note in "[ a-z0-9=.#:]{0,40}", name in "[a-z_]{1,20}") {
        let mut text = String::new();
        let mut report = Writer::start(&mut text, 1).unwrap();
        let mut suite = report.suite("s", 1).unwrap();
        suite.check(&name, &Outcome::pass(note.clone())).unwrap();
        suite.finish().unwrap();
        report.finish(None).unwrap();
        let read = Parser::read(&text);
        prop_assert_eq!(&read.suites[0].checks[0].name, &name);
        prop_assert_eq!(read.suites[0].checks[0].verdict, Verdict::Success);
        prop_assert_eq!(read.result.unwrap().to_string(), "SUCCESS");
    }
}

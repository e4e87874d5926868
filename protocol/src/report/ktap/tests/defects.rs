//! Each way in which a report can be wrong, and that it is seen.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::super::Flaw::{
    self, AfterTheEnd, BeyondMask, Contradiction, Missing, NotAsPlanned, NotItsReason, NotItsWord,
    OutOfPlace, Overlap, PanicAndResult, SecondReport, TooMuch, Twice, Unreadable, WrongNumber,
};
use super::super::Parser;
use super::sample;

/// What is wrong with the sample once the first `old` in it is `new`.
fn flaws(old: &str, new: &str) -> Vec<Flaw> {
    let text = sample();
    assert!(text.contains(old), "{old}");
    let mut flaws: Vec<_> =
        Parser::read(&text.replacen(old, new, 1)).defects.iter().map(|d| d.flaw).collect();
    flaws.sort_unstable();
    flaws.dedup();
    flaws
}

/// What is replaced in the sample, by what, and what is wrong with it then.
const CASES: &[(&str, &str, &[Flaw])] = &[
    // Plans.
    ("1..3\n", "", &[Missing]),
    ("1..3\n", "1..4\n", &[NotAsPlanned]),
    ("1..3\n", "1..3x\n", &[Unreadable, Missing]),
    ("1..3\n", "1..3\n1..3\n", &[Twice]),
    ("  1..3\n", "", &[Missing]),
    ("  1..3\n", "  1..2\n", &[NotAsPlanned]),
    ("  1..3\n", "  1..3\n  1..3\n", &[Twice]),
    ("ok 2 irq # SKIP no-device", "ok 2 irq # SKIP", &[Missing]),
    ("ok 2 irq # SKIP no-device", "ok 2 irq", &[Contradiction]),
    ("# transfers", "1..3\n# transfers", &[OutOfPlace]),
    // The map.
    ("1..3\n", "1..3\n# map bar 0x1000 0x1fff x\n# map frames-at-boot 0x1000 0x1fff 1\n", &[]),
    ("1..3\n", "1..3\n# map frames-at-boot 0x1000 0x1fff 2\n", &[Unreadable]),
    ("1..3\n", "1..3\n# map frames-at-end 0x1000 0x1fff 1\n", &[OutOfPlace]),
    ("# transfers", "# map frames-at-end 0x1000 0x1fff 1\n# transfers", &[]),
    ("# transfers", "# map frames-at-boot 0x1000 0x1fff 1\n# transfers", &[OutOfPlace]),
    (
        "1..3\n",
        "1..3\n# map frames-at-boot 0x1000 0x2fff 1\n# map frames-at-boot 0x2000 0x2fff 1\n",
        &[Overlap],
    ),
    ("1..3\n", "1..3\n# map frames-at-boot 0x0 0xffffffffffffffff 4503599627370496\n", &[TooMuch]),
    // Numbers and names.
    ("  ok 2 com1", "  ok 3 com1", &[WrongNumber]),
    ("  ok 2 com1", "  ok +2 com1", &[WrongNumber, NotAsPlanned]),
    ("  ok 2 com1", "  ok 2x com1", &[Unreadable, WrongNumber, NotAsPlanned]),
    ("  ok 2 com1", "  ok 2 start_info", &[Twice]),
    ("ok 2 irq", "ok 3 irq", &[WrongNumber]),
    ("ok 2 irq", "ok 2 dma", &[Contradiction]),
    ("Subtest: irq", "Subtest: boot", &[Twice, Contradiction, Missing]),
    ("  # Subtest: irq\n", "", &[Contradiction, Missing]),
    // Verdicts.
    ("ok 1 start_info # 1", "ok 1 start_info # FAILURE 1", &[NotItsWord]),
    ("ok 1 start_info # 1", "ok 1 start_info # SUCCESS 1", &[NotItsWord]),
    ("# FAILURE byte", "# SKIP byte", &[NotItsWord]),
    ("# FAILURE byte", "# byte", &[NotItsWord]),
    ("not ok 1 boot # FAILURE", "ok 1 boot", &[Contradiction]),
    ("not ok 1 boot # FAILURE", "not ok 1 boot # ERROR", &[Contradiction]),
    ("result: FAILURE", "result: SUCCESS", &[Contradiction]),
    ("result: FAILURE", "result: GOOD", &[Unreadable, Missing]),
    ("Test result: FAILURE\n", "", &[Missing]),
    ("Test result", "# not-shown x: y\nTest result", &[Contradiction]),
    // What was made to fail.
    ("Test result", "# sites reached=9\nTest result", &[]),
    ("Test result", "# failed site=9 operation=send in=irq way=0x1\nTest result", &[Missing]),
    (
        "Test result",
        "# failed site=9 operation=send in=irq way=\n# sites reached=8\nTest result",
        &[Contradiction],
    ),
    ("Test result", "# sites reached=9\n# sites reached=9\nTest result", &[Twice]),
    ("Test result", "# sites reached=nine\nTest result", &[Unreadable]),
    ("  # Subtest: irq", "# sites reached=9\n  # Subtest: irq", &[OutOfPlace]),
    // The end.
    ("Test result: FAILURE\n", "Test result: FAILURE\nTest result: FAILURE\n", &[Twice]),
    ("Test result: FAILURE\n", "Test result: FAILURE\nok 4 x\n", &[AfterTheEnd]),
    ("Test result: FAILURE\n", "Test result: FAILURE\nKTAP version 1\n", &[SecondReport]),
    ("Test result: FAILURE\n", "Test result: FAILURE\nPANIC: x\n", &[PanicAndResult]),
    ("Test result", "PANIC: x\nTest result", &[PanicAndResult]),
    // Places.
    ("KTAP version 1\n", "", &[OutOfPlace, Contradiction, Missing]),
    ("KTAP version 1\n", "KTAP version 2\n", &[OutOfPlace, Contradiction, Missing]),
    ("KTAP version 1\n", "KTAP version 11\n", &[Unreadable]),
    ("1..3\n", "1..3\nKTAP version 1\n", &[SecondReport]),
    (
        "not ok 1 boot # FAILURE\n",
        "",
        &[OutOfPlace, Twice, WrongNumber, Contradiction, NotAsPlanned],
    ),
    ("# transfers", "  ok 1 x\n# transfers", &[OutOfPlace]),
    ("# transfers", "ok 3 x\n# transfers", &[OutOfPlace]),
    ("# transfers", "    ok 3 x\n# transfers", &[OutOfPlace]),
    ("# transfers", "  # remedy: x\n# transfers", &[OutOfPlace]),
    ("# transfers", "# remedy: x\n# transfers", &[OutOfPlace]),
    ("  # remedy: look", "  # remedy: look\n  # remedy: look", &[OutOfPlace, NotItsReason]),
    // What explains a result, before it.
    ("  ok 2 com1", "  # remedy: x\n  ok 2 com1", &[]),
    ("  ok 1 start", "  # remedy: x\n  ok 1 start", &[NotItsReason]),
    ("  ok 2 com1", "  # reason: no-ports: none of 8\n  ok 2 com1", &[NotItsReason]),
    ("  # reason: byte-mismatch: offset 17: wrote 0x5a, read 0x00\n", "", &[NotItsReason]),
    (
        "  # reason: byte-mismatch: offset 17",
        "  # reason: byte-mismatch: offset 18",
        &[NotItsReason],
    ),
    ("# FAILURE byte-mismatch: offset 17", "# FAILURE byte-mismatch: offset 18", &[NotItsReason]),
    ("  1..3\n", "  # remedy: x\n  1..3\n", &[OutOfPlace, Missing]),
    (
        "  ok 1 nothing_is_kept\n",
        "  # reason: x\n",
        &[OutOfPlace, Contradiction, Missing, NotAsPlanned],
    ),
    ("  1..3\n", "  1..3\n  Test result: FAILURE\n", &[OutOfPlace]),
    ("  1..3\n", "  1..3\n  PANIC: x\n", &[OutOfPlace]),
    ("  1..3\n", "  1..3\n# taken frames=0\n", &[OutOfPlace]),
    // Totals.
    ("# taken frames=0 grants=0 ports=0 pirqs=0 slots=0\n", "", &[Missing]),
    ("# transfers out=3 in=2 compared=1 bytes=60\n", "", &[Missing]),
    ("# pool-walk slots=1/1024 segments=1/1\n", "", &[Missing]),
    ("# dma-limits mask=0xffffffff memory=16777216\n", "", &[Missing]),
    ("out=3", "out=x", &[Unreadable, Missing]),
    ("compared=1", "compared=3", &[Contradiction]),
    ("compared=1", "compared=0", &[Contradiction]),
    ("bytes=60", "bytes=0", &[Contradiction]),
    ("slots=1/1024", "slots=1025/1024", &[Unreadable, Missing]),
    ("# taken", "# taken frames=0 grants=0 ports=0 pirqs=0 slots=0\n# taken", &[Twice]),
    // Ranges.
    ("0x0000000012400000 0x", "0x0000000012400000 0", &[Unreadable]),
    (" pool\n", " heap\n", &[Unreadable]),
    ("mask=0xffffffff", "mask=0x125ffffe", &[BeyondMask]),
    ("mask=0xffffffff", "mask=0x125fffff", &[]),
    ("slots=1/1024", "slots=1/1023", &[TooMuch]),
    ("memory=16777216", "memory=2097151", &[TooMuch]),
    ("memory=16777216", "memory=2097152", &[]),
    ("0x0000000012400000 0x00000000125fffff", "0x0 0xffffffff", &[TooMuch]),
    ("0x0000000012400000 0x00000000125fffff", "0x0 0xffffffffffffffff", &[BeyondMask, TooMuch]),
    ("# dma-range", "# dma-range 0x125fffff 0x12600fff direct\n# dma-range", &[Overlap]),
    ("# dma-range", "# dma-range 0x12600000 0x12600fff direct\n# dma-range", &[]),
    ("# dma-range", "# dma-range 0x20000000 0x20ffffff direct\n# dma-range", &[TooMuch]),
];

/// The sample with a suite about isolation, which says of a device what follows.
fn of_tries(lines: &[&str]) -> Vec<Flaw> {
    let old = "  # Subtest: irq\n  1..0\nok 2 irq # SKIP no-device\n";
    let mut new = old.replace("irq", "isolation");
    for line in lines {
        new += &["# isolation device=0000:00:00.0 ", line, "\n"].concat();
    }
    flaws(old, &new)
}

#[test]
fn tries_are_few_and_stand_on_the_pool_s() {
    let pool = "what=pool page=0x12400000 answer=reached";
    let frame = "what=frame page=0x10000 answer=reached";
    let table = "what=table page=0x11000 answer=blocked";
    let beyond = "what=table page=0x100000000 answer=blocked";
    let unreached = "what=pool page=0x12400000 answer=blocked";
    for (lines, wanted) in [
        (&[pool, frame, table][..], &[][..]),
        (&[pool], &[]),
        (&[], &[]),
        (&[frame], &[Contradiction]),
        (&[unreached], &[Contradiction]),
        (&[pool, table, table], &[Twice]),
        (&[pool, beyond], &[BeyondMask]),
        (&["what=pool page=0x12400001 answer=reached"], &[Unreadable]),
    ] {
        assert_eq!(of_tries(lines), wanted, "{lines:?}");
    }
    let four = ["0", "1", "2", "3"].map(|n| ["# isolation device=", n, " ", pool, "\n"].concat());
    assert_eq!(
        flaws(" # SKIP no-device\n", &[" # SKIP no-device\n", &four.concat()].concat()),
        [TooMuch]
    );
    assert!(!of_tries(&[pool]).contains(&TooMuch), "one is not too much");
}

#[test]
fn each_way_to_be_wrong_is_seen() {
    let wrong: Vec<_> = CASES
        .iter()
        .map(|(old, new, wanted)| (old, new, flaws(old, new), wanted.to_vec()))
        .filter(|(_, _, found, wanted)| found != wanted)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_result_within_a_suite_is_none() {
    let report = Parser::read(&sample().replacen("  1..3\n", "  1..3\nTest result: FAILURE\n", 1));
    assert_eq!((report.defects[0].flaw, report.defects[0].line), (OutOfPlace, 6));
}

#[test]
fn a_defect_names_its_line() {
    let report = Parser::read(&sample().replace("ok 2 com1", "ok 7 com1"));
    let wanted = "line 7, `  ok 7 com1 # SKIP no-ports: none of 8`: is not the next number";
    assert_eq!(report.defects[0].to_string(), wanted);
    let report = Parser::read(&sample().replace("Test result: FAILURE", ""));
    assert_eq!(report.defects[0].to_string(), "the result: is missing");
}

#[test]
fn a_result_alone_is_no_report() {
    for text in ["Test result: SUCCESS", "ok 1 x\nTest result: SUCCESS", "1..0\nTest result: SKIP"]
    {
        let report = Parser::read(text);
        assert!(report.defects.iter().any(|defect| defect.flaw == OutOfPlace), "{text}");
    }
}

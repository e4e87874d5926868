//! Each way a job can end, and the verdict on it.

use pvbounce::suites::ktap::Parser;

use super::*;

const GOOD: &str = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: dma\n  1..1\n  ok 1 loopback\nok 1 dma\n\
                    Test result: SUCCESS\n";

fn verdict_of(text: &str, end: &JobEnd, evidence: Option<&Evidence>) -> (Verdict, String) {
    let report = Parser::read(text);
    let facts = Facts {
        report: &report,
        end: Some(end),
        machine: Fate::Alive,
        xl: &["libxl: error: no".to_owned()],
        last_line: "last",
        evidence,
        has_device: true,
    };
    let (verdict, problem) = judge(&facts);
    (verdict, problem.map_or(String::new(), |p| p.code))
}

fn end(reason: Option<u32>) -> JobEnd {
    JobEnd { reason, code: Some(0), ..JobEnd::default() }
}

fn seen(addresses: u64, outside: u64) -> Evidence {
    let first_outside = (outside > 0).then_some(0x1000);
    Evidence { addresses, pages: 1, outside, first_outside }
}

#[test]
fn a_report_that_holds_is_a_success() {
    assert_eq!(
        verdict_of(GOOD, &end(Some(0)), Some(&seen(9, 0))),
        (Verdict::Success, String::new())
    );
    assert_eq!(verdict_of(GOOD, &end(Some(0)), None), (Verdict::Success, String::new()));
}

#[test]
fn an_address_outside_is_a_failure_whatever_the_guest_says() {
    let wanted = (Verdict::Failure, "dma-outside".to_owned());
    assert_eq!(verdict_of(GOOD, &end(Some(0)), Some(&seen(9, 1))), wanted);
}

#[test]
fn memory_that_xen_has_not_back_is_a_failure() {
    let wanted = (Verdict::Failure, "xen-memory".to_owned());
    let same = JobEnd { free_mib: Some((9, 9)), low_pages: Some((7, 7)), ..end(Some(0)) };
    assert_eq!(verdict_of(GOOD, &same, None).0, Verdict::Success);
    let less = JobEnd { free_mib: Some((9, 8)), ..same.clone() };
    assert_eq!(verdict_of(GOOD, &less, None), wanted);
    let low = JobEnd { low_pages: Some((7, 6)), ..same };
    assert_eq!(verdict_of(GOOD, &low, None), wanted);
}

#[test]
fn dma_that_nobody_saw_is_a_failure() {
    let wanted = (Verdict::Failure, "dma-unseen".to_owned());
    assert_eq!(verdict_of(GOOD, &end(Some(0)), Some(&seen(0, 0))), wanted);
}

#[test]
fn a_domain_that_had_to_be_destroyed_is_a_timeout() {
    let late = JobEnd { late: true, ..end(None) };
    assert_eq!(verdict_of(GOOD, &late, None), (Verdict::Timeout, "timeout".to_owned()));
}

#[test]
fn a_crash_counts_even_after_a_success() {
    assert_eq!(verdict_of(GOOD, &end(Some(3)), None), (Verdict::Crash, "crash".to_owned()));
    assert_eq!(verdict_of("PANIC: x", &end(Some(0)), None), (Verdict::Crash, "crash".to_owned()));
}

#[test]
fn a_domain_that_was_never_built_is_an_error() {
    let failed = JobEnd { code: Some(3), ..end(None) };
    assert_eq!(verdict_of("", &failed, None), (Verdict::Error, "xl-create".to_owned()));
}

#[test]
fn a_report_that_contradicts_itself_is_an_error() {
    let wanted = (Verdict::Error, "report-broken".to_owned());
    let text = GOOD.replace("ok 1 loopback", "not ok 1 loopback # FAILURE x: y");
    assert_eq!(verdict_of(&text, &end(Some(0)), None), wanted);
    let text = GOOD.replace("1..1\n  ok", "1..2\n  ok");
    assert_eq!(verdict_of(&text, &end(Some(0)), None), wanted);
}

#[test]
fn the_first_check_that_failed_is_named() {
    let text = GOOD
        .replace("ok 1 loopback", "not ok 1 loopback # FAILURE byte-mismatch: offset 17")
        .replace("ok 1 dma", "not ok 1 dma # FAILURE")
        .replace("SUCCESS", "FAILURE");
    assert_eq!(
        verdict_of(&text, &end(Some(0)), None),
        (Verdict::Failure, "byte-mismatch".to_owned())
    );
}

#[test]
fn a_device_without_dma_is_a_skip() {
    let text = GOOD
        .replace("Subtest: dma", "Subtest: boot")
        .replace(
            "ok 1 dma",
            "ok 1 boot\n  KTAP version 1\n  # Subtest: dma\n  1..0\nok 2 dma # SKIP no-driver",
        )
        .replacen("1..1", "1..2", 1);
    assert_eq!(verdict_of(&text, &end(Some(0)), None), (Verdict::Skip, "dma-skipped".to_owned()));
}

#[test]
fn what_the_guest_did_not_show_is_named() {
    let text = GOOD
        .replace("  1..1\n", "  1..2\n  ok 1 com # SKIP no-com-port\n")
        .replace("ok 1 loopback", "ok 2 loopback")
        .replace(
            "Test result: SUCCESS",
            "# not-shown no-transfer: the link is down\nTest result: SKIP",
        );
    assert_eq!(verdict_of(&text, &end(Some(0)), None), (Verdict::Skip, "no-transfer".to_owned()));
}

#[test]
fn what_the_network_left_open_is_no_fault_of_the_machine() {
    let text = GOOD
        .replace("ok 1 loopback", "not ok 1 loopback # INCONCLUSIVE ping-lost: 7 of 10")
        .replace("ok 1 dma", "not ok 1 dma # INCONCLUSIVE")
        .replace("SUCCESS", "INCONCLUSIVE");
    assert_eq!(
        verdict_of(&text, &end(Some(0)), None),
        (Verdict::Inconclusive, "ping-lost".to_owned())
    );
    assert_eq!(Verdict::Inconclusive.exit_code(), 8);
}

#[test]
fn the_worst_counts() {
    let all = [Verdict::Success, Verdict::Timeout, Verdict::Skip];
    assert_eq!(all.into_iter().max(), Some(Verdict::Timeout));
    assert_eq!(Verdict::Timeout.exit_code(), 7);
}

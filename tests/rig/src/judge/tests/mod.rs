//! Each way a job can end, and the verdict on it.

mod witnesses;

use protocol::report::ktap::Parser;

use super::*;
use crate::evidence::Evidence;

const GOOD: &str = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: dma\n  1..1\n  ok 1 loopback\nok 1 dma\n\
                    # transfers out=0 in=1 compared=1 bytes=60\nTest result: SUCCESS\n";

/// All but the report.
struct Case {
    end: Option<JobEnd>,
    machine: Fate,
    xl: &'static str,
    found: Option<&'static str>,
    result: Option<&'static str>,
    trace: Trace,
    memory: Option<u64>,
    memory_is_due: bool,
    complaints: &'static [&'static str],
    unwatched: usize,
    unwitnessed: Option<&'static str>,
    devices: usize,
    asked: Vec<String>,
    changed: Option<u64>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            end: Some(end(Some(0))),
            machine: Fate::Alive,
            xl: "libxl: error: no",
            found: None,
            result: None,
            trace: Trace::Off("--no-trace"),
            memory: None,
            memory_is_due: false,
            complaints: &[],
            unwatched: 0,
            unwitnessed: None,
            devices: 1,
            asked: Vec::new(),
            changed: None,
        }
    }
}

/// The verdict and the codes of all problems.
fn judged(text: &str, case: &Case) -> (Verdict, Vec<String>) {
    let Judgement { verdict, problems } = judgement(text, case);
    (verdict, problems.into_iter().map(|problem| problem.code).collect())
}

fn judgement(text: &str, case: &Case) -> Judgement {
    let store: Vec<_> =
        case.result.map(|r| ("result".to_owned(), r.to_owned())).into_iter().collect();
    judge(&Facts {
        report: &Parser::read(text),
        end: case.end.as_ref(),
        machine: case.machine,
        xl: &[case.xl.to_owned()],
        found: &case.found.map(|what| vec![what.to_owned()]).unwrap_or_default(),
        store: &store,
        last_line: "last",
        trace: &case.trace,
        memory: case.memory,
        memory_is_due: case.memory_is_due,
        complaints: case.complaints,
        unwatched: case.unwatched,
        unwitnessed: case.unwitnessed,
        devices: case.devices,
        asked: &case.asked,
        changed: case.changed,
    })
}

fn codes<const N: usize>(codes: [&str; N]) -> Vec<String> {
    codes.map(str::to_owned).to_vec()
}

/// The verdict and what tells most of it.
fn verdict_of(text: &str, end: &JobEnd, evidence: Option<&Evidence>) -> (Verdict, String) {
    let trace = evidence.map_or(Trace::Off("--no-trace"), |evidence| Trace::Seen(evidence.clone()));
    let (verdict, codes) = judged(text, &Case { end: Some(end.clone()), trace, ..Case::default() });
    (verdict, codes.first().cloned().unwrap_or_default())
}

fn end(reason: Option<u32>) -> JobEnd {
    JobEnd { reason, code: Some(0), ..JobEnd::default() }
}

fn seen(addresses: u64, outside: u64) -> Evidence {
    let first_outside = (outside > 0).then_some(0x1000);
    let devices = usize::from(addresses > 0);
    Evidence {
        addresses,
        devices,
        pages: 1,
        pool_pages: 1,
        segments: 1,
        ranges: 1,
        outside,
        first_outside,
        ..Evidence::default()
    }
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
fn a_domain_that_had_to_be_destroyed_is_a_timeout() {
    let late = JobEnd { late: true, ..end(None) };
    assert_eq!(verdict_of("", &late, None), (Verdict::Timeout, "timeout".to_owned()));
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
    assert_eq!(
        verdict_of(&bad(), &end(Some(0)), None),
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
    let text = ended_badly("INCONCLUSIVE", "ping-lost: 7 of 10");
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

/// The good report, of a run that claims this much.
fn claiming(out: u64, slots: u64, segments: u64) -> String {
    let lines = format!(
        "out={out} in=1 compared=1 bytes=60\n# pool-walk slots={slots}/512 segments={segments}/4"
    );
    GOOD.replace("out=0 in=1 compared=1 bytes=60", &lines)
}

#[test]
fn a_success_without_a_frame_compared_is_a_skip() {
    let text = claiming(1, 1, 1).replace("compared=1 bytes=60", "compared=0 bytes=0");
    assert_eq!(judged(&text, &Case::default()), (Verdict::Skip, codes(["dma-skipped"])));
    let text_without = GOOD.replace("# transfers out=0 in=1 compared=1 bytes=60\n", "");
    assert_eq!(judged(&text_without, &Case::default()), (Verdict::Skip, codes(["dma-skipped"])));
    let bare = Case { devices: 0, ..Case::default() };
    assert_eq!(judged(&text, &bare).0, Verdict::Success);
}

/// The report of a run that found the machine wrong.
fn bad() -> String {
    ended_badly("FAILURE", "byte-mismatch: offset 17")
}

/// The report of a run whose one check ended so, for this reason.
fn ended_badly(verdict: &str, reason: &str) -> String {
    let check = format!("# reason: {reason}\n  not ok 1 loopback # {verdict} {reason}");
    GOOD.replace("ok 1 loopback", &check)
        .replace("ok 1 dma", &format!("not ok 1 dma # {verdict}"))
        .replace("SUCCESS", verdict)
}

#[test]
fn a_guests_verdict_outlives_a_toolstack_that_hangs() {
    let late = Case { end: Some(JobEnd { late: true, ..end(None) }), ..Case::default() };
    let stuck = Case { end: Some(JobEnd { stuck: true, ..end(None) }), ..Case::default() };
    let silent = Case { end: None, machine: Fate::Silent, ..Case::default() };
    for case in [&late, &stuck, &silent] {
        let both = codes(["toolstack-stuck", "byte-mismatch"]);
        assert_eq!(judged(&bad(), case), (Verdict::Failure, both));
        assert_eq!(judged(GOOD, case), (Verdict::Timeout, codes(["toolstack-stuck"])));
    }
    assert_eq!(judged("", &silent), (Verdict::Timeout, codes(["machine-silent"])));
    let ended = Case { end: None, machine: Fate::Ended, ..Case::default() };
    assert_eq!(judged(&bad(), &ended), (Verdict::Crash, codes(["machine-ended"])));
}

#[test]
fn the_check_that_failed_tells_more_than_what_follows_from_it() {
    let other = "1..2\n  ok 1 other\n  # reason";
    let text = bad().replace("1..1\n  # reason", other).replace("1 loopback", "2 loopback");
    let case = Case { trace: Trace::Seen(seen(0, 0)), ..Case::default() };
    let wanted = codes(["byte-mismatch", "dma-unseen"]);
    assert_eq!(judged(&text, &case), (Verdict::Failure, wanted));
}

#[test]
fn a_report_with_a_defect_names_it_with_its_line() {
    let report = Parser::read(&GOOD.replace("ok 1 loopback", "ok 3 loopback"));
    let problem = broken(&report, Verdict::Success, None).unwrap();
    let wanted = "line 6, `  ok 3 loopback`: is not the next number";
    assert!(problem.detail.contains(wanted), "{problem:?}");
    assert_eq!(broken(&Parser::read(GOOD), Verdict::Success, Some(0)), None);
}

#[test]
fn a_log_is_judged_by_what_the_guest_said() {
    let log = || Case { end: None, machine: Fate::Unknown, ..Case::default() };
    assert_eq!(judged(GOOD, &log()), (Verdict::Success, codes([])));
    assert_eq!(judged(&bad(), &log()), (Verdict::Failure, codes(["byte-mismatch"])));
    assert_eq!(judged("PANIC: x", &log()), (Verdict::Crash, codes(["crash"])));
    assert_eq!(judged("KTAP version 1", &log()), (Verdict::Error, codes(["log-cut"])));
    let cut = &GOOD[4..];
    assert_eq!(judged(cut, &log()), (Verdict::Error, codes(["report-broken"])));
}

#[test]
fn a_domain_that_somebody_destroyed_did_not_crash_by_itself() {
    let cut = GOOD.split_once("ok 1 dma").unwrap().0;
    let xl = "Domain 5 has been destroyed.";
    let case = Case { end: Some(end(None)), xl, ..Case::default() };
    assert_eq!(judged(cut, &case), (Verdict::Crash, codes(["destroyed"])));
    // A report that is whole counts for what it says.
    assert_eq!(judged(&bad(), &case), (Verdict::Failure, codes(["byte-mismatch"])));
}

#[test]
fn a_console_that_ends_too_early_is_told_by_the_store() {
    let cut = GOOD.split_once("ok 1 dma").unwrap().0;
    let case = Case { result: Some("SUCCESS"), ..Case::default() };
    assert_eq!(judged(cut, &case), (Verdict::Failure, codes(["console-lost"])));
    assert_eq!(judged("PANIC: x", &case), (Verdict::Crash, codes(["crash"])));
    assert_eq!(judged(GOOD, &case), (Verdict::Success, codes([])));
}

#[test]
fn a_guest_that_counts_more_memory_than_it_was_given_is_not_believed() {
    let text = GOOD.replace("Test", "# dma-limits mask=0xffffffff memory=1048577\nTest");
    let given = |memory| judged(&text, &Case { memory, ..Case::default() });
    assert_eq!(given(Some(1 << 20)), (Verdict::Error, codes(["report-broken"])));
    assert_eq!(given(Some((1 << 20) + 1)).0, Verdict::Success);
    assert_eq!(given(None).0, Verdict::Success);
}

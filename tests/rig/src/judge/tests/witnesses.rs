//! What others saw of a job: QEMU's trace, Xen's memory and complaints, a medium, each of the devices.

use super::*;

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
    let low = JobEnd { low_pages: Some((7, 6)), ..same.clone() };
    assert_eq!(verdict_of(GOOD, &low, None), wanted);
    // What dom0 gave of its own is Xen's now; what neither has is lost.
    let given = JobEnd {
        free_mib: Some((9, 264)),
        own_mib: Some((5000, 4743)),
        low_pages: Some((7, 900)),
        ..same
    };
    assert_eq!(verdict_of(GOOD, &given, None).0, Verdict::Success);
    let lost = JobEnd { own_mib: Some((5000, 4742)), ..given };
    assert_eq!(verdict_of(GOOD, &lost, None), wanted);
}

#[test]
fn dma_that_nobody_saw_is_a_failure() {
    let wanted = (Verdict::Failure, "dma-unseen".to_owned());
    assert_eq!(verdict_of(GOOD, &end(Some(0)), Some(&seen(0, 0))), wanted);
}

#[test]
fn the_trace_has_to_hold_what_the_guest_claims() {
    let trace =
        Evidence { addresses: 10, devices: 1, pool_pages: 4, segments: 2, ..Evidence::default() };
    let verdict = |out, slots, segments| {
        verdict_of(&claiming(out, slots, segments), &end(Some(0)), Some(&trace)).1
    };
    assert_eq!(verdict(9, 8, 2), "");
    assert_eq!(verdict(9, 7, 2), "");
    assert_eq!(verdict(10, 8, 2), "dma-unseen");
    assert_eq!(verdict(u64::MAX, 8, 2), "dma-unseen");
    assert_eq!(verdict(9, 9, 2), "dma-unseen");
    assert_eq!(verdict(9, 8, 3), "dma-unseen");
}

const TWO_DEVICES: &str = "KTAP version 1\n1..2\n\
    \x20 KTAP version 1\n  # Subtest: dma@0000:00:00.0\n  1..1\n  ok 1 loopback\nok 1 dma@0000:00:00.0\n\
    \x20 KTAP version 1\n  # Subtest: dma@0000:00:01.0\n  1..1\n  ok 1 loopback\nok 2 dma@0000:00:01.0\n\
    # transfers out=0 in=1 compared=1 bytes=60\nTest result: SUCCESS\n";

#[test]
fn each_of_two_devices_has_to_be_seen_and_to_show_something() {
    let both = Evidence { devices: 2, ..seen(9, 0) };
    assert_eq!(verdict_of(TWO_DEVICES, &end(Some(0)), Some(&both)).0, Verdict::Success);
    let wanted = (Verdict::Failure, "dma-unseen".to_owned());
    assert_eq!(verdict_of(TWO_DEVICES, &end(Some(0)), Some(&seen(9, 0))), wanted);
    let one = TWO_DEVICES.replace(
        "1..1\n  ok 1 loopback\nok 2 dma@0000:00:01.0",
        "1..0\nok 2 dma@0000:00:01.0 # SKIP no-driver",
    );
    assert_eq!(judged(&one, &Case::default()), (Verdict::Skip, codes(["dma-skipped"])));
    let why = |text: &str| judgement(text, &Case::default()).problems[0].detail.clone();
    assert!(why(&one).ends_with(": no-driver"), "{}", why(&one));
    let skipped = "1..1\n  ok 1 loopback # SKIP link-down\nok 2 dma@0000:00:01.0 # SKIP";
    let all = TWO_DEVICES.replace("1..1\n  ok 1 loopback\nok 2 dma@0000:00:01.0", skipped);
    assert!(why(&all).ends_with(": each of its checks was skipped"), "{}", why(&all));
    // Nor is one enough of which nothing is said.
    let two = Case { devices: 2, ..Case::default() };
    assert_eq!(judged(TWO_DEVICES, &two).0, Verdict::Success);
    assert_eq!(judged(GOOD, &two), (Verdict::Skip, codes(["dma-skipped"])));
    // A job that is about some of them says nothing of the others.
    let asked = |device: &str| Case { asked: vec![device.to_owned()], ..Case::default() };
    assert_eq!(judged(&one, &asked("0000:00:00.0")).0, Verdict::Success);
    for lacking in ["0000:00:01.0", "0000:00:02.0"] {
        assert_eq!(judged(&one, &asked(lacking)), (Verdict::Skip, codes(["dma-skipped"])));
    }
}

#[test]
fn a_witness_that_is_missing_is_a_skip_that_says_so() {
    let wanted = (Verdict::Skip, codes(["evidence-absent"]));
    let trace = Trace::Missing("can't open it".to_owned());
    assert_eq!(judged(GOOD, &Case { trace, ..Case::default() }), wanted);
    let told = |free_mib, low_pages| {
        let end = Some(JobEnd { free_mib, low_pages, ..end(Some(0)) });
        judged(GOOD, &Case { end, memory_is_due: true, ..Case::default() })
    };
    assert_eq!(told(None, None), wanted);
    assert_eq!(told(Some((1, 1)), None), wanted);
    assert_eq!(told(None, Some((1, 1))), wanted);
    assert_eq!(told(Some((1, 1)), Some((2, 2))), (Verdict::Success, codes([])));
}

#[test]
fn what_xen_complains_of_comes_first() {
    let complaints: &[&str] =
        &["(XEN) [VT-D]DMAR:[DMA Read] Request device [0000:00:05.0] fault addr 0", "(XEN) x"];
    let case = Case { complaints, ..Case::default() };
    assert_eq!(judged(GOOD, &case), (Verdict::Failure, codes(["xen-complained"])));
    assert_eq!(judged("PANIC: x", &case), (Verdict::Crash, codes(["xen-complained", "crash"])));
    // What is told of an address would help nobody whose interrupts get lost.
    let lost: &[&str] = &["(XEN) CPU0: No irq handler for vector b8 (IRQ -2147483648, LAPIC)"];
    let case = Case { complaints: lost, ..Case::default() };
    assert!(judgement(GOOD, &case).problems[0].remedy.contains("iommu=no-intremap"));
}

#[test]
fn a_disk_that_changed_is_a_failure_whatever_the_guest_says() {
    let changed = Case { changed: Some(0x2007), ..Case::default() };
    let (verdict, problems) = judged(GOOD, &changed);
    assert_eq!((verdict, problems[0].as_str()), (Verdict::Failure, "medium-changed"));
}

#[test]
fn devices_that_the_trace_does_not_watch_are_counted_out() {
    let trace = || Trace::Seen(seen(1, 0));
    let watched = |unwatched| Case { trace: trace(), unwatched, ..Case::default() };
    let text = TWO_DEVICES.replace("out=0 in=1 compared=1", "out=9 in=9 compared=9");
    assert_eq!(judged(&text, &watched(1)).0, Verdict::Success);
    assert_eq!(judged(&text, &watched(0)), (Verdict::Failure, codes(["dma-unseen"])));
}

#[test]
fn what_a_suite_of_isolation_says_needs_its_witness() {
    let not_reached = Some(0x1000);
    let trace = Trace::Seen(Evidence { not_reached, ..seen(9, 0) });
    let untrue = Case { trace, ..Case::default() };
    assert_eq!(judged(GOOD, &untrue), (Verdict::Failure, codes(["isolation-untrue"])));
    let unwitnessed = Case { unwitnessed: Some("0x1000"), ..Case::default() };
    assert_eq!(judged(GOOD, &unwitnessed), (Verdict::Skip, codes(["isolation-unwitnessed"])));
}

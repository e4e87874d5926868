//! The script for a real host, on hosts made of files: what it refuses, what it takes, and that it gives back.

mod faults;
mod leftovers;
mod refused;
mod told;

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;

use super::host::{GOOD, Host, Said, ended, exists, shells, signal};
use super::*;

const CARD: &str = "0000:03:00.0";
const ROUTE: &str = "Iface\tDestination\tGateway\n";
const ALL_CALLS: [&str; 6] =
    ["pci-assignable-add", "create", "console", "unpause", "destroy", "pci-assignable-remove"];

/// What a run does to xl, but for the order of console and unpause, which does not count.
fn sorted(mut calls: Vec<String>) -> Vec<String> {
    calls.sort();
    calls
}

fn with_card() -> Host {
    let host = Host::new();
    host.card(CARD, "eth0");
    host
}

/// The device has its driver, and no domain is left.
fn assert_given_back(host: &Host, said: &Said) {
    assert_eq!(host.driver(CARD), "r8169", "{}", said.text);
    assert!(!exists(&host.at("state/domain")), "{}", said.text);
    assert!(!exists(&host.logs().join("taken")));
}

#[test]
fn the_archive_has_what_a_host_needs_and_is_the_same_each_time() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let script = Path::new(root).join("host/pvbounce.sh");
    let archive = pack_from(Path::new(root), &script).unwrap();
    assert_eq!(archive, pack_from(Path::new(root), &script).unwrap());
    let mut bytes = Vec::new();
    GzDecoder::new(&archive[..]).read_to_end(&mut bytes).unwrap();
    let mut tar = tar::Archive::new(&bytes[..]);
    let entries = tar.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        (path, entry.header().mode().unwrap())
    });
    let entries: Vec<_> = entries.collect();
    assert!(entries.contains(&("pvbounce/pvbounce".to_owned(), 0o755)), "{entries:?}");
    for name in ["pvbounce.elf", "LICENSE", "README.md", "xl-configs/smoke-late.cfg"] {
        assert!(entries.contains(&(format!("pvbounce/{name}"), 0o644)), "{name}: {entries:?}");
    }
}

#[test]
fn a_run_takes_shows_and_gives_back_in_any_shell() {
    for shell in shells() {
        let host = Host::with(shell.clone());
        host.card(CARD, "eth0");
        let said = host.run(&["03:00.0"]);
        assert_eq!(said.code, Some(0), "{shell:?}: {}", said.text);
        assert_eq!(
            sorted(host.calls()),
            sorted([&ALL_CALLS[..], &["pause"]].concat().iter().map(|c| (*c).to_owned()).collect())
        );
        assert_given_back(&host, &said);
        for row in [
            "  boot                 SUCCESS      1 passed, 1 skipped",
            "  dma                  SUCCESS      1 passed",
        ] {
            assert!(said.text.lines().any(|line| line == row), "{shell:?}: {}", said.text);
        }
        assert!(said.text.contains("INTx         pin A, line 17"), "{}", said.text);
        assert_eq!(host.log("console.log"), GOOD);
        assert!(host.log("report.txt").contains("SUCCESS"));
        assert!(host.log("guest.cfg").contains("pci = [ \"0000:03:00.0\" ]"));
    }
}

#[test]
fn each_verdict_has_its_exit_code() {
    let whole = |word: &str| {
        GOOD.replace("\nok 2 dma", &format!("\nnot ok 2 dma # {word}")).replace("SUCCESS", word)
    };
    let skipped = GOOD.replace("ok 1 boot", "ok 1 boot # SKIP no-x: y");
    let failed = GOOD
        .replace("ok 1 every_length_comes_back # 1455 transfers", "# reason: dma-byte-mismatch: byte 3\n  # remedy: look there\n  not ok 1 every_length_comes_back # FAILURE dma-byte-mismatch: byte 3")
        .replace("\nok 2 dma", "\nnot ok 2 dma # FAILURE")
        .replace("SUCCESS", "FAILURE");
    let cases = [
        (skipped.clone(), "---s--", 0, ""),
        // What was not shown caps a SUCCESS; suite `close` shows nothing.
        (
            GOOD.replace("Test result: SUCCESS", "# not-shown no-x: y\nTest result: SKIP"),
            "---s--",
            3,
            "no-x",
        ),
        (skipped.replace("dma", "close").replace("SUCCESS", "SKIP"), "---s--", 3, ""),
        (whole("ERROR"), "---s--", 4, ""),
        (failed, "---s--", 5, "byte 3\n               remedy: look there"),
        (whole("INCONCLUSIVE"), "---s--", 8, ""),
        // Lines that got lost, a word that is none, a verdict that is not what came before it or not the end, and none.
        (
            GOOD.replace("ok 1 boot\n", ""),
            "---s--",
            4,
            "report-broken: it says SUCCESS, but it reports 1 of 2 suites",
        ),
        (GOOD.replace("SUCCESS", "SUCCES"), "---s--", 4, "report-broken: it says SUCCES, but"),
        ("Test result: SUCCESS\n".to_owned(), "---s--", 4, "but it reports 0 of 0 suites"),
        (
            whole("FAILURE").replace("t: FAILURE", "t: SUCCESS"),
            "---s--",
            4,
            "it says SUCCESS, but its suites come to FAILURE",
        ),
        (
            GOOD.replace("  ok 1 every", "  not ok 1 every"),
            "---s--",
            4,
            "dma says SUCCESS, and not each of its checks does",
        ),
        (format!("{GOOD}ok 3 more\n"), "---s--", 4, "but it goes on after its result"),
        (format!("{GOOD}{GOOD}"), "---s--", 4, "but it goes on after its result"),
        (format!("{GOOD}PANIC: at y\n"), "---s--", 6, "crash: PANIC: at y"),
        (GOOD.to_owned(), "----c-", 6, "crash: Xen says that it crashed, ----c-"),
        (GOOD.replace("Test result: SUCCESS", "PANIC: at x"), "----c-", 6, "crash: PANIC: at x"),
        (String::new(), "---s--", 6, "crash: no verdict"),
    ];
    for (console, state, code, words) in cases {
        let host = with_card();
        host.file("state/console", &console);
        host.file("state/state", state);
        let said = host.run(&[CARD]);
        assert_eq!(said.code, Some(code), "{console}: {}", said.text);
        assert!(said.text.contains(words), "{words}: {}", said.text);
        assert_given_back(&host, &said);
    }
}

#[test]
fn what_xl_does_not_say_of_a_domain_is_not_its_end() {
    let host = with_card();
    host.file("state/state", "");
    host.file("state/console", GOOD);
    let said = host.run(&["--timeout", "2", CARD]);
    assert_eq!(said.code, Some(7), "{}", said.text);
    assert_given_back(&host, &said);
}

#[test]
fn a_guest_that_does_not_end_is_paused_and_destroyed() {
    let host = with_card();
    host.file("state/hold", "");
    host.file("state/console", "KTAP version 1\n1..2\nstill here\n");
    let said = host.run(&["--timeout", "1", CARD]);
    assert_eq!(said.code, Some(7), "{}", said.text);
    assert!(
        said.text.contains("timeout: no end after 1 s; its last line: still here"),
        "{}",
        said.text
    );
    let calls = host.calls();
    let at = |call: &str| calls.iter().position(|known| known == call).unwrap();
    assert!(at("pause") < at("destroy") && at("destroy") < at("pci-assignable-remove"));
    assert_given_back(&host, &said);
}

#[test]
fn the_guest_is_rid_of_each_device_when_it_asks() {
    let host = with_card();
    host.card("0000:04:00.0", "eth1");
    host.file("state/hold", "");
    host.program("xenstore-read", "#!/bin/sh\ncase $1 in */detach) echo ready ;; esac\n");
    let said = host.run(&[CARD, "0000:04:00.0"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(host.log("guest.cfg").contains("swiotlb=late detach="));
    assert!(host.log("guest.cfg").contains("pci = [ \"0000:03:00.0\", \"0000:04:00.0\" ]"));
    assert_eq!(host.driver("0000:04:00.0"), "r8169");
    let calls = fs::read_to_string(host.at("state/calls")).unwrap();
    for device in [CARD, "0000:04:00.0"] {
        assert!(calls.contains(&format!("pci-detach 7 {device}\n")), "{calls}");
    }
}

#[test]
fn an_xl_that_fails_midway_costs_no_device() {
    let late = "timeout: no end after 2 s; its last line:";
    for (refused, code, words) in [
        ("pci-assignable-add", 4, &["not-assignable: 0000:03:00.0: libxl: error: no"][..]),
        ("create", 4, &["xl-create: libxl: error: no create today"]),
        ("unpause", 7, &["ERROR        xl-unpause: libxl: error: no unpause today", late]),
        ("console", 7, &[late]),
    ] {
        let host = with_card();
        host.file("state/refuses", refused);
        let said = host.run(&["--timeout", "2", CARD]);
        assert_eq!(said.code, Some(code), "{refused}: {}", said.text);
        for words in words {
            assert!(said.text.contains(words), "{refused}: {}", said.text);
        }
        assert_given_back(&host, &said);
    }
}

#[test]
fn a_device_that_is_not_given_back_is_an_error_until_it_is() {
    let host = with_card();
    host.file("state/refuses", "pci-assignable-remove");
    let said = host.run(&[CARD]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(
        said.text.contains("not-given-back: 0000:03:00.0 is with pciback, not with r8169"),
        "{}",
        said.text
    );
    assert!(said.text.contains("--give-back"));
    fs::remove_file(host.at("state/refuses")).unwrap();
    let said = host.run(&["--give-back"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_given_back(&host, &said);
}

#[test]
fn a_signal_at_any_stage_gives_the_device_back() {
    for shell in shells() {
        for (stage, name) in [
            ("pci-assignable-add", "TERM"),
            ("create", "HUP"),
            ("unpause", "INT"),
            ("console", "QUIT"),
        ] {
            let host = Host::with(shell.clone());
            host.card(CARD, "eth0");
            host.file("state/hold", "");
            if stage != "console" {
                host.file("state/slow", format!("{stage} 0.3"));
            }
            let child = host.start(&[CARD]);
            host.await_call(stage);
            // Also while it is at it.
            signal(&child, name);
            signal(&child, "TERM");
            let said = ended(child);
            assert_eq!(said.code, Some(130), "{shell:?} {stage}: {}", said.text);
            assert_given_back(&host, &said);
        }
    }
}

#[test]
fn a_run_that_was_killed_is_made_good_by_the_next() {
    let host = with_card();
    host.file("state/hold", "");
    let mut child = host.start(&["--timeout", "3", CARD]);
    host.await_call("unpause");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(host.driver(CARD), "pciback");
    let said = host.run(&["--give-back"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(host.driver(CARD), "r8169", "{}", said.text);
    assert!(!exists(&host.at("state/domain")));
}

#[test]
fn a_tied_run_stops_when_its_input_ends() {
    let host = with_card();
    host.file("state/hold", "");
    let mut child = host.start(&["--tied", CARD]);
    host.await_call("unpause");
    drop(child.stdin.take());
    let said = ended(child);
    assert_eq!(said.code, Some(130), "{}", said.text);
    assert_given_back(&host, &said);
}

#[test]
fn a_reader_that_goes_away_costs_no_device() {
    let host = with_card();
    let mut child = host.start(&[CARD]);
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(host.driver(CARD), "r8169");
}

#[test]
fn all_tries_what_can_be_spared_one_after_the_other() {
    let host = with_card();
    host.disk("0000:05:00.0");
    host.device("0000:06:00.0", "0x030000", "i915");
    host.card("0000:04:00.0", "eth1");
    host.file(
        "proc/net/route",
        format!("{ROUTE}eth1\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n"),
    );
    let said = host.run(&["--all"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let row = |text: &str| said.text.lines().any(|line| line.starts_with(text));
    assert!(row("0000:03:00.0   SUCCESS"), "{}", said.text);
    assert!(
        row("0000:04:00.0   kept         device-in-use: eth1 carries the default route"),
        "{}",
        said.text
    );
    assert!(row("0000:05:00.0   SUCCESS"), "{}", said.text);
    // Nor is it looked at, though it is on the same line.
    assert!(!row("0000:06:00.0"));
    assert!(
        said.text
            .contains("line 17, shared with 0000:04:00.0 (r8169), shared with 0000:05:00.0 (nvme)"),
        "{}",
        said.text
    );
    for (device, driver) in [(CARD, "r8169"), ("0000:04:00.0", "r8169"), ("0000:05:00.0", "nvme")] {
        assert_eq!(host.driver(device), driver);
    }
    let creates = host.calls().iter().filter(|call| *call == "create").count();
    assert_eq!(creates, 2);
    // The worst of them is that of the whole.
    let failed = GOOD.replace("\nok 2 dma", "\nnot ok 2 dma # FAILURE");
    host.file("state/console", failed.replace("SUCCESS", "FAILURE"));
    assert_eq!(host.run(&["--all"]).code, Some(5));
}

#[test]
fn what_xen_complains_of_is_a_failure() {
    let host = with_card();
    let fault = "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:03:00.0] fault addr 1000\n";
    let others = "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:09:00.0] fault addr 1000\n";
    let before = format!("(XEN) a\n{fault}(XEN) b\n");
    let cut = &fault[40..];
    let cases = [
        // What it said before is another's, and so is another's.
        (before.clone(), 0, ""),
        (format!("{before}{others}"), 0, ""),
        (format!("{before}{fault}"), 5, "xen-complained"),
        (format!("{}, and its end\n", before.trim_end()), 0, ""),
        // Its ring has dropped the oldest, some or all.
        (format!("{cut}(XEN) b\n"), 0, ""),
        (format!("{cut}(XEN) b\n{fault}"), 5, "xen-complained"),
        (format!("N) b\n{fault}"), 5, "xen-complained"),
        (format!("(XEN) c\n{fault}"), 5, "xen-complained"),
        // There is none.
        (String::new(), 3, "evidence-absent"),
    ];
    for (after, code, words) in cases {
        host.file("state/dmesg", &before);
        host.file("state/dmesg-after", &after);
        let said = host.run(&[CARD]);
        assert_eq!(said.code, Some(code), "{after}: {}", said.text);
        assert!(said.text.contains(words), "{after}: {}", said.text);
    }
    host.file("state/dmesg", "");
    assert_eq!(host.run(&[CARD]).code, Some(3));
}

#[test]
fn a_page_that_a_device_was_to_be_kept_from_is_nothing_to_complain_of() {
    let host = with_card();
    let tried = "# isolation device=0000:00:00.0 what=table page=0x7fbbf000 answer=blocked\nTest";
    host.file("state/console", GOOD.replace("Test", tried));
    let vtd = |how: &str, address: &str| {
        format!("(XEN) [VT-D]DMAR:[DMA {how}] Request device [0000:03:00.0] fault addr {address}\n")
    };
    let amd = |address: &str, flags: &str| {
        format!("(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:03:00.0 d1 addr {address} flags {flags}\n")
    };
    for (line, code) in [
        (vtd("Read", "7fbbf000"), 0),
        (amd("000000007fbbf004", "0"), 0),
        (vtd("Write", "7fbbf000"), 5),
        (amd("000000007fbbf004", "0x20 RW"), 5),
        (vtd("Read", "7fbbe000"), 5),
        (vtd("Read", "17fbbf000"), 5),
    ] {
        host.file("state/dmesg", "(XEN) a\n");
        host.file("state/dmesg-after", format!("(XEN) a\n{line}"));
        assert_eq!(host.run(&[CARD]).code, Some(code), "{line}");
    }
}

#[test]
fn a_wait_ends_although_xl_hangs() {
    let host = with_card();
    host.file("state/slow", "list 60");
    // A second for each limit of the script's.
    host.program("timeout", "#!/bin/sh\nshift 3\nexec /usr/bin/timeout -s KILL 1 \"$@\"\n");
    let start = std::time::Instant::now();
    let said = host.run(&[CARD]);
    assert_eq!(said.code, Some(3), "{}", said.text);
    assert!(start.elapsed() < Duration::from_secs(20));
}

//! What a run left behind that was killed, and how the next one finds it and makes it good.

use std::fs;
use std::thread;
use std::time::Duration;

use super::super::host::{Host, ended, exists, shells, signal};
use super::{CARD, with_card};

/// A note of a run: whose the card was, and which process it was.
fn note(host: &Host, process: &str) {
    host.file("bundle here/runs/a/taken", format!("{CARD} r8169 (null)\n"));
    host.file("bundle here/runs/a/pid", process);
}

#[test]
fn what_a_killed_run_had_begun_comes_to_its_end_first() {
    for shell in shells() {
        for stage in ["pci-assignable-add", "create"] {
            let host = Host::with(shell.clone());
            host.card(CARD, "eth0");
            host.file("state/hold", "");
            host.file("state/slow", format!("{stage} 2"));
            let mut child = host.start(&[CARD]);
            host.await_call(stage);
            child.kill().unwrap();
            child.wait().unwrap();
            let said = host.run(&["--give-back"]);
            assert_eq!(said.code, Some(0), "{shell:?} {stage}: {}", said.text);
            thread::sleep(Duration::from_secs(3));
            assert_eq!(host.driver(CARD), "r8169", "{shell:?} {stage}: {}", said.text);
            assert!(!exists(&host.at("state/domain")), "{shell:?} {stage}: {}", said.text);
        }
    }
}

#[test]
fn a_run_that_is_under_way_is_left_alone() {
    for shell in shells() {
        let host = Host::with(shell);
        host.card(CARD, "eth0");
        host.file("state/hold", "");
        let child = host.start(&[CARD]);
        host.await_call("unpause");
        let said = host.run(&["--give-back"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert!(said.text.contains("nothing was left behind in "), "{}", said.text);
        assert_eq!(host.driver(CARD), "pciback");
        signal(&child, "TERM");
        assert_eq!(ended(child).code, Some(130));
        assert_eq!(host.driver(CARD), "r8169");
    }
}

#[test]
fn a_process_that_only_has_its_number_is_not_the_run() {
    let number = std::process::id();
    for process in [format!("{number}\n"), format!("{number} 1\n"), String::new()] {
        let host = Host::new();
        host.device(CARD, "0x020000", "pciback");
        host.file(&format!("state/owner-{CARD}"), "r8169\n");
        fs::create_dir_all(host.at("sys/bus/pci/drivers/r8169")).unwrap();
        note(&host, &process);
        let said = host.run(&["--give-back"]);
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert_eq!(host.driver(CARD), "r8169", "{}", said.text);
        assert!(!exists(&host.at("bundle here/runs/a/taken")));
    }
}

#[test]
fn what_another_guest_has_is_not_taken_from_it() {
    let host = Host::new();
    host.device(CARD, "0x020000", "pciback");
    host.file("state/assigned", "");
    note(&host, "");
    let said = host.run(&["--give-back"]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("not-given-back: 0000:03:00.0 is with pciback"), "{}", said.text);
    assert_eq!(host.calls(), [""; 0]);
    for file in ["unbind", "remove_slot"] {
        assert!(!exists(&host.at(&format!("sys/bus/pci/drivers/pciback/{file}"))), "{file}");
    }
    assert!(exists(&host.at("bundle here/runs/a/taken")));
}

#[test]
fn the_remedy_names_the_folder_that_has_the_note() {
    let host = with_card();
    host.file("state/refuses", "pci-assignable-remove");
    let output = host.at("elsewhere");
    let output = output.to_str().unwrap();
    let said = host.run(&["--output", output, CARD]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains(&format!("then {}", host.at("bundle here").display())));
    assert!(said.text.contains(&format!(" --give-back --output {output}\n")), "{}", said.text);
    fs::remove_file(host.at("state/refuses")).unwrap();
    assert!(host.run(&["--give-back"]).text.contains("nothing was left behind in "));
    assert_eq!(host.driver(CARD), "pciback");
    let said = host.run(&["--give-back", "--output", output]);
    assert!(!said.text.contains("nothing was left behind"), "{}", said.text);
    assert_eq!(host.driver(CARD), "r8169", "{}", said.text);
}

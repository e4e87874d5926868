//! A host on which what the script wants to write or to do can't be, and what it then still does.

use std::fs;

use super::super::host::{Host, ended, exists, shells, signal};
use super::{CARD, ROUTE, assert_given_back, with_card};

const SCRIPT: &str = include_str!("../../../../../host/pvbounce.sh");

/// In each run's folder, before anything is taken, these names lead to where nothing can be written.
fn spoil(host: &Host, names: &str, target: &str) {
    host.file(
        "state/befalls",
        format!(
            "for name in {names}; do for run in \"$STATE\"/../bundle*/runs/*; do \
             ln -sf {target} \"$run/$name\"; done; done\n"
        ),
    );
}

#[test]
fn what_can_not_be_noted_is_not_taken() {
    for shell in shells() {
        for (name, code, words) in [
            ("taken", 4, "ERROR        note-lost: 0000:03:00.0 is not taken"),
            ("pid", 4, "ERROR        note-lost: 0000:03:00.0 is not taken"),
            ("dependents", 3, "SKIP         device-in-use: what depends on it can't be listed"),
        ] {
            let host = Host::with(shell.clone());
            host.card(CARD, "eth0");
            host.file(
                "proc/net/route",
                format!("{ROUTE}eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\n"),
            );
            // It takes whatever is written, and has nothing of it.
            spoil(&host, name, "/dev/null");
            let arguments = if code == 4 { &["--force", CARD][..] } else { &[CARD] };
            let said = host.run(arguments);
            assert_eq!(said.code, Some(code), "{shell:?} {name}: {}", said.text);
            assert!(said.text.contains(words), "{shell:?} {name}: {}", said.text);
            assert_eq!(host.calls(), [""; 0], "{shell:?} {name}");
            assert_eq!(host.driver(CARD), "r8169");
        }
    }
}

#[test]
fn what_can_not_be_written_later_costs_no_device() {
    for shell in shells() {
        for (names, target) in [
            ("xl.log stop busy watcher detached xen.log report.txt", "/nonexistent/x"),
            ("xl.log stop busy watcher detached xen.log report.txt", "/dev/full"),
        ] {
            let host = Host::with(shell.clone());
            host.card(CARD, "eth0");
            host.file("state/hold", "");
            spoil(&host, names, target);
            let child = host.start(&[CARD]);
            host.await_call("unpause");
            signal(&child, "TERM");
            let said = ended(child);
            assert_eq!(said.code, Some(130), "{shell:?} {target}: {}", said.text);
            assert_given_back(&host, &said);
        }
    }
}

#[test]
fn a_folder_that_goes_away_costs_no_device() {
    for shell in shells() {
        let host = Host::with(shell.clone());
        host.card(CARD, "eth0");
        host.file("state/hold", "");
        let child = host.start(&[CARD]);
        host.await_call("unpause");
        fs::rename(host.logs(), host.at("gone")).unwrap();
        signal(&child, "TERM");
        let said = ended(child);
        assert_eq!(said.code, Some(130), "{shell:?}: {}", said.text);
        assert_eq!(host.driver(CARD), "r8169", "{shell:?}: {}", said.text);
        assert!(!exists(&host.at("state/domain")), "{shell:?}: {}", said.text);
    }
}

#[test]
fn a_signal_to_all_cuts_no_xl_short() {
    for stage in ["pci-assignable-add", "list", "pci-assignable-remove"] {
        let host = with_card();
        host.file("state/slow", format!("{stage} 0.5"));
        host.file("state/struck", "");
        let said = host.run(&[CARD]);
        assert_eq!(said.code, Some(0), "{stage}: {}", said.text);
        assert!(!said.text.contains("not-given-back"), "{stage}: {}", said.text);
        assert_given_back(&host, &said);
        assert_eq!(host.calls().last().unwrap(), "pci-assignable-remove");
    }
}

#[test]
fn a_host_without_a_pipe_is_an_error_of_one_device_or_all() {
    for arguments in [CARD, "--all"] {
        let host = with_card();
        host.program("mkfifo", "#!/bin/sh\nexit 1\n");
        let said = host.run(&[arguments]);
        assert_eq!(said.code, Some(4), "{}", said.text);
        assert!(said.text.contains("ERROR        no-fifo: "), "{}", said.text);
        assert_eq!(host.driver(CARD), "r8169");
    }
}

#[test]
fn a_domain_that_can_not_be_destroyed_is_an_error_until_it_is() {
    let host = with_card();
    host.file("state/refuses", "destroy");
    let said = host.run(&[CARD]);
    assert_eq!(said.code, Some(4), "{}", said.text);
    let why = |line: &str| {
        line.contains("domain-left: ") && line.ends_with("libxl: error: no destroy today")
    };
    assert!(said.text.lines().any(why), "{}", said.text);
    assert!(exists(&host.at("state/domain")) && exists(&host.logs().join("taken")));
    fs::remove_file(host.at("state/refuses")).unwrap();
    let said = host.run(&["--give-back"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_given_back(&host, &said);
}

#[test]
fn a_number_with_a_zero_in_front_is_decimal() {
    let host = with_card();
    host.file("state/hold", "");
    host.file("state/console", "KTAP version 1\n1..2\n");
    let said = host.run(&["--timeout", "08", "--memory", "0064", CARD]);
    assert_eq!(said.code, Some(7), "{}", said.text);
    assert!(said.text.contains("no end after 8 s"), "{}", said.text);
    assert!(host.log("guest.cfg").contains("memory = 64\n"));
}

/// A shell ends where a special builtin's redirection fails.
#[test]
fn no_redirection_hangs_on_a_special_builtin() {
    let special =
        [":", ".", "eval", "export", "readonly", "set", "shift", "trap", "unset", "return"];
    for (n, line) in SCRIPT.lines().enumerate() {
        let line = line.split_once(" # ").map_or(line, |(line, _)| line);
        let words: Vec<_> =
            line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        for pair in words.windows(2).filter(|pair| special.contains(&pair[0])) {
            let target = pair[1].trim_start_matches(|c: char| c.is_ascii_digit());
            assert!(!target.starts_with(['>', '<']), "line {}: {line}", n + 1);
        }
        assert!(!words.iter().any(|word| word.starts_with(":>")), "line {}: {line}", n + 1);
    }
}

#[test]
fn each_signal_that_ends_a_program_is_thought_of_wherever_one_is() {
    let traps: Vec<_> =
        SCRIPT.lines().filter(|l| l.contains("trap ") && l.contains(" INT ")).collect();
    assert!(traps.len() >= 4, "{traps:?}");
    for line in traps {
        assert!(["TERM", "HUP", "QUIT", "USR1"].iter().all(|name| line.contains(name)), "{line}");
    }
    let bare = SCRIPT.lines().filter(|line| line.contains("timeout -s"));
    assert_eq!(bare.count(), 1, "whatever has a limit goes through `bounded`");
}

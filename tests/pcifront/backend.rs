//! Backends that are slow, silent, wrong, or leave.

use crate::world::{World, assert_clean, bdf, soon};
use pvbounce::{
    pci::{
        Bus, ConfigAccess, ConfigError, Width,
        fake::{Answers, Connects, FakeBackend},
        front::{FrontError, Timeouts},
    },
    xen::{
        abi::pciif, events::EventChannels, fake::events::ROUND, grants::GrantError,
        xenbus::XenbusState,
    },
};
use std::time::Duration;

#[test]
fn a_slow_backend_is_waited_for() {
    let world = World::new();
    world.backend.connects.set(Connects::After(5000));
    world.backend.answers.set(Answers::After(7));
    let front = world.connect().unwrap();
    assert_eq!(front.functions().len(), 1);
    assert_clean(&world, &front.close());
}

#[test]
fn an_event_before_the_answer_is_only_early() {
    let world = World::new();
    world.backend.answers.set(Answers::EventFirst);
    let front = world.connect().unwrap();
    assert_eq!(front.functions().len(), 1);
    assert_clean(&world, &front.close());
}

#[test]
fn a_backend_that_never_connects_costs_the_timeouts_and_nothing_else() {
    let world = World::new();
    world.backend.connects.set(Connects::Never);
    let failed = world.connect().unwrap_err();
    assert_eq!(failed.error.code(), "xenbus-stuck");
    assert_eq!(
        failed.to_string(),
        "/local/domain/0/backend/pci/1/0 stays in state Initialised (3): \
         waited 10000 ms for the PCI backend to connect"
    );
    assert!(failed.report.leaks_nothing() && world.grants.owned() == 0);
    assert_eq!(failed.report.problem.unwrap().code(), "xenbus-stuck");
    assert_eq!(world.taken(), [0; 4]);
    assert_eq!(world.elapsed(), Duration::from_secs(13));
    assert_eq!(world.frontend_state(), "6");
}

#[test]
fn a_backend_that_leaves_instead_of_connecting_is_named() {
    for (connects, state) in [
        (Connects::GoesTo("5"), XenbusState::Closing),
        (Connects::GoesTo("6"), XenbusState::Closed),
        (Connects::Vanishes, XenbusState::Unknown),
    ] {
        let world = World::new();
        world.backend.connects.set(connects);
        let failed = world.connect().unwrap_err();
        assert_eq!(*failed.error, FrontError::BackendLeft { state });
        assert_eq!(world.grants.owned(), 0);
        assert_eq!(world.taken(), [0; 4]);
        assert!(world.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn a_backend_state_that_is_none_is_named() {
    let world = World::new();
    world.backend.connects.set(Connects::GoesTo("42"));
    let failed = world.connect().unwrap_err();
    assert_eq!(failed.error.code(), "store-bad-value");
    assert!(failed.error.to_string().contains("42"));
    assert_eq!(world.taken(), [0; 4]);
}

#[test]
fn a_silent_backend_ends_the_use_of_the_page() {
    let world = World::new();
    let front = world.connect().unwrap();
    world.backend.answers.set(Answers::Never);
    let nic = bdf("00:00.0");
    let error = front.read(nic, 0x10, Width::U32).unwrap_err();
    assert_eq!(error.to_string(), "0000:00:00.0: waited 2000 ms for pciback to answer, at 0x10");
    // The fake panics if the pending request changes; the late answer must not be taken for a new one.
    let later = world.elapsed();
    assert_eq!(front.read(nic, 0, Width::U32), Err(ConfigError::Unusable));
    world.backend.answers.set(Answers::Well);
    world.events.poll(&[front.port().unwrap()], soon(&world)).unwrap();
    assert_eq!(front.read(nic, 0, Width::U32), Err(ConfigError::Unusable));
    assert!(world.elapsed() - later <= 5 * ROUND);
    // Nor is a report answered on it.
    world.backend.report(pciif::command::AER_DETECTED);
    let port = front.port().unwrap();
    world.events.take(port);
    world.events.poll(&[port], soon(&world)).unwrap();
    assert!(world.events.take(port), "the report is there");
    assert_eq!(front.check_reports(), Ok(()));
    assert_eq!((front.aer_reports().0, world.backend.report_answers()), (0, vec![]));
    assert_clean(&world, &front.close());
}

#[test]
fn a_backend_that_closes_in_the_middle_is_named() {
    let world = World::new();
    let front = world.connect().unwrap();
    world.backend.answers.set(Answers::Leaves);
    let error = front.read(bdf("00:00.0"), 0, Width::U16).unwrap_err();
    let state = XenbusState::Closed;
    let bdf = bdf("00:00.0");
    assert_eq!(error, ConfigError::BackendLeft { bdf, state });
    assert_clean(&world, &front.close());
}

#[test]
fn each_error_code_keeps_its_meaning() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    for (code, text) in [
        (-1, "0000:00:00.0: no such device"),
        (-2, "bad offset (-2)"),
        (-3, "access denied (-3)"),
        (-4, "not implemented (-4)"),
        (-5, "operation failed (-5)"),
        (77, "unknown code 77"),
        (i32::MIN, "unknown code -2147483648"),
    ] {
        world.backend.answers.set(Answers::Error(code));
        let error = front.read(nic, 0, Width::U32).unwrap_err();
        assert!(error.to_string().ends_with(text), "{error}");
    }
    world.backend.answers.set(Answers::Well);
    assert_eq!(front.read(nic, 0, Width::U16), Ok(0x10ec));
    assert_clean(&world, &front.close());
}

#[test]
fn errors_during_the_scan_end_it() {
    let world = World::new();
    world.backend.answers.set(Answers::Error(-5));
    let failed = world.connect().unwrap_err();
    assert_eq!(failed.error.code(), "config-refused");
    assert_clean(&world, &failed.report);
}

#[test]
fn a_page_the_backend_keeps_is_never_handed_back() {
    let world = World::new();
    world.backend.connects.set(Connects::KeepsPage);
    let front = world.connect().unwrap();
    let report = front.close();
    assert!(world.grants.owned() == 1 && !report.leaks_nothing());
    let gref = report.still_granted.unwrap();
    assert_eq!(*report.problem.unwrap(), FrontError::Grant(GrantError::StillMapped(gref)));
    assert_eq!(world.taken(), [0, 1, 0, 0]);
}

#[test]
fn a_backend_that_vanished_does_not_stop_the_closing() {
    let world = World::new();
    let front = world.connect().unwrap();
    world.tree.delete(FakeBackend::dir());
    let report = front.close();
    assert!(world.elapsed() <= Timeouts::default().unmap + ROUND);
    // It never unmapped, so the page is lost; port and watches are not.
    assert!(report.still_granted.is_some());
    assert_eq!(world.taken(), [0, 1, 0, 0]);
}

#[test]
fn a_scan_has_a_budget_however_many_answers_come_in_time() {
    let roots: Vec<_> = (0..32).map(|number| Bus { segment: 0, number }).collect();
    let world = World::with_roots(&roots);
    world.backend.announces.set(false);
    world.backend.answers.set(Answers::After(1900));
    let failed = world.connect().unwrap_err();
    let text = failed.to_string();
    assert_eq!(failed.error.code(), "front-scan-timeout");
    assert!(text.starts_with("16 of 8192 looks for functions done: waited 304"), "{text}");
    assert!(world.elapsed() < Duration::from_secs(40), "{:?}", world.elapsed());
    assert_clean(&world, &failed.report);
}

#[test]
fn more_functions_than_a_bus_holds_are_not_believed() {
    let world = World::new();
    for n in 0..257 {
        world.tree.set(&format!("{}/vdev-{n}", FakeBackend::dir()), "0000:00:00.00");
    }
    let failed = world.connect().unwrap_err();
    assert_eq!(failed.error.code(), "store-bad-value");
    assert!(failed.to_string().contains("257 functions"), "{failed}");
    assert_clean(&world, &failed.report);
}

#[test]
fn wrong_nodes_are_named() {
    let cases = [
        ("root_num", "1000", "a number of buses"),
        ("root_num", "-1", "a number of buses"),
        ("root-0", "bus zero", "a bus, ssss:bb"),
    ];
    for (node, value, expected) in cases {
        let world = World::new();
        world.backend.announces.set(false);
        world.tree.set(&format!("{}/{node}", FakeBackend::dir()), value);
        let failed = world.connect().unwrap_err();
        assert_eq!(failed.error.code(), "store-bad-value");
        assert!(failed.to_string().contains(expected), "{failed}");
        assert_clean(&world, &failed.report);
    }
}

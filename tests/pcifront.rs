//! pcifront against a backend that is good, slow, silent, wrong, or leaves; and with every service failing.

use proptest::prelude::*;
use pvbounce::{
    addr::Mfn,
    arch::{
        time::{Clock, Instant},
        volatile::host::shared_page,
    },
    pci::{
        Bdf, Bus, Command, ConfigAccess, ConfigError, Function, Width,
        fake::{Answers, Connects, FakeBackend, FakeDevice},
        front::{CloseReport, ConnectFailed, Front, FrontError, Services, SharedPage, Timeouts},
    },
    xen::{
        abi::pciif::command,
        events::{DomainId, EventChannels, Pirq, Port},
        fake::{FakeClock, FakeEvents, FakeGrants, FaultPlan, Faulty},
        grants::{GrantError, Grants},
        store::{
            Store,
            fake::{FakeStore, Tree},
        },
        xenbus::XenbusState,
    },
};
use std::{rc::Rc, time::Duration};

const FRAME: Mfn = Mfn(0x1234);

struct World {
    events: Rc<FakeEvents>,
    clock: Rc<FakeClock>,
    grants: Rc<FakeGrants>,
    tree: Rc<Tree>,
    store: FakeStore,
    backend: Rc<FakeBackend>,
}

fn bdf(text: &str) -> Bdf {
    text.parse().expect("an address in a test")
}

fn nic() -> FakeDevice {
    FakeDevice::new(0x10ec, 0x8139, 0x02_0000)
        .bar(0, 0xc101, 0x100)
        .bar(1, 0xfebf_1000, 0x100)
        .interrupt(1, 19)
}

impl World {
    fn new() -> Self {
        Self::with_roots(&[Bus::FIRST])
    }

    fn with_roots(roots: &[Bus]) -> Self {
        let events = FakeEvents::new();
        let grants = FakeGrants::new(32);
        let tree = Tree::new(DomainId(1));
        let store = FakeStore::new(Rc::clone(&tree), Rc::clone(&events));
        let backend = FakeBackend::new(&tree, &events, &grants, roots);
        backend.bus.insert(bdf("00:00.0"), nic());
        let clock = events.clock();
        Self { events, clock, grants, tree, store, backend }
    }

    fn page(&self) -> SharedPage {
        let window = shared_page();
        window.write(0, &[0xa5; 4096]);
        self.grants.own(FRAME, window);
        SharedPage { window, mfn: FRAME }
    }

    fn services(&self) -> Services<'_> {
        Services {
            store: &self.store,
            events: &*self.events,
            grants: &*self.grants,
            clock: &*self.clock,
        }
    }

    fn connect(&self) -> Result<Front<'_>, ConnectFailed> {
        Front::connect(self.services(), Timeouts::default(), self.page())
    }

    fn taken(&self) -> [usize; 4] {
        [self.events.taken(), self.grants.taken(), self.tree.taken(), self.backend.irqs_on()]
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(Instant(0))
    }

    fn frontend_state(&self) -> String {
        let path = format!("{}/state", FakeBackend::frontend_dir());
        self.tree.get(&path).expect("the frontend has a state")
    }
}

fn assert_clean(world: &World, report: &CloseReport) {
    assert!(report.is_clean(), "{report:?}");
    assert!(report.page.is_some());
    assert_eq!(world.taken(), [0; 4]);
}

#[test]
fn a_whole_life_gives_everything_back() {
    let world = World::new();
    let front = world.connect().unwrap();
    assert_eq!(front.functions(), [bdf("00:00.0")]);
    assert_eq!(world.frontend_state(), "4");
    let function = Function::probe(&front, bdf("00:00.0")).unwrap().unwrap();
    assert_eq!(function.id().unwrap().to_string(), "10ec:8139");
    let before = function.enable(Command::MEMORY | Command::MASTER).unwrap();
    assert!(before.is_empty());
    assert_eq!(function.bars().unwrap().len(), 2);
    assert_eq!(function.interrupt_pin().unwrap().unwrap().line, 19);
    assert_eq!(world.backend.bus.violations(), 0);
    let report = front.close();
    assert_clean(&world, &report);
    assert_eq!(world.frontend_state(), "6");
    assert!(!world.backend.is_connected());
}

#[test]
fn every_width_reads_and_writes_what_was_asked() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    assert_eq!(front.read(nic, 0, Width::U32), Ok(0x8139_10ec));
    assert_eq!(front.read(nic, 2, Width::U16), Ok(0x8139));
    assert_eq!(front.read(nic, 3, Width::U8), Ok(0x81));
    front.write(nic, 4, Width::U8, 0xffff_ff06).unwrap();
    assert_eq!(front.read(nic, 4, Width::U16), Ok(0x0006));
    let served = world.backend.served();
    for (offset, width) in [(1, Width::U16), (2, Width::U32), (4096, Width::U8)] {
        let error = front.read(nic, offset, width).unwrap_err();
        assert_eq!(error.code(), "config-misaligned");
    }
    assert_eq!(world.backend.served(), served, "nothing was sent");
    let error = front.read(nic, 256, Width::U8).unwrap_err();
    assert_eq!(
        error.to_string(),
        "0000:00:00.0: the backend refused the access at 0x100: bad offset (-2)"
    );
    assert_clean(&world, &front.close());
}

#[test]
fn all_roots_and_functions_without_a_function_zero_are_found() {
    let second = Bus { segment: 1, number: 3 };
    let world = World::with_roots(&[Bus::FIRST, second]);
    for place in ["00:1f.7", "0001:03:02.3"] {
        world.backend.bus.insert(bdf(place), nic());
    }
    let front = world.connect().unwrap();
    let expected = ["00:00.0", "00:1f.7", "0001:03:02.3"].map(bdf);
    assert_eq!(front.functions(), expected);
    assert_clean(&world, &front.close());
}

#[test]
fn a_domain_without_pci_is_told_apart() {
    let world = World::new();
    world.tree.delete("/local/domain/1/device");
    let failed = world.connect().unwrap_err();
    assert_eq!(*failed.error, FrontError::NoDevice);
    assert_clean(&world, &failed.report);
    assert_eq!(world.elapsed(), Duration::ZERO);
}

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
    assert!(failed.report.leaks_nothing() && failed.report.page.is_some());
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
        assert!(failed.report.page.is_some());
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
    assert!(world.elapsed() - later <= Duration::from_millis(5));
    assert_clean(&world, &front.close());
}

fn soon(world: &World) -> Instant {
    world.clock.now().after(Duration::from_millis(5))
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
fn msi_gives_a_pirq_and_closing_takes_it_back() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    let error = front.enable_msi(nic).unwrap_err();
    assert_eq!(error.code(), "config-refused", "memory decode is off");
    let function = Function::probe(&front, nic).unwrap().unwrap();
    function.enable(Command::MEMORY).unwrap();
    assert_eq!(front.enable_msi(nic).unwrap(), Pirq(16));
    assert_eq!(front.interrupts_on(), 1);
    front.disable_msi(nic).unwrap();
    assert_eq!(front.enable_msi(nic).unwrap(), Pirq(17));
    assert!(front.enable_msi(nic).is_err(), "it is on already");
    assert_eq!(front.interrupts_on(), 1);
    assert_eq!(world.backend.irqs_on(), 1);
    assert_clean(&world, &front.close());
}

#[test]
fn msix_gives_a_pirq_an_entry() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    Function::probe(&front, nic).unwrap().unwrap().enable(Command::MEMORY).unwrap();
    let pirqs = front.enable_msix(nic, &[0, 1, 4]).unwrap();
    assert_eq!(pirqs, [Pirq(16), Pirq(17), Pirq(18)]);
    for asked in [0, 129] {
        let error = front.enable_msix(nic, &vec![0; asked]).unwrap_err();
        assert_eq!(error, FrontError::VectorCount { bdf: nic, asked });
    }
    assert_clean(&world, &front.close());
}

#[test]
fn pirqs_that_are_none_are_refused_and_turned_off_again() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    for value in [0, -1, i32::MIN] {
        let raw = value.cast_unsigned();
        world.backend.answers.set(Answers::Value(raw));
        let error = front.enable_msi(nic).unwrap_err();
        assert_eq!(error, FrontError::BadPirq { bdf: nic, value });
    }
    world.backend.answers.set(Answers::Value(0));
    let error = front.enable_msix(nic, &[0]).unwrap_err();
    assert_eq!(error.code(), "front-bad-pirq");
    world.backend.answers.set(Answers::Value((-28_i32).cast_unsigned()));
    let error = front.enable_msix(nic, &[0]).unwrap_err();
    assert_eq!(error.to_string(), "0000:00:00.0: dom0 refused 1 MSI-X vectors with -28");
    assert_eq!(front.interrupts_on(), 0);
    world.backend.answers.set(Answers::Well);
    assert_clean(&world, &front.close());
}

#[test]
fn interrupts_that_cannot_be_turned_off_are_reported() {
    let world = World::new();
    let front = world.connect().unwrap();
    let nic = bdf("00:00.0");
    Function::probe(&front, nic).unwrap().unwrap().enable(Command::MEMORY).unwrap();
    front.enable_msi(nic).unwrap();
    world.backend.answers.set(Answers::Never);
    let report = front.close();
    assert_eq!(report.irqs_left, [nic]);
    assert!(!report.leaks_nothing());
    assert!(report.page.is_some());
}

#[test]
fn a_page_the_backend_keeps_is_never_handed_back() {
    let world = World::new();
    world.backend.connects.set(Connects::KeepsPage);
    let front = world.connect().unwrap();
    let report = front.close();
    assert!(report.page.is_none() && !report.leaks_nothing());
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
    assert!(world.elapsed() < Duration::from_secs(1));
    // It never unmapped, so the page is lost; port and watches are not.
    assert!(report.still_granted.is_some());
    assert_eq!(world.taken(), [0, 1, 0, 0]);
}

#[test]
fn dropping_closes_as_well() {
    let world = World::new();
    drop(world.connect().unwrap());
    assert_eq!(world.taken(), [0; 4]);
    assert_eq!(world.frontend_state(), "6");
}

#[test]
fn a_second_connection_is_refused_with_the_reason() {
    let world = World::new();
    assert_clean(&world, &world.connect().unwrap().close());
    let failed = world.connect().unwrap_err();
    let state = XenbusState::Closed;
    assert_eq!(*failed.error, FrontError::AlreadyUsed { state });
    assert_clean(&world, &failed.report);
}

#[test]
fn error_reports_are_answered_and_counted() {
    let world = World::new();
    let front = world.connect().unwrap();
    world.backend.report(command::AER_DETECTED);
    assert_eq!(front.read(bdf("00:00.0"), 0, Width::U16), Ok(0x10ec));
    world.backend.report(command::AER_RESUME);
    world.events.poll(&[front.port().unwrap()], soon(&world)).unwrap();
    front.answer_report().unwrap();
    front.read(bdf("00:00.0"), 0, Width::U16).unwrap();
    let (count, last) = front.aer_reports();
    assert_eq!((count, last.unwrap().command), (2, command::AER_RESUME));
    assert_eq!(world.backend.report_answers(), [2, 5]);
    assert_clean(&world, &front.close());
}

#[test]
fn devices_come_and_go() {
    let world = World::new();
    let mut front = world.connect().unwrap();
    assert_eq!(front.pending_change().unwrap(), None);
    let new = bdf("00:01.0");
    world.backend.bus.insert(new, nic());
    world.backend.announce(1, new, "1");
    assert_eq!(front.pending_change().unwrap(), Some(vec![]));
    let change = front.apply_change().unwrap();
    assert_eq!((change.arrived, change.gone), (vec![new], vec![]));
    assert_eq!(front.functions(), [bdf("00:00.0"), new]);

    world.backend.announce(0, new, "5");
    assert_eq!(front.pending_change().unwrap(), Some(vec![new]));
    let change = front.apply_change().unwrap();
    assert_eq!((change.arrived, change.gone), (vec![], vec![new]));
    assert_eq!(world.frontend_state(), "4");
    assert_clean(&world, &front.close());
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
        world.tree.set(&format!("{}/{node}", FakeBackend::dir()), value);
        let failed = world.connect().unwrap_err();
        assert_eq!(failed.error.code(), "store-bad-value");
        assert!(failed.to_string().contains(expected), "{failed}");
        assert_clean(&world, &failed.report);
    }
}

#[test]
fn a_backend_without_root_num_has_one_bus() {
    let world = World::new();
    world.tree.delete(&format!("{}/root_num", FakeBackend::dir()));
    let front = world.connect().unwrap();
    assert_eq!(front.functions().len(), 1);
    assert_clean(&world, &front.close());
}

/// Connects, works and closes with the call after `calls` good ones failing; says whether one did.
fn life_with_a_fault(calls: u32) -> bool {
    let world = World::new();
    let plan = FaultPlan::after(calls);
    let store = Faulty { inner: &world.store as &dyn Store, plan: &plan };
    let events = Faulty { inner: &*world.events as &dyn EventChannels, plan: &plan };
    let grants = Faulty { inner: &*world.grants as &dyn Grants, plan: &plan };
    let services =
        Services { store: &store, events: &events, grants: &grants, clock: &*world.clock };
    let report = match Front::connect(services, Timeouts::default(), world.page()) {
        Err(failed) => *failed.report,
        Ok(front) => {
            let nic = Function::probe(&front, bdf("00:00.0"));
            if let Ok(Some(nic)) = nic {
                let _ = nic.enable(Command::MEMORY);
                let _ = front.enable_msi(nic.bdf());
                let _ = nic.bars();
            }
            front.close()
        }
    };
    let grants = usize::from(report.still_granted.is_some());
    let irqs = report.irqs_left.len();
    let taken = world.taken();
    assert_eq!(taken[..3], [0, grants, 0], "fault {calls}: {report:?}");
    assert!(taken[3] <= irqs, "fault {calls}: {report:?}");
    assert_eq!(report.page.is_some(), grants == 0, "fault {calls}");
    plan.fired()
}

#[test]
fn whichever_call_fails_nothing_is_leaked_unreported() {
    let mut calls = 0;
    while life_with_a_fault(calls) {
        calls += 1;
    }
    assert!(calls > 500, "the sweep reached only {calls} calls");
}

#[test]
fn ports_are_not_confused_with_each_other() {
    let world = World::new();
    let other = world.events.alloc_unbound(DomainId::DOM0).unwrap();
    let front = world.connect().unwrap();
    assert_ne!(front.port(), Some(other));
    world.events.raise(other);
    assert_eq!(front.read(bdf("00:00.0"), 0, Width::U16), Ok(0x10ec));
    assert!(world.events.take(other), "somebody else's event is left alone");
    assert!(world.events.close(Port(99)).is_err());
    world.events.close(other).unwrap();
    assert_clean(&world, &front.close());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_values_are_survived(value: u32, code: i32) {
        let world = World::new();
        let front = world.connect().unwrap();
        let nic = bdf("00:00.0");
        for answers in [Answers::Value(value), Answers::Error(code)] {
            world.backend.answers.set(answers);
            if let Ok(byte) = front.read(nic, 0, Width::U8) {
                prop_assert!(byte <= 0xff);
            }
            let function = Function::probe(&front, nic);
            if let Ok(Some(function)) = function {
                let _ = function.bars();
                let _ = function.msi();
                let _ = function.msix();
            }
            let _ = front.enable_msi(nic);
            let _ = front.enable_msix(nic, &[0, 1]);
        }
        world.backend.answers.set(Answers::Well);
        let report = front.close();
        prop_assert!(report.page.is_some());
        prop_assert_eq!(world.events.taken() + world.grants.taken() + world.tree.taken(), 0);
    }
}

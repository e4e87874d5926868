//! What a frontend does with a backend that plays its part.

use crate::world::{World, assert_clean, bdf, nic, toolstack};
use pvbounce::{
    arch::volatile::host::shared_page,
    pci::{
        Bus, Command, ConfigAccess, Function, Host, Width,
        fake::FakeBackend,
        front::{Front, FrontError, Pending, Services, Timeouts, await_arrival, await_removal},
    },
    xen::{
        events::{DomainId, EventChannels, Port},
        fake::{Peer, events::ROUND},
        store::{
            XenStore,
            fake::{DaemonMode, FakeDaemon, Tree},
        },
        xenbus::XenbusState,
    },
};
use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_whole_life_gives_everything_back() {
    let world = World::new();
    let front = world.connect().unwrap();
    assert_eq!(front.functions(), [bdf("00:00.0")]);
    assert_eq!(Host::functions(&front), [bdf("00:00.0")]);
    assert_eq!(world.frontend_state(), "4");
    let function = Function::probe(&front, bdf("00:00.0")).unwrap().unwrap();
    assert_eq!(function.id().unwrap().to_string(), "10ec:8139");
    let before = function.enable(Command::MEMORY | Command::MASTER).unwrap();
    assert!(before.is_empty());
    assert_eq!(function.bars().unwrap().len(), 2);
    assert_eq!(function.interrupt_pin().unwrap().unwrap().line, 19);
    assert!(front.bars_are_virtual(), "sizing one does not move the device");
    assert_eq!(world.backend.bus.violations(), 0);
    let report = front.close();
    assert_clean(&world, &report);
    assert_eq!(world.frontend_state(), "6");
    assert!(!world.backend.is_connected());
}

#[test]
fn the_whole_stack_works_over_the_rings() {
    let world = World::new();
    let page = shared_page();
    let port = world.events.born_with(DomainId::DOM0);
    let events = Rc::clone(&world.events);
    let daemon = FakeDaemon::new(page, port, events, Rc::clone(&world.tree));
    world.events.add_peer(daemon);
    let timeout = Duration::from_secs(5);
    let store = XenStore::new(&*world.events, &*world.clock, page, port, timeout);
    let services = Services { store: &store, ..world.services() };
    let front = Front::connect(services, Timeouts::default(), world.page()).unwrap();
    assert_eq!(front.functions(), [bdf("00:00.0")]);
    assert_clean(&world, &front.close());
    assert!(world.elapsed() < 1000 * ROUND, "no wait ran into its deadline");
}

#[test]
#[cfg_attr(miri, ignore = "it waits through time-outs, step by step")]
fn a_store_that_dies_costs_one_answer_and_the_page_the_backend_still_has() {
    let world = World::new();
    let page = shared_page();
    let port = world.events.born_with(DomainId::DOM0);
    let daemon = FakeDaemon::new(page, port, Rc::clone(&world.events), Rc::clone(&world.tree));
    world.events.add_peer(Rc::clone(&daemon) as Rc<_>);
    let timeout = Duration::from_secs(5);
    let store = XenStore::new(&*world.events, &*world.clock, page, port, timeout);
    let services = Services { store: &store, ..world.services() };
    let front = Front::connect(services, Timeouts::default(), world.page()).unwrap();
    daemon.behave(DaemonMode::Silent);
    let begun = world.elapsed();
    let report = front.close();
    assert_eq!(report.problem.as_ref().unwrap().code(), "store-no-answer");
    assert!(report.to_string().contains("the backend keeps our page mapped"), "{report}");
    let gref = report.still_granted.unwrap();
    assert_eq!(report.kept(), [format!("pcifront's page ({gref})")]);
    assert_eq!((report.port_left, report.irqs_left.len()), (None, 0));
    assert_eq!((world.events.taken(), world.grants.taken(), world.grants.owned()), (0, 1, 1));
    let Timeouts { close, unmap, .. } = Timeouts::default();
    assert!(world.elapsed() - begun < timeout + close + unmap);
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
fn devices_come_and_go() {
    let world = World::new();
    let mut front = world.connect().unwrap();
    assert_eq!(front.pending().unwrap(), Pending::Nothing);
    let new = bdf("00:01.0");
    world.backend.bus.insert(new, nic());
    world.backend.announce(1, new, "1");
    assert_eq!(front.pending().unwrap(), Pending::Change(vec![]));
    let change = front.apply_change().unwrap();
    assert_eq!((change.arrived, change.gone), (vec![new], vec![]));
    assert_eq!(front.functions(), [bdf("00:00.0"), new]);

    world.backend.announce(1, new, "5");
    assert_eq!(front.pending().unwrap(), Pending::Change(vec![new]));
    let change = front.apply_change().unwrap();
    assert_eq!((change.arrived, change.gone), (vec![], vec![new]));
    assert_eq!(world.frontend_state(), "4");
    assert_clean(&world, &front.close());
}

#[test]
fn a_backend_that_is_gone_wants_nothing_any_more() {
    let world = World::new();
    let front = world.connect().unwrap();
    world.backend.remove();
    assert_eq!(front.pending().unwrap(), Pending::Removed);
    assert_eq!(front.await_pending(SOON).unwrap(), Pending::Removed);
    assert_clean(&world, &front.close());
}

#[test]
fn what_the_toolstack_wants_is_waited_for_and_the_wait_ends() {
    let world = World::new();
    let mut front = world.connect().unwrap();
    let before = world.elapsed();
    assert_eq!(front.await_pending(SOON).unwrap(), Pending::Nothing);
    assert_eq!(world.elapsed() - before, SOON);
    toolstack(&world, &[(0, "00:00.0", "5")]);
    let leaving = Pending::Change(vec![bdf("00:00.0")]);
    assert_eq!(front.await_pending(SOON).unwrap(), leaving);
    assert!(world.elapsed() - before < 2 * SOON, "the event ends the wait");
    let change = front.apply_change().unwrap();
    assert_eq!(change.gone, [bdf("00:00.0")]);
    assert_clean(&world, &front.close());
}

const DEVICE: &str = "/local/domain/1/device/pci";

/// The toolstack's nodes for a first device, which appear one by one.
#[derive(Debug)]
struct Attaching {
    tree: Rc<Tree>,
    nodes: RefCell<VecDeque<(&'static str, &'static str)>>,
}

impl Peer for Attaching {
    fn step(&self) {
        if let Some((node, value)) = self.nodes.borrow_mut().pop_front() {
            self.tree.set(&format!("{DEVICE}/0/{node}"), value);
        }
    }
}

#[test]
fn a_device_that_comes_later_is_waited_for() {
    let world = World::new();
    world.tree.delete(DEVICE);
    let nodes = [("state", "1"), ("backend-id", "0"), ("backend", FakeBackend::dir())];
    let nodes = RefCell::new(nodes.into());
    world.events.add_peer(Rc::new(Attaching { tree: Rc::clone(&world.tree), nodes }));
    await_arrival(&world.store, &*world.clock, SOON).unwrap();
    assert!(world.elapsed() < SOON, "the event ends the wait");
    let front = world.connect().unwrap();
    assert_clean(&world, &front.close());
}

#[test]
fn a_device_that_never_comes_ends_the_wait_with_the_last_reason() {
    let world = World::new();
    assert_clean(&world, &world.connect().unwrap().close());
    let state = XenbusState::Closed;
    let left_over = await_arrival(&world.store, &*world.clock, SOON).unwrap_err();
    assert_eq!(left_over, FrontError::AlreadyUsed { state });
    world.tree.delete(DEVICE);
    let (before, none) = (world.elapsed(), await_arrival(&world.store, &*world.clock, SOON));
    assert_eq!((none, world.elapsed() - before), (Err(FrontError::NoDevice), SOON));
    assert_eq!(world.tree.taken(), 0, "the watch is given back");
}

#[test]
fn a_device_s_nodes_are_gone_or_they_are_not() {
    let world = World::new();
    assert_eq!(await_removal(&world.store, &*world.clock, SOON), Ok(false));
    assert_eq!(world.elapsed(), SOON);
    world.tree.delete(DEVICE);
    assert_eq!(await_removal(&world.store, &*world.clock, SOON), Ok(true));
    assert_eq!(world.elapsed(), SOON, "and that is seen at once");
}

#[test]
fn a_device_taken_from_the_backend_is_known_to_be_gone() {
    let world = World::new();
    let front = world.connect().unwrap();
    assert!(front.has_functions());
    world.backend.bus.remove(bdf("00:00.0"));
    assert!(!front.has_functions());
    assert_clean(&world, &front.close());
}

#[test]
fn a_backend_that_says_where_its_functions_are_saves_the_scan() {
    let world = World::new();
    let front = world.connect().unwrap();
    let told = world.backend.served();
    assert_clean(&world, &front.close());
    let world = World::new();
    world.backend.announces.set(false);
    let front = world.connect().unwrap();
    assert_eq!(front.functions(), [bdf("00:00.0")]);
    assert_eq!((told, world.backend.served()), (1, 256));
    assert_clean(&world, &front.close());
}

#[test]
fn a_function_that_is_announced_and_says_nothing_is_not_overlooked() {
    let world = World::new();
    world.tree.set(&format!("{}/vdev-7", FakeBackend::dir()), "0000:00:01.00");
    let front = world.connect().unwrap();
    assert_eq!(front.functions(), [bdf("00:00.0"), bdf("00:01.0")]);
    assert_eq!(Function::probe(&front, bdf("00:01.0")).map(|found| found.is_none()), Ok(true));
    assert_clean(&world, &front.close());
}

#[test]
fn a_backend_without_root_num_has_one_bus() {
    let world = World::new();
    world.tree.delete(&format!("{}/root_num", FakeBackend::dir()));
    world.backend.announces.set(false);
    let front = world.connect().unwrap();
    assert_eq!(front.functions().len(), 1);
    assert_clean(&world, &front.close());
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

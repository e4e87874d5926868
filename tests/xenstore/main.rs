//! The xenstore client against a daemon at the other end of the rings: good, slow, silent and wrong.

mod holding;

use proptest::prelude::*;
use pvbounce::{
    arch::{
        time::{Clock, Instant},
        volatile::{Window, host::shared_page},
    },
    xen::{
        abi::xs_wire::{RING_SIZE, RSP, RSP_CONS, RSP_PROD},
        errno::XenError,
        events::{DomainId, EventChannels, Pirq, Port, Sharing},
        fake::{FakeClock, FakeEvents},
        store::{
            Store, StoreError, TxEnd, TxId, XenStore,
            fake::{DaemonMode, FakeDaemon, Tree},
            wire::{Header, MessageType},
        },
        xenbus::{StateSet, Wait, XenbusState},
    },
};
use std::{cell::Cell, rc::Rc, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(5);

struct World {
    events: Rc<FakeEvents>,
    clock: Rc<dyn Clock>,
    tree: Rc<Tree>,
    daemon: Rc<FakeDaemon>,
    page: Window<'static>,
    port: Port,
}

impl World {
    fn new() -> Self {
        let events = FakeEvents::new();
        let tree = Tree::new(DomainId(3));
        let page = shared_page();
        let port = events.born_with(DomainId::DOM0);
        let daemon = FakeDaemon::new(page, port, Rc::clone(&events), Rc::clone(&tree));
        events.add_peer(Rc::clone(&daemon) as Rc<_>);
        let clock = events.clock();
        Self { events, clock, tree, daemon, page, port }
    }

    fn store(&self) -> XenStore<'_> {
        XenStore::new(&*self.events, &*self.clock, self.page, self.port, TIMEOUT)
    }
}

fn all_operations(store: &dyn Store) -> Result<(), StoreError> {
    let none = TxId::NONE;
    store.write(none, "data/a", "one")?;
    store.mkdir(none, "data/b")?;
    assert_eq!(store.read(none, "data/a")?, "one");
    assert_eq!(store.directory(none, "data")?, ["a", "b"]);
    store.remove(none, "data/b")?;
    assert_eq!(store.directory(none, "data")?, ["a"]);
    assert_eq!(store.directory_optional(none, "data/b")?.len(), 0);
    assert_eq!(store.read_optional(none, "nowhere")?, None);
    store.transaction(|tx| {
        store.write(tx, "data/a", "two")?;
        store.write(tx, "data/c", "three")
    })?;
    assert_eq!(store.read(none, "data/a")?, "two");
    Ok(())
}

#[test]
fn every_operation_works_over_the_rings() {
    let world = World::new();
    all_operations(&world.store()).unwrap();
    assert_eq!(world.tree.get("/local/domain/3/data/c").unwrap(), "three");
    assert_eq!(world.tree.taken(), 0);
}

#[test]
fn a_daemon_that_moves_one_byte_at_a_time_is_only_slow() {
    let world = World::new();
    world.daemon.behave(DaemonMode::Trickle);
    all_operations(&world.store()).unwrap();
}

#[test]
fn values_larger_than_the_ring_pass() {
    let world = World::new();
    let store = world.store();
    let big = "x".repeat(4000);
    store.write(TxId::NONE, "data/big", &big).unwrap();
    assert_eq!(store.read(TxId::NONE, "data/big").unwrap(), big);
    let error = store.write(TxId::NONE, "data/big", &"x".repeat(4100)).unwrap_err();
    assert!(matches!(error, StoreError::TooLong { len: 4109, .. }));
    store.read(TxId::NONE, "data/big").unwrap();
}

#[test]
fn refusals_carry_operation_path_and_reason() {
    let world = World::new();
    let error = world.store().write(TxId::NONE, "/local/domain/4/data", "x").unwrap_err();
    assert_eq!(error.to_string(), "xenstored refused WRITE /local/domain/4/data: EACCES (-13)");
    assert_eq!(error.code(), "store-refused");
}

#[test]
fn a_node_is_missing_only_if_xenstored_says_so() {
    let world = World::new();
    world.daemon.behave(DaemonMode::Silent);
    let store = &world.store() as &dyn Store;
    assert_eq!(store.read_optional(TxId::NONE, "name").unwrap_err().code(), "store-no-answer");
    assert_eq!(store.read_optional(TxId::NONE, "name"), Err(StoreError::Unusable));
    assert_eq!(store.directory_optional(TxId::NONE, "data"), Err(StoreError::Unusable));
}

#[test]
fn a_silent_daemon_costs_one_timeout_and_the_connection() {
    for mode in [DaemonMode::Silent, DaemonMode::Mute] {
        let world = World::new();
        world.daemon.behave(mode);
        let store = world.store();
        let error = store.read(TxId::NONE, "name").unwrap_err();
        assert_eq!(error.to_string(), "READ name: waited 5000 ms for xenstored to answer");
        let stopped = world.clock.now();
        world.daemon.behave(DaemonMode::Good);
        let again = store.read(TxId::NONE, "name").unwrap_err();
        assert_eq!(again, StoreError::Unusable);
        assert_eq!(world.clock.now(), stopped, "the second failure is immediate");
    }
}

#[test]
fn stale_replies_are_skipped() {
    let world = World::new();
    world.daemon.behave(DaemonMode::StaleFirst);
    all_operations(&world.store()).unwrap();
}

#[test]
fn replies_of_another_type_are_refused() {
    let world = World::new();
    world.daemon.behave(DaemonMode::WrongType);
    let error = world.store().read(TxId::NONE, "name").unwrap_err();
    assert_eq!(error.code(), "store-garbage");
    assert_eq!(error.to_string(), "a READ request was answered by a RM message");
}

#[test]
fn a_reply_to_half_a_request_is_refused() {
    let world = World::new();
    world.daemon.behave(DaemonMode::Hasty);
    let error = world.store().write(TxId::NONE, "name", &"x".repeat(2000)).unwrap_err();
    assert_eq!(error.to_string(), "a WRITE request was answered before it was complete");
}

#[test]
fn impossible_indices_end_the_connection() {
    let world = World::new();
    world.daemon.behave(DaemonMode::BadIndex);
    let store = world.store();
    let error = store.read(TxId::NONE, "name").unwrap_err();
    assert!(matches!(error, StoreError::Ring(_)), "{error}");
    assert_eq!(store.wait_event("t", world.clock.now()).unwrap_err(), StoreError::Unusable);
}

#[test]
fn garbage_found_while_waiting_ends_the_connection_as_well() {
    let world = World::new();
    let store = world.store();
    world.daemon.behave(DaemonMode::BadIndex);
    let soon = world.clock.now().after(Duration::from_millis(50));
    let error = store.wait_event("t", soon).unwrap_err();
    assert!(matches!(error, StoreError::Ring(_)), "{error}");
    let again = store.read(TxId::NONE, "name").unwrap_err();
    assert_eq!(again, StoreError::Unusable);
}

#[test]
fn watches_fire_at_once_and_on_change_and_end() {
    let world = World::new();
    let store = world.store();
    store.watch("device", "tok").unwrap();
    let soon = world.clock.now().after(Duration::from_millis(50));
    let first = store.wait_event("tok", soon).unwrap().unwrap();
    assert_eq!(first.path, "device");
    assert_eq!(store.wait_event("tok", soon).unwrap(), None);

    world.tree.set("/local/domain/3/device/pci/0/state", "1");
    let soon = world.clock.now().after(Duration::from_millis(50));
    assert_eq!(store.wait_event("other", soon).unwrap(), None);
    let event = store.wait_event("tok", soon).unwrap().unwrap();
    assert_eq!(event.path, "device/pci/0/state");

    world.tree.set("/local/domain/3/device/pci/0/state", "2");
    store.unwatch("device", "tok").unwrap();
    let soon = world.clock.now().after(Duration::from_millis(50));
    assert_eq!(store.wait_event("tok", soon).unwrap(), None);
    assert_eq!(world.tree.taken(), 0);
}

#[test]
fn events_between_request_and_reply_are_kept() {
    let world = World::new();
    let store = world.store();
    store.watch("device", "tok").unwrap();
    for n in 0..100 {
        world.tree.set("/local/domain/3/device/n", &n.to_string());
        store.write(TxId::NONE, "data/x", "y").unwrap();
    }
    let now = world.clock.now();
    let mut kept = 0;
    while store.wait_event("tok", now).unwrap().is_some() {
        kept += 1;
    }
    assert_eq!(kept, 64, "the queue is bounded and keeps the newest");
}

#[test]
fn a_transaction_overtaken_by_dom0_is_tried_again_and_not_for_ever() {
    let world = World::new();
    let store: &dyn Store = &world.store();
    let mut tries = 0;
    store
        .transaction(|tx| {
            tries += 1;
            if tries < 4 {
                world.tree.set("/local/domain/3/other", "x");
            }
            store.write(tx, "data/t", "v")
        })
        .unwrap();
    assert_eq!(tries, 4);

    let endless = store.transaction(|tx| {
        world.tree.set("/local/domain/3/other", "x");
        store.write(tx, "data/t", "v")
    });
    assert_eq!(endless, Err(StoreError::Conflict(16)));
    assert_eq!(world.tree.taken(), 0);
}

#[test]
fn a_failing_transaction_is_aborted() {
    let world = World::new();
    let store: &dyn Store = &world.store();
    let failed = store.transaction(|tx| {
        store.write(tx, "data/t", "v")?;
        store.read(tx, "nowhere").map(drop)
    });
    assert!(failed.unwrap_err().is_missing());
    assert_eq!(world.tree.taken(), 0);
    assert_eq!(world.tree.get("/local/domain/3/data/t"), None);
    let stale = store.transaction_end(TxId(1), TxEnd::Abort).unwrap_err();
    assert!(matches!(stale, StoreError::Refused { error: XenError::NoEntry, .. }));
}

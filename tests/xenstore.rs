//! The xenstore client against a daemon at the other end of the rings: good, slow, silent and wrong.

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

/// A daemon that fills the ring again whenever the guest has made room, and so never lets it sleep.
struct Flood {
    clock: Rc<FakeClock>,
    page: Window<'static>,
    message: Vec<u8>,
    written: Cell<usize>,
    fails: Cell<bool>,
}

/// What the guest's work between two looks at the ring takes. Miri looks at each byte of each of them.
const STEP: Duration = Duration::from_millis(if cfg!(miri) { 500 } else { 1 });

impl Flood {
    fn of(kind: MessageType, payload: &[u8]) -> Self {
        let len = payload.len().try_into().expect("a short payload");
        let header = Header { kind, request: 0, transaction: 0, len };
        let message = [&header.encode(), payload].concat();
        let (clock, page) = (FakeEvents::new().clock(), shared_page());
        Self { clock, page, message, written: Cell::new(0), fails: Cell::new(false) }
    }

    fn store(&self) -> XenStore<'_> {
        XenStore::new(self, &*self.clock, self.page, Port(1), TIMEOUT)
    }

    fn refill(&self) {
        self.clock.advance(STEP);
        let mut producer = self.page.read_u32(RSP_PROD);
        while producer.wrapping_sub(self.page.read_u32(RSP_CONS)) < RING_SIZE {
            let byte = self.message[self.written.get() % self.message.len()];
            self.written.set(self.written.get() + 1);
            self.page.write_u8(RSP + (producer % RING_SIZE) as usize, byte);
            producer = producer.wrapping_add(1);
        }
        self.page.write_u32(RSP_PROD, producer);
    }
}

impl EventChannels for Flood {
    fn alloc_unbound(&self, _: DomainId) -> Result<Port, XenError> {
        Err(XenError::NoSpace)
    }

    fn bind_pirq(&self, _: Pirq, _: Sharing) -> Result<Port, XenError> {
        Err(XenError::NoSpace)
    }

    fn eoi(&self, _: Pirq) -> Result<(), XenError> {
        Ok(())
    }

    fn close(&self, _: Port) -> Result<(), XenError> {
        Ok(())
    }

    fn notify(&self, _: Port) -> Result<(), XenError> {
        self.refill();
        Ok(())
    }

    fn take(&self, _: Port) -> bool {
        true
    }

    fn poll(&self, _: &[Port], _: Instant) -> Result<(), XenError> {
        self.refill();
        if self.fails.get() { Err(XenError::Invalid) } else { Ok(()) }
    }
}

#[test]
fn a_daemon_that_never_stops_talking_holds_nobody_beyond_the_deadline() {
    let stale = (MessageType::READ, b"stale\0".as_slice());
    let event = (MessageType::WATCH_EVENT, b"somewhere\0somebody\0".as_slice());
    let nothing = (MessageType::READ, b"".as_slice());
    for (kind, payload) in [stale, event, nothing] {
        let flood = Flood::of(kind, payload);
        let error = flood.store().read(TxId::NONE, "name").unwrap_err();
        assert_eq!(error.code(), "store-no-answer");
        assert!(flood.clock.now().since(Instant(0)) <= TIMEOUT + 2 * STEP, "{kind} {error}");

        let flood = Flood::of(kind, payload);
        let came = flood.store().wait_event("token", Instant(0).after(TIMEOUT));
        assert_eq!(came, Ok(None));
        assert!(flood.clock.now().since(Instant(0)) <= TIMEOUT + 2 * STEP, "{kind}");
    }
}

#[test]
fn a_backend_s_changes_without_end_hold_nobody_beyond_the_deadline() {
    let world = World::new();
    let store = world.store();
    let dir = "/local/domain/0/backend/pci/3/0";
    world.tree.set(&format!("{dir}/state"), "1");
    let (tree, clock) = (Rc::clone(&world.tree), world.events.clock());
    world.events.add_peer(Rc::new(Restless { tree, clock, steps: Cell::new(0) }));
    let until = StateSet::of(&[XenbusState::Connected]);
    let wait = Wait { dir, until, what: "the backend", timeout: Duration::from_secs(10) };
    let error = wait.run(&store, &*world.clock).unwrap_err();
    assert_eq!(error.code(), "xenbus-stuck");
    assert!(world.clock.now().since(Instant(0)) < Duration::from_secs(11));
    assert_eq!(world.tree.taken(), 0);
}

/// How long the backend keeps a state. As above.
const KEPT: Duration = Duration::from_millis(if cfg!(miri) { 50 } else { 1 });

/// Changes its state at each step, but never to the one waited for.
#[derive(Debug)]
struct Restless {
    tree: Rc<Tree>,
    clock: Rc<FakeClock>,
    steps: Cell<usize>,
}

impl pvbounce::xen::fake::Peer for Restless {
    fn step(&self) {
        self.clock.advance(KEPT);
        self.steps.set(self.steps.get() + 1);
        let state = ["1", "2", "3"][self.steps.get() % 3];
        self.tree.set("/local/domain/0/backend/pci/3/0/state", state);
    }
}

#[test]
fn a_poll_that_fails_ends_the_use_of_the_connection_with_its_own_code() {
    let flood = Flood::of(MessageType::READ, b"");
    let silent = Flood { message: vec![0; 1], ..flood };
    silent.fails.set(true);
    // A ring with nothing in it: the wait has to poll.
    let store = silent.store();
    let error = store.wait_event("token", Instant(0).after(TIMEOUT)).unwrap_err();
    assert_eq!(
        (error.code(), error),
        ("store-event-channel", StoreError::Events(XenError::Invalid))
    );
    assert_eq!(store.read(TxId::NONE, "name"), Err(StoreError::Unusable));
    assert_eq!(store.wait_event("token", Instant(0)), Err(StoreError::Unusable));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
    #[test]
    fn random_bytes_from_the_daemon_end_in_an_error_in_time(
        bytes in proptest::collection::vec(any::<u8>(), 0..2500),
    ) {
        let world = World::new();
        world.daemon.behave(DaemonMode::Garbage(bytes));
        let store = world.store();
        let began = world.clock.now();
        prop_assert!(store.read(TxId::NONE, "name").is_err());
        prop_assert!(world.clock.now().since(began) <= TIMEOUT);
    }
}

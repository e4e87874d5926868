//! A daemon, or a backend, that never lets go: each wait ends all the same.

use super::*;

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

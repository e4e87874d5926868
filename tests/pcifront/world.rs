//! A guest, its Xen, and a backend, with nothing wrong yet.

use pvbounce::{
    addr::Mfn,
    arch::time::{Clock, Instant},
    pci::{
        Bdf, Bus,
        fake::{FakeBackend, FakeDevice},
        front::{CloseReport, ConnectFailed, Front, Services, Timeouts},
    },
    xen::{
        events::DomainId,
        fake::{FakeClock, FakeEvents, FakeGrants, Peer},
        grants::SharedPage,
        store::fake::{FakeStore, Tree},
    },
};
use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

const FRAME: Mfn = Mfn(0x1234);

pub(crate) struct World {
    pub(crate) events: Rc<FakeEvents>,
    pub(crate) clock: Rc<FakeClock>,
    pub(crate) grants: Rc<FakeGrants>,
    pub(crate) tree: Rc<Tree>,
    pub(crate) store: FakeStore,
    pub(crate) backend: Rc<FakeBackend>,
}

pub(crate) fn bdf(text: &str) -> Bdf {
    text.parse().expect("an address in a test")
}

pub(crate) fn nic() -> FakeDevice {
    FakeDevice::new(0x10ec, 0x8139, 0x02_0000)
        .bar(0, 0xc101, 0x100)
        .bar(1, 0xfebf_1000, 0x100)
        .interrupt(1, 19)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_roots(&[Bus::FIRST])
    }

    pub(crate) fn with_roots(roots: &[Bus]) -> Self {
        let events = FakeEvents::new();
        let grants = FakeGrants::new(32);
        let tree = Tree::new(DomainId(1));
        let store = FakeStore::new(Rc::clone(&tree), Rc::clone(&events));
        let backend = FakeBackend::new(&tree, &events, &grants, roots);
        backend.bus.insert(bdf("00:00.0"), nic());
        let clock = events.clock();
        Self { events, clock, grants, tree, store, backend }
    }

    pub(crate) fn page(&self) -> SharedPage<'static> {
        let page = self.grants.own(FRAME);
        page.window().write(0, &[0xa5; 4096]);
        page
    }

    pub(crate) fn services(&self) -> Services<'_> {
        Services {
            store: &self.store,
            events: &*self.events,
            grants: &*self.grants,
            clock: &*self.clock,
        }
    }

    pub(crate) fn connect(&self) -> Result<Front<'_>, ConnectFailed> {
        Front::connect(self.services(), Timeouts::default(), self.page())
    }

    pub(crate) fn taken(&self) -> [usize; 4] {
        [self.events.taken(), self.grants.taken(), self.tree.taken(), self.backend.irqs_on()]
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.now().since(Instant(0))
    }

    pub(crate) fn frontend_state(&self) -> String {
        let path = format!("{}/state", FakeBackend::frontend_dir());
        self.tree.get(&path).expect("the frontend has a state")
    }
}

/// Whether everything taken was given back, and the backend played its part.
pub(crate) fn is_clean(report: &CloseReport) -> bool {
    report.leaks_nothing() && report.problem.is_none()
}

pub(crate) fn assert_clean(world: &World, report: &CloseReport) {
    assert!(is_clean(report), "{report:?}");
    assert_eq!(world.grants.owned(), 0);
    assert_eq!(world.taken(), [0; 4]);
}

pub(crate) fn soon(world: &World) -> Instant {
    world.clock.now().after(Duration::from_millis(5))
}

/// `xl pci-detach` for each device in turn, each as soon as the backend is in service again; then both ends go.
#[derive(Debug)]
struct Toolstack {
    backend: Rc<FakeBackend>,
    tree: Rc<Tree>,
    clock: Rc<FakeClock>,
    /// What to announce: number, address, and whether it comes or goes.
    changes: RefCell<VecDeque<(u32, &'static str, &'static str)>>,
}

impl Peer for Toolstack {
    fn step(&self) {
        let state = |dir| self.tree.get(&format!("{dir}/state"));
        let settled = state(FakeBackend::dir()).as_deref() == Some("4");
        if !settled || state(FakeBackend::frontend_dir()).as_deref() != Some("4") {
            return;
        }
        let Some((n, place, to)) = self.changes.borrow_mut().pop_front() else {
            return self.backend.remove();
        };
        if to == "1" {
            self.backend.bus.insert(bdf(place), nic());
        }
        self.clock.advance(Duration::from_millis(10));
        self.backend.announce(n, bdf(place), to);
    }
}

pub(crate) fn toolstack(world: &World, changes: &[(u32, &'static str, &'static str)]) {
    world.events.add_peer(Rc::new(Toolstack {
        backend: Rc::clone(&world.backend),
        tree: Rc::clone(&world.tree),
        clock: Rc::clone(&world.clock),
        changes: RefCell::new(changes.iter().copied().collect()),
    }));
}

//! pcifront against a backend that writes states, nodes, numbers and the shared page as it likes, whenever it likes.
//!
//! Asserts: connecting, requests, changes and closing end, none long after the time it has; functions are in order and
//! once each; after closing no port and no grant is open but those that the report names, and the page is freed
//! unless the backend kept it.

use crate::Input;
use pvbounce::{
    addr::Mfn,
    arch::{
        time::Clock,
        volatile::{Window, host::shared_page},
    },
    pci::{
        Bdf, Bus, ConfigAccess, Width,
        fake::FakeBackend,
        front::{CloseReport, Front, Services, Timeouts},
    },
    xen::{
        abi::pciif::{flags, op, page},
        events::{DomainId, Port},
        fake::{FakeClock, FakeEvents, FakeGrants, Peer},
        grants::GrantRef,
        store::fake::{FakeStore, Tree},
    },
};
use std::{
    cell::Cell,
    rc::{Rc, Weak},
    sync::LazyLock,
    time::Duration,
};

thread_local! {
    // Pages of the fakes are never freed: one for all inputs.
    static PAGE: Window<'static> = shared_page();
}

const FRAME: Mfn = Mfn(0x1234);
const BACKEND: &str = FakeBackend::dir();
const GUEST: &str = FakeBackend::frontend_dir();
/// What a step of the backend's takes. A wait that it fills is as many as a limit has of these.
const INSTANT: Duration = Duration::from_millis(1);
const MOMENT: Duration = Duration::from_millis(8);

/// The nodes that it looks at in each step.
struct Paths {
    state: String,
    our_state: String,
    gref: String,
    port: String,
}

static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths {
    state: format!("{BACKEND}/state"),
    our_state: format!("{GUEST}/state"),
    gref: format!("{GUEST}/pci-op-ref"),
    port: format!("{GUEST}/event-channel"),
});

#[derive(Debug)]
struct Backend {
    input: Input,
    window: Window<'static>,
    tree: Rc<Tree>,
    grants: Rc<FakeGrants>,
    events: Weak<FakeEvents>,
    mapped: Cell<Option<GrantRef>>,
    /// Does nothing any more.
    dead: Cell<bool>,
}

impl Backend {
    fn number(&self, path: &str) -> Option<u32> {
        self.tree.get(path)?.parse().ok()
    }

    fn state(&self, state: &str) {
        self.tree.set(&PATHS.state, state);
    }

    fn word(&self) -> String {
        let likely = [
            "0",
            "1",
            "4",
            "5",
            "6",
            "7",
            "8",
            "0000:00",
            "00:00.0",
            "0000:00:1f.7",
            "32",
            "33",
            "-1",
        ];
        if self.input.once_in(4) {
            self.input.text(12)
        } else {
            self.input.one_of(&likely).to_owned()
        }
    }

    fn node(&self) {
        let known =
            ["state", "root_num", "root-0", "root-1", "vdev-0", "vdev-1", "state-0", "state-1"];
        let path = format!("{BACKEND}/{}", self.input.one_of(&known));
        self.tree.set(&path, &self.word());
    }

    /// Maps the page as soon as it is published, as pciback does on its way to Connected.
    fn follow(&self) {
        let Some(ours) = self.number(&PATHS.our_state) else { return };
        match (ours, self.mapped.get(), self.number(&PATHS.gref).map(GrantRef)) {
            (3, None, Some(gref)) if self.grants.map(gref, DomainId::DOM0).is_some() => {
                self.mapped.set(Some(gref));
                self.state("4");
            }
            (5 | 6, Some(gref), _) if !self.input.once_in(8) => {
                self.grants.unmap(gref);
                self.mapped.set(None);
                self.state(if ours == 5 { "5" } else { "6" });
            }
            (5, None, _) => self.state("5"),
            (6, None, _) => self.state("6"),
            (7, ..) => self.state("8"),
            (4, ..) if self.tree.get(&PATHS.state).as_deref() == Some("8") => {
                self.state("4");
            }
            _ => {}
        }
    }

    fn answer(&self) {
        let field = |at, value| self.window.write_u32(page::OP + at, value);
        let code = if self.input.once_in(4) { self.input.u32() } else { 0 };
        field(op::ERR, code);
        field(op::VALUE, if self.input.once_in(2) { self.input.u32() } else { 0x10ec });
        self.window.clear_bits_u32(page::FLAGS, flags::REQUEST);
    }
}

impl Peer for Backend {
    fn step(&self) {
        // Whatever it does takes time, so that doing it for ever is seen.
        self.events.upgrade().into_iter().for_each(|events| events.clock().advance(INSTANT));
        self.dead.set(self.dead.get() || self.input.once_in(32));
        if self.dead.get() {
            return;
        }
        if !self.input.once_in(16) {
            self.follow();
        }
        if self.mapped.get().is_some() {
            match self.input.below(8) {
                0 => self.window.write_u32(page::FLAGS, self.input.u32()),
                1 => {
                    let at = self.input.below(4096 / 4) * 4;
                    self.window.write_u32(at, self.input.u32());
                }
                2 => self.window.set_bits_u32(page::FLAGS, flags::AER),
                3 => return,
                _ => self.answer(),
            }
        }
        if self.input.once_in(4) {
            self.node();
        }
        if self.input.once_in(64) {
            self.tree.delete(BACKEND);
        }
        if let (Some(events), Some(port)) = (self.events.upgrade(), self.number(&PATHS.port)) {
            events.raise(Port(port));
        }
    }
}

struct World {
    events: Rc<FakeEvents>,
    clock: Rc<FakeClock>,
    grants: Rc<FakeGrants>,
    store: FakeStore,
}

impl World {
    fn new(input: &Input, window: Window<'static>) -> Self {
        let events = FakeEvents::new();
        let grants = FakeGrants::new(4);
        let tree = Tree::new(DomainId(1));
        let store = FakeStore::new(Rc::clone(&tree), Rc::clone(&events));
        let backend = Rc::new(Backend {
            input: input.clone(),
            window,
            tree: Rc::clone(&tree),
            grants: Rc::clone(&grants),
            events: Rc::downgrade(&events),
            mapped: Cell::new(None),
            dead: Cell::new(false),
        });
        for (node, value) in [("backend", BACKEND), ("backend-id", "0"), ("state", "1")] {
            tree.set(&format!("{GUEST}/{node}"), value);
        }
        for (node, value) in [("state", "3"), ("vdev-0", "0000:00:00.0")] {
            tree.set(&format!("{BACKEND}/{node}"), value);
        }
        for _ in 0..input.below(4) {
            backend.node();
        }
        events.add_peer(backend);
        let clock = events.clock();
        Self { events, clock, grants, store }
    }

    fn check(&self, report: &CloseReport) {
        let (ports, grants) = (self.events.taken(), self.grants.taken());
        let named = (report.port_left.iter().count(), report.still_granted.iter().count());
        assert_eq!((ports, grants), named, "{report:?}");
        // The fake table panics when a page is freed that somebody has.
        assert_eq!(self.grants.owned(), grants, "a page is kept without need: {report:?}");
    }
}

fn act(front: &mut Front<'_>, input: &Input) {
    let bdf = front.functions().first().copied().unwrap_or(Bus::FIRST.at(8));
    match input.below(9) {
        0 => drop(front.read(bdf, input.u16(), input.one_of(&[Width::U8, Width::U16, Width::U32]))),
        1 => drop(front.write(bdf, input.u16() & !3, Width::U32, input.u32())),
        2 => drop(front.enable_msi(bdf)),
        3 => drop(front.enable_msix(bdf, &[0, 1, 2][..input.below(4)])),
        4 => drop(front.disable_msi(bdf)),
        5 => drop(front.check_reports()),
        6 => drop(front.pending()),
        7 => drop(front.hand_back(MOMENT)),
        _ => drop(front.apply_change()),
    }
}

fn in_order(functions: &[Bdf]) {
    assert!(functions.windows(2).all(|two| two[0] < two[1]), "{functions:?}");
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let window = PAGE.with(|page| *page);
    window.zero();
    let world = World::new(&input, window);
    let services = Services {
        store: &world.store,
        events: &*world.events,
        grants: &*world.grants,
        clock: &*world.clock,
    };
    let timeouts =
        Timeouts { connect: MOMENT, request: MOMENT, scan: MOMENT, close: MOMENT, unmap: MOMENT };
    let page = world.grants.own_at(FRAME, window);
    let mut front = match Front::connect(services, timeouts, page) {
        Ok(front) => front,
        Err(failed) => return world.check(&failed.report),
    };
    in_order(front.functions());
    for _ in 0..8 {
        if input.is_over() {
            break;
        }
        let start = world.clock.now();
        act(&mut front, &input);
        let took = world.clock.now().since(start);
        // A change is four waits and a scan, each look of which has a time of its own.
        assert!(took <= MOMENT * 40, "{took:?}");
        in_order(front.functions());
    }
    let start = world.clock.now();
    world.check(&front.close());
    let took = world.clock.now().since(start);
    assert!(took <= MOMENT * 20, "closing took {took:?}");
}

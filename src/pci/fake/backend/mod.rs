//! pciback, played: xenbus states, the shared page and a bus behind it, well behaved and badly.
//!
//! Stricter than the real one: it looks at a request only when it was notified, panics when a request
//! changes while it is pending, and when a grant or port it was told of isn't there.

mod requests;

use super::FakeBus;
use crate::{
    arch::volatile::Window,
    pci::{Bdf, Bus},
    xen::{
        abi::pciif::{aer_op, flags, op, page},
        events::{DomainId, Port},
        fake::{FakeEvents, FakeGrants, Peer},
        grants::GrantRef,
        store::fake::Tree,
    },
};
use alloc::{
    collections::BTreeSet,
    format,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::cell::{Cell, RefCell};

/// How the backend comes into service, and leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connects {
    /// At the first step after the frontend is ready.
    AtOnce,
    /// So many steps later.
    After(u32),
    /// Never; does not close either.
    Never,
    /// Goes to this state instead.
    GoesTo(&'static str),
    /// Its directory vanishes instead.
    Vanishes,
    /// At once, but never unmaps the page again.
    KeepsPage,
}

/// How it answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As asked, at once.
    Well,
    /// As asked, so many steps later.
    After(u32),
    /// Not at all.
    Never,
    /// Not at all, and closes.
    Leaves,
    /// With this error code.
    Error(i32),
    /// With success and this value, in the vectors, too.
    Value(u32),
    /// Well, but raises the event before it is done.
    EventFirst,
}

#[derive(Debug)]
struct Link {
    page: Window<'static>,
    gref: GrantRef,
    port: Port,
}

/// What makes a request: command, function, offset, length, value.
type Raw = [u32; 7];

/// The backend of one guest.
#[derive(Debug)]
pub struct FakeBackend {
    /// The devices it gives the guest.
    pub bus: FakeBus,
    /// How it comes into service.
    pub connects: Cell<Connects>,
    /// How it answers.
    pub answers: Cell<Answers>,
    /// Whether it says in `vdev-N` where it put its functions, as pciback does.
    pub announces: Cell<bool>,
    tree: Rc<Tree>,
    events: Rc<FakeEvents>,
    grants: Rc<FakeGrants>,
    link: RefCell<Option<Link>>,
    waited: Cell<u32>,
    deferred: Cell<bool>,
    pending: Cell<Option<Raw>>,
    served: Cell<u32>,
    last_pirq: Cell<u32>,
    entries: RefCell<Vec<u16>>,
    irqs: RefCell<BTreeSet<(Bdf, u32)>>,
    reports: RefCell<Vec<u32>>,
    report_answers: RefCell<Vec<i32>>,
}

/// An address as pciback writes it: the function in two digits.
fn vdev(bdf: Bdf) -> String {
    format!("{}:{:02x}.{:02x}", bdf.bus(), bdf.device(), bdf.function())
}

const BACKEND: &str = "/local/domain/0/backend/pci/1/0";
const GUEST: &str = "/local/domain/1/device/pci/0";

impl FakeBackend {
    /// A backend for domain 1 with the nodes the toolstack writes, registered as a peer.
    pub fn new(
        tree: &Rc<Tree>,
        events: &Rc<FakeEvents>,
        grants: &Rc<FakeGrants>,
        roots: &[Bus],
    ) -> Rc<Self> {
        let new = Rc::new(Self {
            bus: FakeBus::behind_pciback(),
            connects: Cell::new(Connects::AtOnce),
            answers: Cell::new(Answers::Well),
            announces: Cell::new(true),
            tree: Rc::clone(tree),
            events: Rc::clone(events),
            grants: Rc::clone(grants),
            link: RefCell::default(),
            waited: Cell::default(),
            deferred: Cell::default(),
            pending: Cell::default(),
            served: Cell::default(),
            last_pirq: Cell::new(15),
            entries: RefCell::default(),
            irqs: RefCell::default(),
            reports: RefCell::default(),
            report_answers: RefCell::default(),
        });
        tree.set(&format!("{GUEST}/backend"), BACKEND);
        tree.set(&format!("{GUEST}/backend-id"), "0");
        tree.set(&format!("{GUEST}/state"), "1");
        tree.set(&format!("{BACKEND}/state"), "3");
        tree.set(&format!("{BACKEND}/root_num"), &roots.len().to_string());
        for (n, bus) in roots.iter().enumerate() {
            tree.set(&format!("{BACKEND}/root-{n}"), &bus.to_string());
        }
        events.add_peer(Rc::clone(&new) as Rc<dyn Peer>);
        new
    }

    /// Where its nodes are.
    pub const fn dir() -> &'static str {
        BACKEND
    }

    /// Where the frontend's nodes are.
    pub const fn frontend_dir() -> &'static str {
        GUEST
    }

    /// How many requests it has answered.
    pub fn served(&self) -> u32 {
        self.served.get()
    }

    /// How many functions have MSI or MSI-X on.
    pub fn irqs_on(&self) -> usize {
        self.irqs.borrow().len()
    }

    /// The MSI-X entries that PIRQs were asked for, in the order they were.
    pub fn entries(&self) -> Vec<u16> {
        self.entries.borrow().clone()
    }

    /// Whether it has the guest's page mapped.
    pub fn is_connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// Makes the device report an error, one report a step.
    pub fn report(&self, command: u32) {
        self.reports.borrow_mut().push(command);
    }

    /// What the guest answered to the reports.
    pub fn report_answers(&self) -> Vec<i32> {
        self.report_answers.borrow().clone()
    }

    /// The toolstack announces a change of device `n`: `1` for a new one, `5` for one to leave.
    pub fn announce(&self, n: u32, bdf: Bdf, state: &str) {
        self.tree.set(&format!("{BACKEND}/vdev-{n}"), &vdev(bdf));
        self.tree.set(&format!("{BACKEND}/state-{n}"), state);
        self.set_state("7");
    }

    /// The toolstack removes both ends, as after its last device left.
    pub fn remove(&self) {
        self.disconnect("6");
        self.tree.delete(BACKEND);
        self.tree.delete(GUEST);
    }

    fn set_state(&self, state: &str) {
        self.tree.set(&format!("{BACKEND}/state"), state);
    }

    fn node(&self, dir: &str, name: &str) -> String {
        self.tree.get(&format!("{dir}/{name}")).unwrap_or_default()
    }

    fn follow_frontend(&self) {
        let theirs = self.node(GUEST, "state");
        let ours = self.node(BACKEND, "state");
        let never = self.connects.get() == Connects::Never;
        match (theirs.as_str(), ours.as_str()) {
            ("3", "1" | "2" | "3") => self.maybe_connect(),
            _ if never => {}
            ("4", "8") => self.set_state("4"),
            ("5", "1" | "2" | "3" | "4" | "7" | "8") => self.disconnect("5"),
            ("6", "1" | "2" | "3" | "4" | "5" | "7" | "8") => self.disconnect("6"),
            ("7", "7") => self.reconfigure(),
            _ => {}
        }
    }

    fn maybe_connect(&self) {
        match self.connects.get() {
            Connects::After(steps) if self.waited.get() < steps => {
                self.waited.set(self.waited.get() + 1);
            }
            Connects::Never => {}
            Connects::GoesTo(state) => self.set_state(state),
            Connects::Vanishes => self.tree.delete(BACKEND),
            _ => self.connect(),
        }
    }

    fn connect(&self) {
        assert_eq!(self.node(GUEST, "magic"), "7");
        let number = |name| self.node(GUEST, name).parse().expect("a number");
        let gref = GrantRef(number("pci-op-ref"));
        let port = Port(number("event-channel"));
        let page = self.grants.map(gref, DomainId::DOM0);
        let page = page.expect("the page is granted to dom0");
        assert!(self.events.is_open_to(port, DomainId::DOM0));
        assert_eq!(page.read_u32(page::FLAGS), flags::HANDLES_AER);
        let rest = (page::OP..page::SIZE).step_by(4);
        assert!(rest.map(|at| page.read_u32(at)).all(|word| word == 0));
        *self.link.borrow_mut() = Some(Link { page, gref, port });
        if self.announces.get() {
            for (n, bdf) in self.bus.functions().into_iter().enumerate() {
                self.tree.set(&format!("{BACKEND}/vdev-{n}"), &vdev(bdf));
            }
        }
        self.set_state("4");
    }

    fn disconnect(&self, state: &str) {
        if self.connects.get() != Connects::KeepsPage
            && let Some(link) = self.link.borrow_mut().take()
        {
            self.grants.unmap(link.gref);
        }
        self.set_state(state);
    }

    fn reconfigure(&self) {
        for name in self.tree.names(BACKEND) {
            let Some(n) = name.strip_prefix("state-") else {
                continue;
            };
            if self.node(BACKEND, &name) == "5" {
                let vdev = self.node(BACKEND, &format!("vdev-{n}"));
                self.bus.remove(vdev.parse().expect("our own address"));
                self.tree.delete(&format!("{BACKEND}/vdev-{n}"));
            }
            self.tree.set(&format!("{BACKEND}/{name}"), "3");
        }
        self.set_state("8");
    }

    fn serve(&self, link: &Link) {
        let notified = self.events.was_notified(link.port);
        // An unanswered error report comes first.
        let flags = link.page.read_u32(page::FLAGS);
        if flags & flags::AER != 0 {
            self.deferred.set(self.deferred.get() || notified);
            return;
        }
        let notified = self.deferred.take() || notified;
        if flags & flags::REQUEST == 0 {
            return;
        }
        let field = |at| link.page.read_u32(page::OP + at);
        let raw =
            [op::CMD, op::DOMAIN, op::BUS, op::DEVFN, op::OFFSET, op::LEN, op::VALUE].map(field);
        match self.pending.get() {
            None if !notified => return,
            None => self.waited.set(0),
            Some(before) => assert_eq!(raw, before, "a pending request was overwritten"),
        }
        self.pending.set(Some(raw));
        self.waited.set(self.waited.get() + 1);
        match self.answers.get() {
            Answers::Never | Answers::Leaves => {}
            Answers::After(steps) if self.waited.get() <= steps => {}
            Answers::EventFirst if self.waited.get() == 1 => self.events.raise(link.port),
            Answers::Error(code) => self.answer(link, Err(code)),
            Answers::Value(value) => self.answer_garbage(link, value),
            _ => {
                let result = self.carry_out(link, raw);
                self.answer(link, result);
            }
        }
    }

    fn answer(&self, link: &Link, result: Result<u32, i32>) {
        let (error, value) = match result {
            Ok(value) => (0, value),
            Err(code) => (code, u32::MAX),
        };
        let set = |at, value| link.page.write_u32(page::OP + at, value);
        set(op::ERR, error.cast_unsigned());
        set(op::VALUE, value);
        self.pending.set(None);
        self.served.set(self.served.get() + 1);
        link.page.clear_bits_u32(page::FLAGS, flags::REQUEST);
        self.events.raise(link.port);
    }

    fn answer_garbage(&self, link: &Link, value: u32) {
        let [low, high, ..] = value.to_le_bytes();
        for n in 0..op::MSIX_MAX {
            let at = page::OP + op::MSIX + n * op::MSIX_ENTRY;
            link.page.write_u16(at, u16::from_le_bytes([low, high]));
        }
        self.answer(link, Ok(value));
    }

    fn report_errors(&self, link: &Link) {
        let at = |offset| page::AER_OP + offset;
        if link.page.read_u32(page::FLAGS) & flags::AER != 0 {
            return;
        }
        if link.page.read_u32(at(aer_op::CMD)) != 0 {
            let answer = link.page.read_u32(at(aer_op::ERR)).cast_signed();
            self.report_answers.borrow_mut().push(answer);
            link.page.write_u32(at(aer_op::CMD), 0);
        }
        let Some(report) = self.reports.borrow_mut().pop() else {
            return;
        };
        let able = link.page.read_u32(page::FLAGS) & flags::HANDLES_AER != 0;
        assert!(able, "pciback would kill the domain here");
        link.page.write_u32(at(aer_op::CMD), report);
        link.page.set_bits_u32(page::FLAGS, flags::AER);
        self.events.raise(link.port);
    }
}

impl Peer for FakeBackend {
    fn step(&self) {
        self.follow_frontend();
        let link = self.link.borrow();
        let Some(now) = link.as_ref() else { return };
        self.report_errors(now);
        self.serve(now);
        let leaves = self.answers.get() == Answers::Leaves && self.pending.get().is_some();
        drop(link);
        if leaves {
            self.disconnect("6");
        }
    }
}

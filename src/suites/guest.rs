//! The running guest: what boot made, for the suites to work with.

use super::{
    device::{Card, Connection, Identity, Setup},
    verdict::{Outcome, Reason},
};
use crate::{
    arch::time::{Clock, Instant},
    dma::{Plan, Policy, Pool, StartError, Started, Step},
    mm::{
        e820::{Map, MapError},
        memory::Memory,
    },
    net::Lease,
    options::{Options, PoolStart},
    pci::front::Services,
    println,
    xen::{
        events::LocalEvents, grants::GrantTable, shared_info::SharedInfo, start_info::StartInfo,
        store::XenStore,
    },
};
use core::fmt;

/// Everything boot made.
#[derive(Debug)]
pub struct Guest {
    /// What the builder said.
    pub info: StartInfo,
    /// What the command line said.
    pub options: Options,
    /// The page shared with Xen.
    pub shared: &'static SharedInfo,
    /// Time since the start.
    pub clock: Stopwatch,
    /// All memory.
    pub memory: &'static Memory<'static>,
    /// Frames that were free once the heap had its own.
    pub frames_at_start: u64,
    /// The memory map, or why it can't be believed.
    pub map: Result<Map, MapError>,
    /// Event channels.
    pub events: &'static LocalEvents,
    /// The grant table; `None` if Xen gave none.
    pub grants: Option<&'static GrantTable>,
    /// Xenstore; `None` for dom0.
    pub store: Option<&'static XenStore<'static>>,
    /// The bounce pool.
    pub pool: PoolState,
    /// The connection to the PCI backend, or why there is none.
    pub connection: Result<Connection, Outcome>,
    /// What the passed-through function is, or why that is not known.
    pub identity: Result<Identity, Outcome>,
    /// The network card, started, or why it isn't.
    pub card: Result<Card, Outcome>,
    /// The card's address on its network, once DHCP gave one.
    pub lease: Option<Lease>,
}

/// A clock that remembers when the guest started, for stage lines.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    clock: SharedInfo,
    start: Instant,
}

impl Stopwatch {
    /// Starts counting.
    pub fn new(clock: SharedInfo) -> Self {
        Self { clock, start: clock.now() }
    }

    /// Prints what was reached, and when.
    pub fn stage(&self, what: fmt::Arguments<'_>) {
        let since = self.clock.now().since(self.start);
        println!("[{:5}.{:03}] {what}", since.as_secs(), since.subsec_millis());
    }
}

impl Guest {
    /// Connects to the device, starts a late pool if there is one to start it for, and the driver.
    pub fn bring_up(&mut self) {
        self.connection = self.connect();
        let front = match &self.connection {
            Ok(connection) => &connection.front,
            Err(outcome) => {
                self.clock.stage(format_args!("pci: {}", outcome.reason()));
                self.identity = Err(outcome.as_skip());
                self.card = Err(outcome.as_skip());
                return self.pool.start_late(&self.clock);
            }
        };
        self.clock.stage(format_args!("pci: connected, {} functions", front.functions().len()));
        self.identity = Identity::read(front);
        match &self.identity {
            Ok(Identity { bdf, id, class, .. }) => {
                self.clock.stage(format_args!("pci: {bdf} is {id}, {class}"));
            }
            Err(outcome) => self.clock.stage(format_args!("pci: {}", outcome.reason())),
        }
        self.pool.start_late(&self.clock);
        let setup = Setup {
            memory: self.memory,
            pool: self.pool.pool,
            policy: if self.options.force_bounce { Policy::Force } else { Policy::Auto },
            events: self.events,
            clock: self.shared,
        };
        self.card = match &self.identity {
            Ok(identity) => Card::start(front, identity, &setup),
            Err(outcome) => Err(outcome.clone()),
        };
        self.pool.held = self.pool.pool.stats().in_use;
        match &self.card {
            Ok(card) => self.clock.stage(format_args!("nic: {}", card.describe())),
            Err(outcome) => self.clock.stage(format_args!("nic: {}", outcome.reason())),
        }
    }

    fn connect(&self) -> Result<Connection, Outcome> {
        let skip = |code, text: &str| Outcome::Skip(Reason::new(code, text));
        let store = self
            .store
            .ok_or_else(|| skip("no-pci-here", "dom0 has no PCI backend to connect to"))?;
        let grants = self.grants.ok_or_else(|| skip("no-grants", "Xen gave no grant table"))?;
        let services = Services { store, events: self.events, grants, clock: self.shared };
        Connection::open(services, self.memory)
    }

    /// Lets go of the device in the reverse order; says what did not go to plan.
    pub fn let_go(&mut self) -> Result<(), Reason> {
        let gone = || Outcome::Skip(Reason::new("closed", "the device was closed"));
        let card = core::mem::replace(&mut self.card, Err(gone()));
        let Ok(mut connection) = core::mem::replace(&mut self.connection, Err(gone())) else {
            return Ok(());
        };
        let stopped = card.map_or(Ok(()), |card| card.stop(&connection.front));
        let handed_back = match (self.options.detach, self.store) {
            (Some(limit), Some(store)) => connection.hand_back(store, limit),
            _ => Ok(()),
        };
        let closed = connection.close();
        stopped.and(handed_back).and(closed)
    }
}

/// The bounce pool and how its start went.
#[derive(Debug)]
pub struct PoolState {
    /// The pool.
    pub pool: &'static Pool<'static>,
    /// What it is started with.
    pub plan: Plan,
    /// When.
    pub when: PoolStart,
    /// How that went; `None` before it was tried.
    pub started: Option<Result<Started, StartError>>,
    /// Slots the driver holds for as long as it runs: its receive ring.
    pub held: usize,
}

impl PoolState {
    /// The pool, started already or not.
    pub const fn new(
        pool: &'static Pool<'static>,
        plan: Plan,
        when: PoolStart,
        started: Option<Result<Started, StartError>>,
    ) -> Self {
        Self { pool, plan, when, started, held: 0 }
    }

    /// Starts the pool as planned, reporting each step that did not go straight.
    pub fn start(pool: &Pool<'_>, plan: &Plan, clock: &Stopwatch) -> Result<Started, StartError> {
        let result = pool.start(plan, &mut |step| {
            if !matches!(step, Step::Acquired { .. }) {
                clock.stage(format_args!("pool: {step}"));
            }
        });
        match &result {
            Ok(started) => clock.stage(format_args!("pool: {started}")),
            Err(error) => clock.stage(format_args!("pool: {error}")),
        }
        result
    }

    /// Starts a late pool if it is time for it and it hasn't been tried.
    pub fn start_late(&mut self, clock: &Stopwatch) {
        if self.when == PoolStart::Late && self.started.is_none() {
            self.started = Some(Self::start(self.pool, &self.plan, clock));
        }
    }
}

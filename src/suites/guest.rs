//! The running guest: what boot made, for the suites to work with.

use super::{
    blame,
    device::{Card, Connection, Identity, Setup, reach_of},
    faults,
    ktap::PoolWalk,
    memory,
    pool::PoolState,
    verdict::{Outcome, Reason},
};
use crate::{
    addr::DmaMask,
    arch::time::{Clock, Instant},
    dma::Policy,
    mm::{
        e820::{Map, MapError},
        hole::Hole,
        memory::{Memory, MemoryError},
    },
    net::Lease,
    options::{Options, SelfTest},
    pci::{ConfigAccess, front::Services},
    println,
    xen::{
        events::LocalEvents, grants::GrantTable, shared_info::SharedInfo, start_info::StartInfo,
        store::XenStore,
    },
};
use alloc::{format, string::String, vec::Vec};
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
    /// What had to move out of the map's holes.
    pub hole: Hole,
    /// Event channels.
    pub events: &'static LocalEvents,
    /// The grant table, or why there is none.
    pub grants: Result<&'static GrantTable, MemoryError>,
    /// Xenstore; `None` for dom0.
    pub store: Option<&'static XenStore<'static>>,
    /// The bounce pool.
    pub pool: PoolState,
    /// The connection to the PCI backend, or why there is none.
    pub connection: Result<Connection, Outcome>,
    /// What the passed-through function is, or why that is not known.
    pub identity: Result<Identity, Outcome>,
    /// Whether the toolstack has taken the device back.
    pub handed_back: bool,
    /// What Xen granted while the domain had its device.
    pub exchanges: Option<memory::Table>,
    /// The network card, started, or why it isn't.
    pub card: Result<Card, Outcome>,
    /// Frames that came back through the device and were compared byte by byte.
    pub compared: Compared,
    /// How much of the pool the device was made to use.
    pub walked: PoolWalk,
    /// What could not be given back, by name.
    pub kept: Vec<String>,
    /// The card's address on its network, once DHCP gave one.
    pub lease: Option<Lease>,
}

/// What was compared byte by byte after it went through the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Frames.
    pub frames: u64,
    /// The bytes in them.
    pub bytes: u64,
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
    /// Connects to the device, starts a pool if there is one to start it for, and the driver.
    pub fn bring_up(&mut self) {
        self.connection = self.connect();
        self.identity = match &self.connection {
            Ok(connection) => {
                let functions = connection.front.functions().len();
                self.clock.stage(format_args!("pci: connected, {functions} functions"));
                Identity::read(&connection.front)
            }
            Err(outcome) => Err(outcome.as_skip()),
        };
        match &self.identity {
            Ok(Identity { bdf, id, class, .. }) => {
                self.clock.stage(format_args!("pci: {bdf} is {id}, {class}"));
            }
            Err(outcome) => self.clock.stage(format_args!("pci: {}", outcome.reason())),
        }
        self.pool.at_device(self.need(), &self.clock);
        self.card = self.start_card();
        self.pool.held = self.pool.pool.stats().in_use;
        match &self.card {
            Ok(card) => self.clock.stage(format_args!("nic: {}", card.describe())),
            Err(_) if self.connection.is_err() => {}
            Err(outcome) => self.clock.stage(format_args!("nic: {}", outcome.reason())),
        }
    }

    /// How far the device reaches that a pool is for, or why nobody needs a pool.
    fn need(&self) -> Result<DmaMask, Reason> {
        let options = &self.options;
        let reach = options.reach.unwrap_or(DmaMask::BITS_64);
        match &self.identity {
            Ok(_) if options.bouncing == Policy::Direct && !options.soft_iommu => {
                Err(Reason::new("swiotlb-not-needed", "noforce: nothing may bounce"))
            }
            Ok(identity) => match reach_of(identity) {
                Err(outcome) if !options.soft_iommu => Err(outcome.reason()),
                known => Ok(known.unwrap_or(reach).min(reach)),
            },
            Err(_) if options.soft_iommu => Ok(reach),
            Err(outcome) => Err(outcome.reason()),
        }
    }

    fn start_card(&self) -> Result<Card, Outcome> {
        let connection = self.connection.as_ref().map_err(Outcome::as_skip)?;
        let identity = self.identity.as_ref().map_err(Clone::clone)?;
        let setup = Setup {
            memory: self.memory,
            pool: self.pool.pool,
            policy: self.options.bouncing,
            reach: self.options.reach,
            events: self.events,
            clock: self.shared,
            fault: self.options.selftest,
        };
        Card::start(&connection.front, identity, &setup)
            .map_err(|why| blame::of_start(why, self.options.swiotlb, self.options.bouncing))
    }

    fn connect(&mut self) -> Result<Connection, Outcome> {
        let skip = |code, text: &str| Outcome::Skip(Reason::new(code, text));
        let store = self
            .store
            .ok_or_else(|| skip("no-pci-here", "dom0 has no PCI backend to connect to"))?;
        let grants = self.grants.map_err(|error| {
            let detail = format!("Xen gave no grant table: {error}");
            Outcome::Failure(Reason::new("no-grants", detail))
        })?;
        let services = Services { store, events: self.events, grants, clock: self.shared };
        Connection::open(services, self.memory, &mut self.kept)
    }

    /// Lets go of the device in the reverse order; says what did not go to plan.
    pub fn let_go(&mut self) -> Result<(), Reason> {
        let gone = || Outcome::Skip(Reason::new("closed", "the device was closed"));
        let card = core::mem::replace(&mut self.card, Err(gone()));
        let Ok(mut connection) = core::mem::replace(&mut self.connection, Err(gone())) else {
            return Ok(());
        };
        let stuck = faults::StuckMaster(&connection.front);
        let access: &dyn ConfigAccess = match self.options.selftest {
            Some(SelfTest::BusMaster) => &stuck,
            _ => &connection.front,
        };
        let stopped = card.map_or(Ok(()), |card| card.stop(access, &mut self.kept));
        let handed_back = match (self.options.detach, self.store) {
            (Some(limit), Some(store)) => {
                let done = connection.hand_back(store, limit);
                self.handed_back = done.is_ok();
                done
            }
            _ => Ok(()),
        };
        let closed = connection.close(&mut self.kept);
        stopped.and(handed_back).and(closed)
    }
}

//! Everything boot made, and how the devices are brought up and let go of.

use super::{
    Assigned, Connection, Departed, PoolState, Stopwatch,
    assigned::{Found, Setup},
    faults, interrupt,
};
use crate::{
    acpi::{TableError, Tables},
    addr::DmaMask,
    drivers,
    mm::{
        e820::{Map, MapError},
        granted::Granted,
        hole::Hole,
        memory::{Memory, MemoryError},
    },
    options::{Bouncing, FunctionSet, Options, SelfTest},
    pci::{
        Bdf, ConfigAccess, Delivery, Host,
        front::{Front, Services},
    },
    report::{Outcome, Reason, ktap::Tried, spans::Spans},
    screen::mode::{Mode, NoScreen},
    xen::{
        grants::GrantTable, local_events::LocalEvents, shared_info::SharedInfo,
        start_info::StartInfo, store::XenStore,
    },
};
use alloc::{boxed::Box, format, string::String, vec::Vec};

/// Where the domain's frames are, in as many lines as a person looks at.
pub type Placed = Spans<24>;

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
    /// Where its frames were before it traded any.
    pub frames_at_boot: Placed,
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
    /// Dom0's screen, with the page on it, or why there is none.
    pub screen: Result<Mode, NoScreen>,
    /// The bounce pool.
    pub pool: PoolState,
    /// What firmware's tables say, or why nothing.
    pub firmware: Result<Tables, TableError>,
    /// The connection to the PCI backend, or why there is none.
    pub connection: Result<Connection, Outcome>,
    /// The functions assigned to the domain, in the order of their addresses.
    pub assigned: Vec<Assigned>,
    /// What is to be said of those that left.
    pub departed: Departed,
    /// Which of them the running suite is about.
    pub under_test: usize,
    /// Whether the toolstack has taken the devices back.
    pub handed_back: bool,
    /// What Xen granted while the domain had its devices.
    pub granted: Option<Granted>,
    /// What devices were tried on, and what came of it.
    pub tried: Vec<Tried>,
    /// What could not be given back, by name.
    pub kept: Vec<String>,
}

impl Guest {
    /// Connects to the devices, starts a pool if there is one to start it for, and their drivers.
    pub fn bring_up(&mut self) {
        self.connection = self.connect();
        let setup = self.setup();
        let found: Vec<_> = match &self.connection {
            Ok(connection) => {
                let host = connection.host();
                let functions = host.functions();
                self.clock.stage(format_args!("pci: connected, {} functions", functions.len()));
                let chosen = chosen(functions, &self.options.functions);
                chosen.map(|bdf| Found::look(host, bdf, &setup)).collect()
            }
            Err(outcome) => {
                self.clock.stage(format_args!("pci: {}", outcome.reason()));
                Vec::new()
            }
        };
        self.pool.at_device(need(&self.connection, &found, &self.options), &self.clock);
        self.assigned = found.into_iter().map(|found| found.start(&setup)).collect();
        self.pool.held = self.pool.pool.stats().in_use;
    }

    /// The function that the running suite is about; the outcome says why there is none.
    pub fn device(&self) -> Result<&Assigned, Outcome> {
        match (&self.connection, self.assigned.get(self.under_test)) {
            (Ok(_), Some(assigned)) => Ok(assigned),
            (Ok(connection), None) => Err(no_function(connection)),
            (Err(outcome), _) => Err(outcome.as_skip()),
        }
    }

    /// As [`Guest::device`].
    pub fn device_mut(&mut self) -> Result<&mut Assigned, Outcome> {
        match (&self.connection, self.assigned.get_mut(self.under_test)) {
            (Ok(_), Some(assigned)) => Ok(assigned),
            (Ok(connection), None) => Err(no_function(connection)),
            (Err(outcome), _) => Err(outcome.as_skip()),
        }
    }

    /// The way to config space and interrupts; what depends on it is a SKIP without.
    pub fn host(&self) -> Result<&dyn Host, Outcome> {
        self.connection.as_ref().map(Connection::host).map_err(Outcome::as_skip)
    }

    /// The frontend; what depends on it is a SKIP without.
    pub fn front(&self) -> Result<&Front<'static>, Outcome> {
        let none =
            || Reason::new("pci-no-front", "as dom0 there is no toolstack to ask for a device");
        let connection = self.connection.as_ref().map_err(Outcome::as_skip)?;
        connection.front().ok_or_else(|| Outcome::Skip(none()))
    }

    /// Whether the devices are a board's, and not some that were passed through.
    pub fn has_board(&self) -> bool {
        self.connection.as_ref().is_ok_and(|connection| connection.board().is_some())
    }

    /// Whether nobody asked for the device under test: a board is made of many, and not each of them has to work.
    pub fn device_is_a_bonus(&self) -> bool {
        let skipped =
            self.device().is_ok_and(|device| matches!(device.running, Err(Outcome::Skip(_))));
        self.has_board() && skipped && self.options.functions.named().next().is_none()
    }

    /// Has the device under test interrupt this way; a SKIP where device or driver lacks it.
    pub fn deliver(&mut self, how: Delivery) -> Result<(), Outcome> {
        let connection = self.connection.as_ref().map_err(Outcome::as_skip)?;
        let device = self.assigned.get_mut(self.under_test);
        let device = device.ok_or_else(|| no_function(connection))?;
        let resources = device.resources.as_ref().map_err(Outcome::as_skip)?;
        let running = device.running.as_mut().map_err(|outcome| outcome.as_skip())?;
        if !resources.offers(how) {
            return Err(Outcome::from(resources.lacks(how)).as_skip());
        }
        if !running.driver().deliveries().contains(&how) {
            let detail = format!("the driver for {} sets up no {how}", running.driver().name());
            return Err(Outcome::Skip(Reason::new("irq-not-driven", detail)));
        }
        running.deliver(connection.host(), resources, how).map_err(interrupt::refusal)
    }

    /// Turns off whatever way of interrupting the device under test has.
    pub fn quiet(&mut self) -> Result<(), Outcome> {
        let connection = self.connection.as_ref().map_err(Outcome::as_skip)?;
        let device = self.assigned.get_mut(self.under_test);
        let device = device.ok_or_else(|| no_function(connection))?;
        let running = device.running.as_mut().map_err(|outcome| outcome.as_skip())?;
        let why = Reason::new("irq-off", "it was turned off");
        running.quiet(connection.host(), why).map_err(Outcome::Failure)
    }

    /// Has the device under test polled from now on if its interrupt was lost, by what came of it, and says so there.
    pub fn poll_if_lost(&mut self, outcome: Outcome) -> Outcome {
        let device = self.assigned.get_mut(self.under_test);
        match (&self.connection, device.map(|device| &mut device.running)) {
            (Ok(connection), Some(Ok(running))) => {
                running.quiet_if_lost(connection.host(), outcome)
            }
            _ => outcome,
        }
    }

    /// Whether the domain was given a device that answers.
    pub fn has_device(&self) -> bool {
        self.assigned.iter().any(|assigned| assigned.resources.is_ok())
    }

    /// Lets go of the devices, the last first; says what did not go to plan.
    pub fn let_go(&mut self) -> Result<(), Reason> {
        let unharmed = self.check_status();
        let stopped = self.stop(&|_| true);
        let handed_back = match (self.options.detach, self.store, &mut self.connection) {
            (Some(limit), Some(store), Ok(connection)) => {
                let done = connection.hand_back(store, limit);
                self.handed_back = done.is_ok();
                done
            }
            _ => Ok(()),
        };
        stopped.and(handed_back).and(self.disconnect()).and(unharmed)
    }

    /// Whether no device met an error on its bus, as far as it says.
    fn check_status(&self) -> Result<(), Reason> {
        let Ok(connection) = &self.connection else {
            return Ok(());
        };
        let mut known = self.assigned.iter().filter_map(|device| device.resources.as_ref().ok());
        Ok(known.try_for_each(|resources| resources.check_status(connection.host()))?)
    }

    /// Stops the drivers of these functions, the last first; says what did not go to plan.
    pub(super) fn stop(&mut self, which: &dyn Fn(Bdf) -> bool) -> Result<(), Reason> {
        let Ok(connection) = &self.connection else {
            return Ok(());
        };
        let host = connection.host();
        let stuck = faults::StuckMaster(host);
        let access: &dyn ConfigAccess = match self.options.selftest {
            Some(SelfTest::BusMaster) => &stuck,
            _ => host,
        };
        let mut stopped = Ok(());
        for assigned in self.assigned.iter_mut().rev().filter(|assigned| which(assigned.bdf)) {
            let running = core::mem::replace(&mut assigned.running, Err(closed()));
            let ended =
                running.map_or(Ok(()), |running| running.stop(host, access, &mut self.kept));
            stopped = stopped.and(ended);
        }
        stopped
    }

    /// Leaves the backend.
    pub(super) fn disconnect(&mut self) -> Result<(), Reason> {
        let connection = core::mem::replace(&mut self.connection, Err(closed()));
        connection.map_or(Ok(()), |connection| connection.close(&mut self.kept))
    }

    pub(super) fn setup(&self) -> Setup {
        Setup {
            memory: self.memory,
            pool: self.pool.pool,
            policy: self.options.bouncing.into(),
            when: self.options.swiotlb,
            reach: self.options.dma_bits.map(DmaMask::from),
            driver: self.options.driver,
            events: self.events,
            clock: self.shared,
            stages: self.clock,
            fault: self.options.selftest,
        }
    }

    fn connect(&mut self) -> Result<Connection, Outcome> {
        if self.options.functions == FunctionSet::None {
            let detail = "the command line says dev=none";
            return Err(Outcome::Skip(Reason::new("pci-not-asked-for", detail)));
        }
        if self.info.is_dom0 {
            self.firmware = super::board::tables(self.memory);
            let board = super::board::open(self.clock, self.memory, self.firmware.as_ref());
            return board.map(|board| Connection::Board(Box::new(board)));
        }
        let none =
            || Outcome::Skip(Reason::new("no-store", "there is no store to find a device in"));
        let store = self.store.ok_or_else(none)?;
        let grants = self.grants.map_err(|error| {
            let detail = format!("Xen gave no grant table: {error}");
            Outcome::Failure(Reason::new("no-grants", detail))
        })?;
        let services = Services { store, events: self.events, grants, clock: self.shared };
        Connection::open(services, self.memory, &mut self.kept)
    }
}

/// The functions to test: those that were named, whether they are there or not, else all that are there.
fn chosen(functions: &[Bdf], asked: &FunctionSet) -> impl Iterator<Item = Bdf> {
    let all = if asked.named().next().is_none() { functions } else { &[] };
    all.iter().copied().chain(asked.named())
}

fn closed() -> Outcome {
    Outcome::Skip(Reason::new("closed", "the device was closed"))
}

/// A board need not have a device with a driver; a bus of devices that were passed through is not empty.
fn no_function(connection: &Connection) -> Outcome {
    match connection.board() {
        Some(board) => {
            let detail = format!("of {} functions none has a driver", board.others().len());
            Outcome::Skip(Reason::new("no-driver", detail).remedy(drivers::remedy()))
        }
        None => Outcome::Failure(Reason::new("pci-no-function", "the bus is empty")),
    }
}

/// How far the nearest-sighted device reaches that a pool is for, or why nobody needs a pool.
pub(super) fn need(
    connection: &Result<Connection, Outcome>,
    found: &[Found<'_>],
    options: &Options,
) -> Result<DmaMask, Reason> {
    let reach = options.dma_bits.map_or(DmaMask::BITS_64, DmaMask::from);
    let masks = found.iter().filter_map(Found::mask);
    let nearest = masks.min().map(|mask| mask.min(reach));
    match (nearest, connection) {
        (Some(_), _) if options.bouncing == Bouncing::Never && !options.soft_iommu => {
            Err(Reason::new("swiotlb-not-needed", "noforce: nothing may bounce"))
        }
        (Some(mask), _) => Ok(mask),
        (None, _) if options.soft_iommu => Ok(reach),
        (None, Err(outcome)) => Err(outcome.reason()),
        (None, Ok(connection)) => {
            let why = found.iter().find_map(Found::why_not);
            Err(why.unwrap_or_else(|| no_function(connection).reason()))
        }
    }
}

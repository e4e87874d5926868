//! The running guest: what boot made, for the suites to work with.

use crate::{
    addr::PAGE_SIZE,
    dma::{Plan, Pool, StartError, Started, Step},
    mm::{
        e820::{Map, MapError},
        memory::Memory,
    },
    options::{Options, PoolStart},
    start::Stopwatch,
    xen::{
        events::LocalEvents, grants::GrantTable, shared_info::SharedInfo, start_info::StartInfo,
        store::XenStore,
    },
};

/// Everything boot made.
#[derive(Debug)]
pub struct Guest {
    /// What the builder said.
    pub info: StartInfo,
    /// What the command line said.
    pub options: Options,
    /// The page shared with Xen.
    pub shared: SharedInfo,
    /// Time since the start.
    pub clock: Stopwatch,
    /// All memory.
    pub memory: &'static Memory<'static>,
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
}

impl PoolState {
    /// The pool, started already or not.
    pub const fn new(
        pool: &'static Pool<'static>,
        plan: Plan,
        when: PoolStart,
        started: Option<Result<Started, StartError>>,
    ) -> Self {
        Self { pool, plan, when, started }
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

    /// Frames the pool holds.
    pub fn frames(&self) -> u64 {
        (self.pool.stats().bytes / PAGE_SIZE) as u64
    }

    /// Starts a late pool if it is time for it and it hasn't been tried.
    pub fn start_late(&mut self, clock: &Stopwatch) {
        if self.when == PoolStart::Late && self.started.is_none() {
            self.started = Some(Self::start(self.pool, &self.plan, clock));
        }
    }
}

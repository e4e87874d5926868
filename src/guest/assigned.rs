//! A function that was assigned to the domain: found, recognised, reset, started.
//!
//! ```text
//! config space read -> driver known -> bus master off, decode on -> registers mapped -> device reset
//!       -> [the pool starts] -> bus master on -> driver started, interrupt bound
//! ```
//! Backwards in [`Running::stop`]. Limits are the device's own once it was reset, so the pool is started between.

use super::{Interrupt, Running, Stopwatch, blame};
use crate::{
    addr::DmaMask,
    device::Traffic,
    dma::{self, Limits, Policy},
    drivers::{self, Bars, Ready},
    mm::memory::Memory,
    net::Lease,
    options::{PoolStart, SelfTest},
    pci::{Bdf, Decoding, Delivery, Function, Host, Resources},
    report::{
        Outcome, Reason,
        ktap::{PoolWalk, Transfers},
    },
    xen::{local_events::LocalEvents, shared_info::SharedInfo},
};
use alloc::{boxed::Box, format};

/// One function, and what was shown of it.
#[derive(Debug)]
pub struct Assigned {
    /// Where it is, as the guest sees it.
    pub bdf: Bdf,
    /// What it offers, or why that is not known.
    pub resources: Result<Resources, Outcome>,
    /// Its driver and interrupt, or why it has none.
    pub running: Result<Running<'static>, Outcome>,
    /// Transfers that came back and were compared byte by byte.
    pub compared: Compared,
    /// How much of the pool the device was made to use.
    pub walked: PoolWalk,
    /// A card's address on its network, once DHCP gave one.
    pub lease: Option<Lease>,
}

/// What was compared byte by byte after it went through the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Transfers.
    pub transfers: u64,
    /// The bytes in them.
    pub bytes: u64,
}

impl Assigned {
    /// What went through it.
    pub fn transfers(&self) -> Transfers {
        let traffic = self.running.as_ref().map(|running| running.driver().traffic());
        let Traffic { sent, received, .. } = traffic.unwrap_or_default();
        let Compared { transfers: compared, bytes } = self.compared;
        Transfers { sent, received, compared, bytes }
    }

    /// The running device; what depends on it is a SKIP without.
    pub fn running(&mut self) -> Result<&mut Running<'static>, Outcome> {
        self.running.as_mut().map_err(|outcome| outcome.as_skip())
    }
}

/// What drivers are started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// All memory.
    pub(super) memory: &'static Memory<'static>,
    /// The bounce pool.
    pub(super) pool: &'static dma::Pool<'static>,
    /// What is bounced.
    pub(super) policy: Policy,
    /// When the pool starts.
    pub(super) when: PoolStart,
    /// The reach that devices are held to, if that is less than their own.
    pub(super) reach: Option<DmaMask>,
    /// The driver to prefer, of those that drive a device.
    pub(super) driver: Option<&'static str>,
    /// Event channels.
    pub(super) events: &'static LocalEvents,
    /// The clock behind every deadline.
    pub(super) clock: &'static SharedInfo,
    /// Where stages are said.
    pub(super) stages: Stopwatch,
    /// A fault on purpose.
    pub(super) fault: Option<SelfTest>,
}

/// A function that was looked at, and reset if there is a driver for it.
#[derive(Debug)]
pub(super) struct Found<'f> {
    host: &'f dyn Host,
    bdf: Bdf,
    resources: Result<Resources, Outcome>,
    reset: Result<Stopped<'f>, Outcome>,
}

/// A device that was seen to stop, and may do DMA as soon as it is told what.
#[derive(Debug)]
struct Stopped<'f> {
    decoding: Decoding<'f>,
    ready: Box<dyn Ready<'static>>,
}

impl<'f> Found<'f> {
    /// Reads a function's config space and resets the device.
    pub(super) fn look(host: &'f dyn Host, bdf: Bdf, setup: &Setup) -> Self {
        let gone = || {
            let detail = format!("nothing answers at {bdf}");
            let remedy = "see `xl pci-list`: the device is not, or no more, the domain's";
            Outcome::Failure(Reason::new("pci-gone", detail).remedy(remedy))
        };
        let read = Resources::read(host, bdf).map_err(Outcome::from);
        let resources = read.and_then(|read| read.ok_or_else(gone));
        match &resources {
            Ok(Resources { id, class, .. }) => {
                setup.stages.stage(format_args!("pci: {bdf} is {id}, {class}"));
            }
            Err(outcome) => setup.stages.stage(format_args!("pci: {bdf}: {}", outcome.reason())),
        }
        let reset = match &resources {
            Ok(resources) => Stopped::reset(host, resources, setup),
            Err(outcome) => Err(outcome.as_skip()),
        };
        Self { host, bdf, resources, reset }
    }

    /// How far it reaches, if it can be driven.
    pub(super) fn mask(&self) -> Option<DmaMask> {
        self.reset.as_ref().ok().map(|stopped| stopped.ready.limits().mask)
    }

    /// Why it can't be driven.
    pub(super) fn why_not(&self) -> Option<Reason> {
        self.reset.as_ref().err().map(Outcome::reason)
    }

    /// Starts the driver.
    pub(super) fn start(self, setup: &Setup) -> Assigned {
        let Self { host, bdf, resources, reset } = self;
        let started = match (&resources, reset) {
            (Ok(resources), Ok(stopped)) => stopped.start(host, resources, setup),
            (_, Err(outcome)) => Err(outcome),
            (Err(outcome), _) => Err(outcome.as_skip()),
        };
        let running = started.map_err(|why| blame::of_start(why, setup.when, setup.policy));
        match &running {
            Ok(running) => setup.stages.stage(format_args!("{bdf}: {}", running.describe())),
            Err(outcome) => setup.stages.stage(format_args!("{bdf}: {}", outcome.reason())),
        }
        Assigned {
            bdf,
            resources,
            running,
            compared: Compared::default(),
            walked: PoolWalk::default(),
            lease: None,
        }
    }
}

impl<'f> Stopped<'f> {
    fn reset(host: &'f dyn Host, resources: &Resources, setup: &Setup) -> Result<Self, Outcome> {
        let entry = driver(resources, setup.driver)?;
        host.object(resources.bdf).map_err(Outcome::Failure)?;
        let gone = || Outcome::Failure(Reason::new("pci-gone", "the device went away"));
        let function = Function::probe(host, resources.bdf)?.ok_or_else(gone)?;
        // Whatever is made here is undone in reverse order if a later step fails.
        let decoding = Decoding::on(function)?;
        let ready = entry.reset(&Bars { memory: setup.memory, resources }, setup.clock)?;
        Ok(Self { decoding, ready })
    }

    fn start(
        self,
        host: &'f dyn Host,
        resources: &Resources,
        setup: &Setup,
    ) -> Result<Running<'static>, Outcome> {
        let Self { decoding, ready } = self;
        decoding.allow_dma(ready.stopped())?;
        let own = ready.limits();
        let mask = setup.reach.map_or(own.mask, |reach| reach.min(own.mask));
        let limits = Limits { mask, ..own };
        let device = dma::Device::new(setup.pool, setup.memory, limits, setup.policy);
        let started = ready.start(device)?;
        let none = Reason::from(resources.lacks(Delivery::Intx));
        let interrupt = Interrupt::none(setup.events, setup.clock, none);
        let mut running =
            Running::new(started, interrupt, resources, limits).with_fault(setup.fault);
        running.climb(host, resources, &mut |how, reason| {
            setup.stages.stage(format_args!("{}: no {how}: {reason}", resources.bdf));
        });
        decoding.leave_on();
        Ok(running)
    }
}

fn driver(
    resources: &Resources,
    named: Option<&'static str>,
) -> Result<&'static drivers::Entry, Outcome> {
    let Resources { bdf, id, class, .. } = resources;
    drivers::driver_for(*id, *class, named).ok_or_else(|| {
        let detail = format!("{bdf} is {id}, a {class}, for which there is no driver here");
        Outcome::Skip(Reason::new("no-driver", detail).remedy(drivers::remedy()))
    })
}

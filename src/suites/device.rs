//! The device under test: connected, recognised, started, and let go of again.
//!
//! ```text
//! pcifront connected -> function found -> BARs sized -> bus master off, decode on -> registers mapped
//!       -> device reset -> bus master on -> driver started, interrupt bound      and all of it backwards in `close`
//! ```

use super::{
    blame::of_memory,
    faults,
    interrupt::Interrupt,
    verdict::{Outcome, Reason},
};
use crate::{
    addr::{BusAddr, DmaMask, to_usize},
    arch::time::Instant,
    dma::{self, Limits, Policy},
    mm::{
        memory::Memory,
        pages::{self, DeviceMemory},
    },
    nic::{self, Cause, DriverKind, Nic, QuiesceError},
    options::SelfTest,
    pci::{
        self, Bar, BarKind, Bdf, ConfigAccess, Decoding, Function, Status,
        front::{ConnectFailed, Front, FrontError, Services, Timeouts},
        ids::{Class, DeviceId},
        mastering,
    },
    xen::{
        events::{LocalEvents, Pirq},
        shared_info::SharedInfo,
        store::{Store, TxId},
        xenbus::XenbusError,
    },
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

/// Where the guest says that its device may be taken back, relative to the domain.
const DETACH_PATH: &str = "data/pvbounce/detach";

/// The connection to the backend.
#[derive(Debug)]
pub struct Connection {
    /// The frontend.
    pub front: Front<'static>,
}

impl Connection {
    /// Connects to the PCI backend. The outcome says why not: SKIP where the domain has no device.
    pub fn open(
        services: Services<'static>,
        memory: &'static Memory<'static>,
        kept: &mut Vec<String>,
    ) -> Result<Self, Outcome> {
        let page = pages::shared_page(memory).map_err(of_memory)?;
        let front = Front::connect(services, Timeouts::default(), page);
        front.map(|front| Self { front }).map_err(|failed| {
            kept.extend(failed.report.kept());
            refusal(&failed)
        })
    }

    /// Asks the toolstack to take the device back while the guest still answers, and lets it. A domain that
    /// ends with its device costs xl ten seconds of waiting for an answer.
    pub fn hand_back(&mut self, store: &dyn Store, limit: Duration) -> Result<(), Reason> {
        if !self.front.has_functions() {
            let detail = "no function answers any more, so there is none to hand back";
            let remedy = "see dom0's kernel log: was the device unbound from pciback, or pulled?";
            return Err(Reason::new("pci-gone", detail).remedy(remedy));
        }
        store
            .write(TxId::NONE, DETACH_PATH, "ready")
            .map_err(|e| Reason::new(e.code(), e.to_string()).remedy(e.remedy()))?;
        self.front.hand_back(limit).map_err(|e| match e {
            FrontError::Xenbus(XenbusError::Stuck { .. }) => {
                let remedy =
                    "run `xl pci-detach` for each device while the guest waits, or leave detach= out";
                Reason::new(e.code(), e.to_string()).remedy(remedy)
            }
            e => front_reason(&e),
        })
    }

    /// Closes the frontend; says what did not go to plan.
    pub fn close(self, kept: &mut Vec<String>) -> Result<(), Reason> {
        let reported = self.front.check_reports();
        let report = self.front.close();
        kept.extend(report.kept());
        match &report.problem {
            None if report.leaks_nothing() => reported.map_err(|e| front_reason(&e)),
            Some(problem) => {
                let detail = format!("{problem}{report}");
                Err(Reason::new(problem.code(), detail).remedy(problem.remedy()))
            }
            None => Err(Reason::new("front-leak", format!("left behind{report}"))),
        }
    }
}

fn front_reason(error: &FrontError) -> Reason {
    Reason::new(error.code(), error.to_string()).remedy(error.remedy())
}

fn refusal(failed: &ConnectFailed) -> Outcome {
    let error = &*failed.error;
    let reason = Reason::new(error.code(), failed.to_string()).remedy(error.remedy());
    match error {
        FrontError::NoDevice => Outcome::Skip(reason),
        _ => Outcome::Failure(reason),
    }
}

/// What config space says of the function under test.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Where it is, as the guest sees it.
    pub bdf: Bdf,
    /// Which one it is.
    pub id: DeviceId,
    /// What it does.
    pub class: Class,
    /// Where it answers.
    pub bars: Vec<Bar>,
    /// Its interrupt, if it has a pin.
    pub pirq: Option<Pirq>,
}

impl Identity {
    /// Reads the first function's config space.
    pub fn read(front: &Front<'_>) -> Result<Self, Outcome> {
        let &bdf = front
            .functions()
            .first()
            .ok_or_else(|| Outcome::Failure(Reason::new("pci-no-function", "the bus is empty")))?;
        let pci = |e: pci::PciError| failure(e.code(), e.to_string(), e.remedy());
        let config = |e: pci::ConfigError| failure(e.code(), e.to_string(), e.remedy());
        let function = Function::probe(front, bdf)
            .map_err(config)?
            .ok_or_else(|| Outcome::Failure(Reason::new("pci-gone", format!("{bdf} went away"))))?;
        let pin = function.interrupt_pin().map_err(config)?;
        Ok(Self {
            bdf,
            id: function.id().map_err(config)?,
            class: function.class().map_err(config)?,
            bars: function.bars().map_err(pci)?,
            pirq: pin.map(|pin| Pirq(pin.line.into())),
        })
    }
}

fn failure(code: &'static str, detail: String, remedy: &'static str) -> Outcome {
    Outcome::Failure(Reason::new(code, detail).remedy(remedy))
}

/// How long a device may take over something it does at once when it works.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same without a link, where some chips send nothing at all, not even to themselves.
const PATIENCE_WITHOUT_LINK: Duration = Duration::from_millis(200);

/// A network card with its driver running.
#[derive(Debug)]
pub struct Card {
    /// The driver.
    pub nic: Box<dyn Nic>,
    /// Its interrupt.
    pub interrupt: Interrupt,
    bdf: Bdf,
    looped: bool,
}

/// What a driver is started with.
#[derive(Debug)]
pub struct Setup {
    /// All memory.
    pub memory: &'static Memory<'static>,
    /// The bounce pool.
    pub pool: &'static dma::Pool<'static>,
    /// What is bounced.
    pub policy: Policy,
    /// The reach that the device is held to, if that is less than its own.
    pub reach: Option<DmaMask>,
    /// Event channels.
    pub events: &'static LocalEvents,
    /// The clock behind every deadline.
    pub clock: &'static SharedInfo,
    /// A fault on purpose.
    pub fault: Option<SelfTest>,
}

impl Card {
    /// Starts the driver for the function `identity` describes.
    pub fn start(front: &Front<'_>, identity: &Identity, setup: &Setup) -> Result<Self, Outcome> {
        let kind = driver(identity)?;
        let (address, len) = memory_bar(identity, kind)?;
        let config = |e: pci::ConfigError| failure(e.code(), e.to_string(), e.remedy());
        let nic = |e: nic::StartError| failure(e.code(), e.to_string(), e.remedy());
        let function = Function::probe(front, identity.bdf)
            .map_err(config)?
            .ok_or_else(|| Outcome::Failure(Reason::new("pci-gone", "the device went away")))?;
        let pirq = identity.pirq.ok_or_else(|| {
            failure("pci-no-interrupt", "no interrupt pin".into(), "use a device with INTx")
        })?;
        // Whatever is made here is undone in reverse order if a later step fails.
        let decoding = Decoding::on(function).map_err(config)?;
        let registers = DeviceMemory::map(setup.memory, address, len).map_err(|e| {
            failure("pci-bar-map", e.to_string(), "see Xen's log: the domain may lack iomem rights")
        })?;
        let idle = kind.reset(registers, setup.clock).map_err(nic)?;
        decoding.allow_dma(idle.stopped()).map_err(config)?;
        let own = kind.limits();
        let mask = setup.reach.map_or(own.mask, |reach| reach.min(own.mask));
        let limits = Limits { mask, ..own };
        let device = dma::Device::new(setup.pool, setup.memory, limits, setup.policy);
        let mut nic = faults::card(idle.start(device).map_err(nic)?, setup.fault);
        let interrupt = Interrupt::bind(setup.events, setup.clock, pirq).map_err(|e| {
            let remedy = "the line may be shared with dom0: see xl dmesg";
            failure("irq-bind", format!("{pirq}: {e}"), remedy)
        })?;
        nic.enable_interrupts(Cause::RECEIVER);
        decoding.leave_on();
        Ok(Self { nic, interrupt, bdf: identity.bdf, looped: false })
    }

    /// The chip, its address and its interrupt.
    pub fn describe(&self) -> String {
        let Interrupt { pirq, port, .. } = &self.interrupt;
        format!("{} {}, {pirq} on {port}", self.nic.name(), nic::error::Mac(&self.nic.mac()))
    }

    /// How long to wait for a frame sent to ourselves.
    pub fn patience(&self) -> Duration {
        if self.nic.link_up() { PATIENCE } else { PATIENCE_WITHOUT_LINK }
    }

    /// Turns the card's loopback on or off, if it isn't that way already.
    pub fn loopback(&mut self, on: bool) -> Result<(), Outcome> {
        if self.looped != on {
            self.nic.set_loopback(on).map_err(|e| failure(e.code(), e.to_string(), e.remedy()))?;
            self.looped = on;
        }
        Ok(())
    }

    /// Waits for frames or the deadline, and acknowledges what came.
    pub fn wait(&mut self, deadline: Instant) -> Cause {
        if !self.interrupt.wait(deadline) {
            return Cause::empty();
        }
        self.acknowledge()
    }

    /// Acknowledges the device, then the interrupt.
    pub fn acknowledge(&mut self) -> Cause {
        let cause = self.nic.acknowledge();
        self.interrupt.done();
        cause
    }

    /// Stops the device: driver and registers, bus mastering, interrupt.
    ///
    /// Memory of a device that does not come out of its reset is taken back once its bus mastering reads as off.
    pub fn stop(self, access: &dyn ConfigAccess, kept: &mut Vec<String>) -> Result<(), Reason> {
        let Self { mut nic, interrupt, bdf, .. } = self;
        let quiesced = nic.quiesce();
        let off = mastering::stop_dma(access, bdf);
        let taken_back = match (&quiesced, &off) {
            (Err(QuiesceError::Reset(_)), Ok(stopped)) => nic.take_back(stopped),
            _ => Ok(()),
        };
        drop(nic);
        let (pirq, port, unended) = (interrupt.pirq, interrupt.port, interrupt.unended);
        let unbound = interrupt.unbind();
        if unbound.is_err() {
            kept.push(format!("the card's {pirq} on {port}"));
        }
        quiesced.map_err(|e| Reason::new(e.code(), e.to_string()).remedy(e.remedy()))?;
        off.map_err(|e| Reason::new(e.code(), e.to_string()).remedy(e.remedy()))?;
        taken_back.map_err(|e| Reason::new(e.code(), e.to_string()).remedy(e.remedy()))?;
        unbound.map_err(|e| Reason::new("irq-unbind", e.to_string()))?;
        unended.map_or(Ok(()), |e| {
            let detail = format!("Xen refused to end an interrupt of {pirq}: {e}");
            Err(Reason::new("irq-eoi", detail).remedy("see Xen's log, and `xl debug-keys i`"))
        })
    }
}

/// What config space says of a function after something went wrong: what it may do, which of its accesses failed,
/// and how many errors the backend reported.
pub fn bus_state(front: &Front<'_>, bdf: Bdf) -> String {
    let registers = |function: Function<'_>| Ok((function.command()?, function.status()?));
    let read = Function::probe(front, bdf).and_then(|found| found.map(registers).transpose());
    let (command, status) = match read {
        Ok(Some(registers)) => registers,
        Ok(None) => return format!("{bdf} does not answer config accesses"),
        Err(error) => return format!("{bdf}: {error}"),
    };
    let errors: Vec<_> = (status & Status::ERRORS).iter_names().map(|(name, _)| name).collect();
    format!(
        "PCI command {:#06x}, status {:#06x} [{}], {} AER reports",
        command.bits(),
        status.bits(),
        errors.join(" "),
        front.aer_reports().0
    )
}

/// How far the device reaches, if there is a driver for it.
pub fn reach_of(identity: &Identity) -> Result<DmaMask, Outcome> {
    driver(identity).map(|kind| kind.limits().mask)
}

fn driver(identity: &Identity) -> Result<DriverKind, Outcome> {
    let Identity { bdf, id, class, .. } = identity;
    if !class.is_network() {
        let detail = format!("{bdf} is {id}, a {class}, no network card");
        let remedy = "pass a network card through; boot, memory, swiotlb and pci have run";
        return Err(Outcome::Skip(Reason::new("not-a-nic", detail).remedy(remedy)));
    }
    nic::driver_for(id.vendor, id.device).ok_or_else(|| {
        let known: Vec<_> = nic::table::driver_names().collect();
        let remedy = format!("pass one of these through: {}", known.join(", "));
        let detail = format!("{bdf} is {id}, for which there is no driver here");
        Outcome::Skip(Reason::new("no-driver", detail).remedy(remedy))
    })
}

fn memory_bar(identity: &Identity, kind: DriverKind) -> Result<(BusAddr, usize), Outcome> {
    let bar = identity.bars.iter().find(|bar| usize::from(bar.index) == kind.bar());
    match bar.map(|bar| (bar.kind, bar.size)) {
        Some((BarKind::Memory { address, .. }, size)) if address.0 != 0 => {
            Ok((address, to_usize(size)))
        }
        other => Err(failure(
            "pci-no-bar",
            format!("BAR {} is {other:?}", kind.bar()),
            "see `lspci -v` in dom0: firmware gave the device no memory range",
        )),
    }
}

//! A device with its driver running and its interrupt bound.

use super::{Interrupt, assigned::Setup, faults::RINGS};
use crate::{
    addr::DmaMask,
    arch::{time::Instant, wait::Deadline},
    device::{Arrival, Cause, Driver, Mover, QuiesceError},
    drivers::Started,
    nic::Loopback,
    options::SelfTest,
    pci::{Bdf, ConfigAccess, Function, Resources, Status, front::Front, mastering},
    report::{Outcome, Reason},
    xen::events::Pirq,
};
use alloc::{format, string::String, vec::Vec};

/// A started device.
#[derive(Debug)]
pub struct Running {
    started: Started<'static>,
    /// Its interrupt.
    pub interrupt: Interrupt,
    /// How far it may reach: its own limit, or what the command line holds it to.
    pub reach: DmaMask,
    bdf: Bdf,
    fault: Option<SelfTest>,
    acknowledged: u32,
}

impl Running {
    /// Binds the interrupt of a device that was just started.
    pub(super) fn new(
        mut started: Started<'static>,
        _front: &Front<'static>,
        resources: &Resources,
        reach: DmaMask,
        setup: &Setup,
    ) -> Result<Self, Outcome> {
        let failure = |code, detail: String, remedy: &'static str| {
            Outcome::Failure(Reason::new(code, detail).remedy(remedy))
        };
        let pin = resources.pin.ok_or_else(|| {
            failure("pci-no-interrupt", "no interrupt pin".into(), "use a device with INTx")
        })?;
        let pirq = Pirq(pin.line.into());
        let interrupt = Interrupt::bind(setup.events, setup.clock, pirq).map_err(|e| {
            let remedy = "the line may be shared with dom0: see xl dmesg";
            failure("irq-bind", format!("{pirq}: {e}"), remedy)
        })?;
        started.mover().enable_interrupts(Cause::RECEIVER);
        let (bdf, fault) = (resources.bdf, setup.fault);
        Ok(Self { started, interrupt, reach, bdf, fault, acknowledged: 0 })
    }

    /// The device as one that moves bytes.
    pub fn mover(&mut self) -> &mut dyn Mover {
        self.started.mover()
    }

    /// The device as one with a driver.
    pub fn driver(&self) -> &dyn Driver {
        self.started.driver()
    }

    /// Whether it is a network card.
    pub const fn is_card(&self) -> bool {
        matches!(self.started, Started::Nic(_))
    }

    /// The device as a network card, if it is one, and its interrupt.
    pub const fn card(&mut self) -> Option<(&mut Loopback<'static>, &mut Interrupt)> {
        match self.started.card() {
            Some(card) => Some((card, &mut self.interrupt)),
            None => None,
        }
    }

    /// The chip, which one it is, and its interrupt.
    pub fn describe(&self) -> String {
        let (driver, Interrupt { pirq, port, .. }) = (self.driver(), &self.interrupt);
        format!("{} {}, {pirq} on {port}", driver.name(), driver.label())
    }

    /// A wait by the clock of the device's interrupt.
    pub fn until(&self, deadline: Instant) -> Deadline<'static> {
        self.interrupt.until(deadline)
    }

    /// Acknowledges the device, then the interrupt.
    pub fn acknowledge(&mut self) -> Cause {
        let cause = self.mover().acknowledge();
        self.acknowledged += u32::from(!cause.is_empty());
        if self.fault == Some(SelfTest::MaskIrq) && self.acknowledged >= RINGS {
            self.mover().enable_interrupts(Cause::empty());
        }
        self.interrupt.done();
        cause
    }

    /// [`Mover::fetch`].
    pub fn fetch(&mut self, sent: &[u8], back: &mut Vec<u8>) -> Result<Arrival, Outcome> {
        let arrival = self.mover().fetch(sent, back)?;
        if self.fault == Some(SelfTest::Loopback)
            && let Arrival::Back(len) = arrival
            && let Some(byte) = back[..len].last_mut()
        {
            *byte ^= 1;
        }
        Ok(arrival)
    }

    /// Stops the device: driver and registers, bus mastering, interrupt.
    ///
    /// Memory of a device that does not come out of its reset is taken back once its bus mastering reads as off.
    pub(super) fn stop(
        self,
        _front: &Front<'static>,
        access: &dyn ConfigAccess,
        kept: &mut Vec<String>,
    ) -> Result<(), Reason> {
        let Self { mut started, interrupt, bdf, .. } = self;
        let quiesced = started.mover().quiesce();
        let off = mastering::stop_dma(access, bdf);
        let taken_back = match (&quiesced, &off) {
            (Err(QuiesceError::Reset(_)), Ok(stopped)) => started.mover().take_back(stopped),
            _ => Ok(()),
        };
        drop(started);
        let (pirq, port, unended) = (interrupt.pirq, interrupt.port, interrupt.unended);
        let unbound = interrupt.unbind();
        if unbound.is_err() {
            kept.push(format!("{bdf}'s {pirq} on {port}"));
        }
        quiesced?;
        off?;
        taken_back?;
        unbound.map_err(|e| Reason::new("irq-unbind", format!("{e}")))?;
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

//! A device with its driver running and its interrupt bound.

use super::{Interrupt, assigned::Setup, faults::RINGS, interrupt::Bound};
use crate::{
    addr::DmaMask,
    arch::{time::Instant, wait::Deadline},
    device::{Arrival, Cause, Driver, Mover, QuiesceError},
    drivers::Started,
    nic::Loopback,
    options::SelfTest,
    pci::{
        Bdf, ConfigAccess, Delivery, Function, Host, Resources, Status, front::Front, mastering,
    },
    report::{Outcome, Reason},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

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
    /// A device that was just started, with the best interrupt that it, its driver and the host have.
    pub(super) fn new(
        started: Started<'static>,
        host: &dyn Host,
        resources: &Resources,
        reach: DmaMask,
        setup: &Setup,
    ) -> Self {
        let none = Reason::new("pci-no-intx", format!("{} has no interrupt", resources.bdf));
        let interrupt = Interrupt::none(setup.events, setup.clock, none);
        let (bdf, fault) = (resources.bdf, setup.fault);
        let mut running = Self { started, interrupt, reach, bdf, fault, acknowledged: 0 };
        for &how in running.driver().deliveries().iter().filter(|how| resources.offers(**how)) {
            match running.deliver(host, resources, how) {
                Ok(()) => break,
                Err(reason) => setup.stages.stage(format_args!("{bdf}: no {how}: {reason}")),
            }
        }
        running
    }

    /// Has the device interrupt this way instead of that before. Without success there is no interrupt.
    pub fn deliver(
        &mut self,
        host: &dyn Host,
        resources: &Resources,
        how: Delivery,
    ) -> Result<(), Reason> {
        self.mover().enable_interrupts(Cause::empty());
        let why = Reason::new("irq-switched", format!("{how} took its place"));
        self.silence(host, why)?;
        let bound = host.turn_on(resources, how).and_then(|pirq| {
            self.interrupt.bind(pirq, how).inspect_err(|_| {
                // The refusal to bind is what gets told.
                let _ = host.turn_off(self.bdf, how);
            })
        });
        if let Err(reason) = bound {
            self.interrupt.unbind(reason.clone());
            return Err(reason);
        }
        self.mover().deliver(how);
        self.mover().enable_interrupts(Cause::RECEIVER);
        Ok(())
    }

    /// Ends the interrupt there is; `why` there is none from now on.
    fn silence(&mut self, host: &dyn Host, why: Reason) -> Result<(), Reason> {
        let Some((Bound { port, pirq, how }, closed)) = self.interrupt.unbind(why) else {
            return Ok(());
        };
        let off = host.turn_off(self.bdf, how);
        closed.map_err(|e| Reason::new("irq-unbind", format!("{pirq} on {port}: {e}")))?;
        Ok(off?)
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
        let driver = self.driver();
        let interrupt = match self.interrupt.bound() {
            Ok(bound) => bound.to_string(),
            Err(reason) => format!("polled: {reason}"),
        };
        format!("{} {}, {interrupt}", driver.name(), driver.label())
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
        mut self,
        host: &dyn Host,
        access: &dyn ConfigAccess,
        kept: &mut Vec<String>,
    ) -> Result<(), Reason> {
        let bdf = self.bdf;
        let quiesced = self.mover().quiesce();
        let off = mastering::stop_dma(access, bdf);
        let taken_back = match (&quiesced, &off) {
            (Err(QuiesceError::Reset(_)), Ok(stopped)) => self.mover().take_back(stopped),
            _ => Ok(()),
        };
        let bound = self.interrupt.bound().map(ToString::to_string).unwrap_or_default();
        let unbound = self.silence(host, Reason::new("closed", "the device was closed"));
        if unbound.is_err() {
            kept.push(format!("{bdf}'s {bound}"));
        }
        let unended = self.interrupt.unended;
        drop(self);
        quiesced?;
        off?;
        taken_back?;
        unbound?;
        unended.map_or(Ok(()), |e| {
            let detail = format!("Xen refused to end an interrupt of {bdf}: {e}");
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

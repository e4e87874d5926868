//! A device with its driver running and its interrupt bound.

use super::{
    faults::RINGS,
    interrupt::{self, Bound, Interrupt},
};
use crate::{
    arch::{time::Instant, wait::Deadline},
    device::{Arrival, Cause, Driver, Mover, QuiesceError},
    dma::Limits,
    drivers::Started,
    nic::Loopback,
    options::SelfTest,
    pci::{Bdf, ConfigAccess, Delivery, Host, Resources, mastering},
    report::{Outcome, Reason},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// The code of an interrupt that did not come.
const IRQ_LOST: &str = "irq-lost";

/// A started device.
#[derive(Debug)]
pub struct Running<'m> {
    started: Started<'m>,
    /// Its interrupt.
    pub interrupt: Interrupt<'m>,
    /// What it demands of addresses; its reach is its own, or what the command line holds it to.
    pub limits: Limits,
    bdf: Bdf,
    fault: Option<SelfTest>,
    acknowledged: u32,
}

impl<'m> Running<'m> {
    /// A device that was just started; it is polled until it climbs.
    pub fn new(
        started: Started<'m>,
        interrupt: Interrupt<'m>,
        resources: &Resources,
        limits: Limits,
    ) -> Self {
        Self { started, interrupt, limits, bdf: resources.bdf, fault: None, acknowledged: 0 }
    }

    /// The same with a fault on purpose between the driver and its caller.
    #[must_use]
    pub fn with_fault(self, fault: Option<SelfTest>) -> Self {
        Self { fault, ..self }
    }

    /// Has the device interrupt in the best way that it, its driver and the host have; `refused` hears why not in a
    /// better one. Without any it stays polled.
    pub fn climb(
        &mut self,
        host: &dyn Host,
        resources: &Resources,
        refused: &mut dyn FnMut(Delivery, &Reason),
    ) {
        for &how in self.driver().deliveries().iter().filter(|how| resources.offers(**how)) {
            match self.deliver(host, resources, how) {
                Ok(()) => return,
                Err(reason) => refused(how, &reason),
            }
        }
    }

    /// Why the device is polled although it, its driver and the host between them know a way to interrupt.
    pub fn refused(&self, resources: &Resources) -> Option<Outcome> {
        let mut known = self.driver().deliveries().iter();
        let why = self.interrupt.bound().err().filter(|_| known.any(|how| resources.offers(*how)));
        why.cloned().map(interrupt::refusal)
    }

    /// Has the device interrupt this way instead of that before. Without success there is no interrupt.
    pub fn deliver(
        &mut self,
        host: &dyn Host,
        resources: &Resources,
        how: Delivery,
    ) -> Result<(), Reason> {
        self.quiet(host, Reason::new("irq-off", "another way is tried"))?;
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
        if let Err(refused) = self.mover().deliver(how) {
            let reason = Reason::from(refused);
            // The device's refusal is what gets told.
            let _ = self.silence(host, reason.clone());
            return Err(reason);
        }
        self.mover().enable_interrupts(Cause::RECEIVER);
        Ok(())
    }

    /// Turns the device's interrupt off, if there is one: its causes first, so that it does not assert its line instead.
    /// From then on the device is polled, and `why` is what it says of that.
    pub fn quiet(&mut self, host: &dyn Host, why: Reason) -> Result<(), Reason> {
        self.mover().enable_interrupts(Cause::empty());
        self.silence(host, why)
    }

    /// As [`Running::quiet`] where `outcome` is that the interrupt was lost, as the next one would be, too: the outcome then
    /// says so.
    pub fn quiet_if_lost(&mut self, host: &dyn Host, mut outcome: Outcome) -> Outcome {
        let Outcome::Failure(reason) = &mut outcome else { return outcome };
        if reason.code == IRQ_LOST && self.interrupt.bound().is_ok() {
            let said = match self.quiet(host, reason.clone()) {
                Ok(()) => "from here on the device is polled".into(),
                Err(refused) => format!("it can't be turned off: {refused}"),
            };
            reason.detail = format!("{}; {said}", reason.detail);
        }
        outcome
    }

    /// Ends the interrupt there is; `why` there is none from now on.
    fn silence(&mut self, host: &dyn Host, why: Reason) -> Result<(), Reason> {
        let Some((Bound { port, pirq, how }, closed)) = self.interrupt.unbind(why) else {
            return Ok(());
        };
        let off = host.turn_off(self.bdf, how);
        closed.map_err(|e| Reason::new("irq-unbind", format!("{pirq} on {port}: {e}")))?;
        off
    }

    /// The device as one that moves bytes.
    pub fn mover(&mut self) -> &mut (dyn Mover + 'm) {
        self.started.mover()
    }

    /// The device as one with a driver.
    pub fn driver(&self) -> &(dyn Driver + 'm) {
        self.started.driver()
    }

    /// Whether it is a network card.
    pub const fn is_card(&self) -> bool {
        matches!(self.started, Started::Nic(_))
    }

    /// The device as a network card, if it is one, and its interrupt.
    pub const fn card(&mut self) -> Option<(&mut Loopback<'m>, &mut Interrupt<'m>)> {
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
    pub fn until(&self, deadline: Instant) -> Deadline<'m> {
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
            *byte = !*byte;
        }
        Ok(arrival)
    }

    /// Stops the device: driver and registers, bus mastering, interrupt.
    ///
    /// Memory of a device that does not come out of its reset is taken back once its bus mastering reads as off.
    pub fn stop(
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

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;

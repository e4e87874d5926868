//! The device's interrupt: waited for, counted and ended.

use crate::{
    arch::{
        time::{Clock, Instant},
        wait::Deadline,
    },
    net::Wait,
    pci::Delivery,
    report::{Outcome, Reason},
    xen::{
        errno::XenError,
        events::{EventChannels, Pirq, Port, Sharing},
    },
};
use alloc::format;
use core::{convert::Infallible, fmt, mem, time::Duration};

/// The device's interrupt, bound to an event channel; or none, and why.
///
/// A device without one is looked at now and then instead.
pub struct Interrupt<'m> {
    events: &'m dyn EventChannels,
    clock: &'m dyn Clock,
    bound: Result<Bound, Reason>,
    /// How often it has come.
    pub count: u64,
    /// Why Xen would not end one, the first time that it would not.
    pub unended: Option<XenError>,
}

/// Where an interrupt arrives.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The event channel.
    pub port: Port,
    /// What it is to Xen.
    pub pirq: Pirq,
    /// How the device sends it.
    pub how: Delivery,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, pirq, how } = self;
        write!(f, "{how}, {pirq} on {port}")
    }
}

/// What it means that there is no interrupt: a line that two devices of the guest's share is nobody's fault.
pub(super) fn refusal(reason: Reason) -> Outcome {
    match reason.code {
        "irq-line-taken" => Outcome::Skip(reason),
        _ => Outcome::Failure(reason),
    }
}

/// How long a device without an interrupt is left alone at a time.
const NAP: Duration = Duration::from_millis(1);

impl fmt::Debug for Interrupt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt")
            .field("bound", &self.bound)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl<'m> Interrupt<'m> {
    /// No interrupt, and why.
    pub const fn none(events: &'m dyn EventChannels, clock: &'m dyn Clock, why: Reason) -> Self {
        Self { events, clock, bound: Err(why), count: 0, unended: None }
    }

    /// Binds an interrupt that the host has turned on; one that was bound before has to be unbound.
    pub fn bind(&mut self, pirq: Pirq, how: Delivery) -> Result<(), Reason> {
        let sharing = match how {
            Delivery::Intx => Sharing::Shared,
            Delivery::Msi | Delivery::Msix => Sharing::Exclusive,
        };
        let port = self.events.bind_pirq(pirq, sharing).map_err(|error| match error {
            // Xen gives a domain one port for a line.
            XenError::Exists => {
                let detail = format!("{how}, {pirq} is another device's of this guest");
                Reason::new("irq-line-taken", detail).remedy("test them one at a time, by dev=")
            }
            error => {
                let remedy = "the line may be shared with dom0: see xl dmesg";
                Reason::new("irq-bind", format!("{how}, {pirq}: {error}")).remedy(remedy)
            }
        })?;
        self.bound = Ok(Bound { port, pirq, how });
        // A line that was asserted before anybody listened stays blocked until someone says it is handled.
        self.done();
        Ok(())
    }

    /// Where it arrives; `Err` says why nowhere.
    pub const fn bound(&self) -> Result<&Bound, &Reason> {
        self.bound.as_ref()
    }

    /// Waits for the interrupt or the deadline; says whether it came. Without one it only waits a little.
    pub fn wait(&mut self, deadline: Instant) -> bool {
        let Ok(Bound { port, .. }) = self.bound else {
            let nap = self.clock.now().after(NAP).min(deadline);
            // An error is as good as an early return: the caller has its own deadline.
            let _ = self.events.poll(&[], nap);
            return false;
        };
        let came = self.until(deadline).turns(|until| -> Result<_, Infallible> {
            if self.take() {
                return Ok(Some(()));
            }
            // An error is as good as an early return: the clock ends the wait.
            let _ = self.events.poll(&[port], until);
            Ok(None)
        });
        came == Ok(Some(()))
    }

    /// A wait for something else, by the same clock.
    pub fn until(&self, deadline: Instant) -> Deadline<'m> {
        Deadline::at(self.clock, deadline)
    }

    /// Takes a pending interrupt, if there is one.
    pub fn take(&mut self) -> bool {
        let came = self.bound.as_ref().is_ok_and(|bound| self.events.take(bound.port));
        self.count += u64::from(came);
        came
    }

    /// Tells Xen that the device no longer asserts the line. Call after the device was acknowledged.
    ///
    /// A refusal is kept for the device's end to report: the next call may end this interrupt, too.
    pub fn done(&mut self) {
        if let Ok(bound) = &self.bound {
            self.unended = self.unended.or(self.events.eoi(bound.pirq).err());
        }
    }

    /// Gives the port back; `why` there is no interrupt from now on.
    ///
    /// Returns what was bound, if the host still has to turn it off, and Xen's refusal to close the port.
    pub fn unbind(&mut self, why: Reason) -> Option<(Bound, Result<(), XenError>)> {
        let bound = mem::replace(&mut self.bound, Err(why)).ok()?;
        Some((bound, self.events.close(bound.port)))
    }
}

impl Wait for Interrupt<'_> {
    fn wait(&mut self, deadline: Instant) {
        Self::wait(self, deadline);
    }

    fn handled(&mut self) {
        // The next wait ends at its deadline even if Xen did not take this.
        self.done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xen::fake::FakeEvents;

    const LINE: Pirq = Pirq(20);

    #[test]
    fn each_interrupt_is_counted_and_the_next_comes_once_it_was_ended() {
        let events = FakeEvents::new();
        let clock = events.clock();
        let none = Reason::new("pci-no-intx", "no interrupt");
        let mut interrupt = Interrupt::none(&*events, &*clock, none);
        interrupt.bind(LINE, Delivery::Intx).unwrap();
        let ended = events.eois().len();
        assert!(events.raise_pirq(LINE));
        for count in 1..4 {
            assert!(interrupt.wait(Instant(u64::MAX - 1)));
            assert!(!events.raise_pirq(LINE), "it is held back until this one was ended");
            assert!(!interrupt.take());
            assert_eq!(interrupt.count, count);
            Wait::handled(&mut interrupt);
        }
        assert_eq!((events.eois().len() - ended, interrupt.unended), (3, None));
        interrupt.unbind(Reason::new("closed", "")).unwrap().1.unwrap();
        assert_eq!(events.taken(), 0);
    }

    #[test]
    fn a_line_of_two_devices_is_the_first_one_s_and_nobody_s_fault() {
        let events = FakeEvents::new();
        let clock = events.clock();
        let device = || Interrupt::none(&*events, &*clock, Reason::new("irq-off", ""));
        let (mut first, mut second) = (device(), device());
        first.bind(LINE, Delivery::Intx).unwrap();
        let taken = second.bind(LINE, Delivery::Intx).unwrap_err();
        assert_eq!(taken.code, "irq-line-taken");
        assert!(matches!(refusal(taken), Outcome::Skip(_)));
        assert!(events.raise_pirq(LINE) && first.take() && !second.take());
        first.unbind(Reason::new("closed", "")).unwrap().1.unwrap();
        second.bind(LINE, Delivery::Intx).unwrap();
        second.unbind(Reason::new("closed", "")).unwrap().1.unwrap();
        let other = Reason::new("irq-bind", "EPERM");
        assert!(matches!(refusal(other), Outcome::Failure(_)));
    }

    #[test]
    fn a_driver_s_wait_for_its_device_takes_the_interrupt() {
        let events = FakeEvents::new();
        let clock = events.clock();
        let none = Reason::new("pci-no-intx", "no interrupt");
        let mut interrupt = Interrupt::none(&*events, &*clock, none);
        interrupt.bind(LINE, Delivery::Intx).unwrap();
        events.raise_pirq(LINE);
        Wait::wait(&mut interrupt, Instant(u64::MAX - 1));
        assert_eq!((interrupt.count, interrupt.take()), (1, false));
        interrupt.unbind(Reason::new("closed", "")).unwrap().1.unwrap();
    }
}

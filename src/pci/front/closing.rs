//! Leaving the backend, and taking everything back, whatever state both sides are in.

use super::{CloseReport, Front, FrontError, Given, LEFT};
use crate::{
    arch::time::Instant,
    xen::{
        grants::GrantError,
        xenbus::{StateSet, Wait, XenbusError, XenbusState, read_state},
    },
};
use core::time::Duration;

impl Front<'_> {
    /// Turns interrupts off, leaves the backend in order and takes everything back.
    pub fn close(mut self) -> CloseReport {
        self.shut_down()
    }

    pub(super) fn shut_down(&mut self) -> CloseReport {
        let mut report =
            CloseReport { irqs_left: self.turn_interrupts_off(), ..CloseReport::default() };
        let Some(given) = self.given.take() else {
            return report;
        };
        self.say_goodbye(&mut report);
        match self.revoke(&given) {
            Ok(()) => report.page = Some(given.page),
            Err(error) => {
                report.still_granted = Some(given.gref);
                report.note(error);
            }
        }
        if let Err(error) = self.services.events.close(given.link.port()) {
            report.port_left = Some(given.link.port());
            report.note(FrontError::Events(error));
        }
        report
    }

    /// Takes the page back once the backend has let go of it. It says so by nothing but unmapping, and where the
    /// toolstack removed it, it may still be at it.
    fn revoke(&self, given: &Given<'_>) -> Result<(), GrantError> {
        const GLANCE: Duration = Duration::from_millis(1);
        let deadline = self.services.clock.now().after(self.timeouts.close);
        loop {
            let revoked = self.services.grants.revoke(given.gref);
            let now = self.services.clock.now();
            if !matches!(revoked, Err(GrantError::StillMapped(_))) || now >= deadline {
                return revoked;
            }
            // An error is as good as an early return: the clock ends the wait.
            let _ = self.services.events.poll(&[given.link.port()], now.after(GLANCE));
        }
    }

    /// Both steps down, unless the toolstack removed the backend and there is nobody to tell; also when the first gets no answer: the backend may still act on the second.
    fn say_goodbye(&self, report: &mut CloseReport) {
        if read_state(self.services.store, &self.device.backend) == Ok(XenbusState::Unknown) {
            return;
        }
        let deadline = self.services.clock.now().after(self.timeouts.close);
        let steps = [
            (XenbusState::Closing, LEFT.as_slice(), "the PCI backend to close"),
            (XenbusState::Closed, &LEFT[1..], "the PCI backend to be closed"),
        ];
        for (ours, theirs, what) in steps {
            let left = self
                .set_state(ours)
                .and_then(|()| self.wait_until(theirs, what, deadline).map_err(Into::into));
            if let Err(error) = left {
                report.note(error);
            }
        }
    }

    fn wait_until(
        &self,
        states: &[XenbusState],
        what: &'static str,
        deadline: Instant,
    ) -> Result<XenbusState, XenbusError> {
        let wait = Wait {
            dir: &self.device.backend,
            until: StateSet::of(states),
            what,
            timeout: deadline.since(self.services.clock.now()),
        };
        wait.run(self.services.store, self.services.clock)
    }
}

impl Drop for Front<'_> {
    fn drop(&mut self) {
        if self.given.is_some() {
            let report = self.shut_down();
            log::warn!("pcifront: dropped without being closed, its page is lost: {report:?}");
        }
    }
}

//! Leaving the backend, and taking everything back, whatever state both sides are in.

use super::{CloseReport, Front, LEFT, Services};
use crate::{
    arch::wait::Deadline,
    xen::{
        events::Port,
        grants::{GrantError, GrantedPage},
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
        let Some(link) = self.link.take() else {
            return report;
        };
        let (port, gref) = (link.port(), link.gref());
        self.say_goodbye(&mut report);
        if let Err(error) = self.take_back(link.into_page(), port) {
            report.still_granted = Some(gref);
            report.note(error);
        }
        report.close_port(self.services.events, port);
        report
    }

    /// Takes the page back once the backend has let go of it. It says so by nothing but unmapping, and where the
    /// toolstack removed it, it may still be at it.
    fn take_back(&self, page: GrantedPage<'_>, port: Port) -> Result<(), GrantError> {
        const GLANCE: Duration = Duration::from_millis(1);
        let Services { clock, events, .. } = self.services;
        let gref = page.gref();
        let mut held = Some(page);
        let taken = Deadline::new(clock, self.timeouts.unmap).turns(|until| {
            // Taken before looking: an event left over would end each poll below at once.
            events.take(port);
            match held.take().map(GrantedPage::revoke) {
                None | Some(Ok(_)) => return Ok(Some(())),
                Some(Err((page, GrantError::StillMapped(_)))) => held = Some(page),
                Some(Err((_, error))) => return Err(error),
            }
            // An error is as good as an early return: the clock ends the wait.
            let _ = events.poll(&[port], until.min(clock.now().after(GLANCE)));
            Ok(None)
        });
        taken?.ok_or(GrantError::StillMapped(gref))
    }

    /// Both steps down, unless the toolstack removed the backend and there is nobody to tell; also when the first gets no answer: the backend may still act on the second.
    fn say_goodbye(&self, report: &mut CloseReport) {
        match read_state(self.services.store, &self.device.backend) {
            Ok(XenbusState::Unknown) => return,
            Ok(_) => {}
            Err(error) => report.note(error),
        }
        let deadline = Deadline::new(self.services.clock, self.timeouts.close);
        let steps = [
            (XenbusState::Closing, LEFT.as_slice(), "the PCI backend to close"),
            (XenbusState::Closed, &LEFT[1..], "the PCI backend to be closed"),
        ];
        for (ours, theirs, what) in steps {
            let left = self
                .set_state(ours)
                .and_then(|()| self.wait_until(theirs, what, &deadline).map_err(Into::into));
            if let Err(error) = left {
                report.note(error);
            }
        }
    }

    pub(super) fn wait_until(
        &self,
        states: &[XenbusState],
        what: &'static str,
        deadline: &Deadline<'_>,
    ) -> Result<XenbusState, XenbusError> {
        let wait = Wait {
            dir: &self.device.backend,
            until: StateSet::of(states),
            what,
            timeout: deadline.left(),
        };
        wait.run(self.services.store, self.services.clock)
    }
}

impl Drop for Front<'_> {
    fn drop(&mut self) {
        if self.link.is_some() {
            let report = self.shut_down();
            log::warn!("pcifront: dropped without being closed: {report:?}");
        }
    }
}

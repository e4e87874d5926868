//! The device's interrupt: waited for, counted and ended.

use crate::{
    arch::{time::Instant, wait::Deadline},
    net::Wait,
    xen::{
        errno::XenError,
        events::{EventChannels, Pirq, Port, Sharing},
        local_events::LocalEvents,
        shared_info::SharedInfo,
    },
};
use core::convert::Infallible;

/// The device's interrupt, bound to an event channel.
#[derive(Debug)]
pub struct Interrupt {
    events: &'static LocalEvents,
    clock: &'static SharedInfo,
    /// Where it arrives.
    pub port: Port,
    /// What it is to Xen.
    pub pirq: Pirq,
    /// How often it has.
    pub count: u64,
    /// Why Xen would not end one, the first time that it would not.
    pub unended: Option<XenError>,
}

impl Interrupt {
    /// Binds a shared line.
    pub fn bind(
        events: &'static LocalEvents,
        clock: &'static SharedInfo,
        pirq: Pirq,
    ) -> Result<Self, XenError> {
        let port = events.bind_pirq(pirq, Sharing::Shared)?;
        let mut interrupt = Self { events, clock, port, pirq, count: 0, unended: None };
        // A line that was asserted before anybody listened stays blocked until someone says it is handled.
        interrupt.done();
        Ok(interrupt)
    }

    /// Waits for the interrupt or the deadline; says whether it came.
    pub fn wait(&mut self, deadline: Instant) -> bool {
        let came = self.until(deadline).turns(|until| -> Result<_, Infallible> {
            if self.take() {
                return Ok(Some(()));
            }
            // An error is as good as an early return: the clock ends the wait.
            let _ = self.events.poll(&[self.port], until);
            Ok(None)
        });
        came == Ok(Some(()))
    }

    /// A wait for something else, by the same clock.
    pub fn until(&self, deadline: Instant) -> Deadline<'static> {
        Deadline::at(self.clock, deadline)
    }

    /// Takes a pending interrupt, if there is one.
    pub fn take(&mut self) -> bool {
        let came = self.events.take(self.port);
        self.count += u64::from(came);
        came
    }

    /// Tells Xen that the device no longer asserts the line. Call after the device was acknowledged.
    ///
    /// A refusal is kept for the card's end to report: the next call may end this interrupt, too.
    pub fn done(&mut self) {
        self.unended = self.unended.or(self.events.eoi(self.pirq).err());
    }

    /// Gives the port back.
    pub fn unbind(self) -> Result<(), XenError> {
        self.events.close(self.port)
    }
}

impl Wait for Interrupt {
    fn wait(&mut self, deadline: Instant) {
        Self::wait(self, deadline);
    }

    fn handled(&mut self) {
        // The next wait ends at its deadline even if Xen did not take this.
        self.done();
    }
}

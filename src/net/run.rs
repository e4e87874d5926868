//! The loop every job runs in.
//!
//! ```text
//!  +-> receive up to a batch of frames
//!  |   let the job look: done? -> return
//!  |   send: one acknowledgement for the whole batch, with the window as the job left it
//!  |   were there frames? ------------------------------------------+
//!  |   sleep until an interrupt, a timer or the deadline            |
//!  |   take the interrupt's cause from the card, then say handled   |
//!  +--------------------------------------------------------------- +
//! ```
//! A frame that arrives after the cause was taken asserts the interrupt again, so none is slept over.

use super::{
    error::{NetError, Waited},
    stack::{Stack, instant, time},
};
use crate::{
    arch::{time::Instant, wait::Deadline},
    device::Cause,
};
use core::time::Duration;
use smoltcp::iface::{PollIngressSingleResult, PollResult};

/// Frames received before the job looks and an acknowledgement goes out: some two thirds of the
/// RTL8139's ring, so that the other end sends on while the rest is worked at.
pub(super) const BATCH: usize = 16;

/// How long one sleep lasts at most: the link is looked at that often.
const NAP: Duration = Duration::from_millis(250);

impl Stack<'_> {
    /// Runs until `job` returns something, for at most `limit`. A link that is down is an error at once.
    pub(super) fn run<T>(
        &mut self,
        waited: Waited,
        limit: Duration,
        mut job: impl FnMut(&mut Self) -> Result<Option<T>, NetError>,
    ) -> Result<T, NetError> {
        self.check_link(waited)?;
        let deadline = Deadline::new(self.clock, limit);
        let mut done = None;
        self.turns(deadline, &mut |stack| {
            done = job(stack)?;
            Ok(done.is_some())
        })?;
        done.ok_or_else(|| self.explain(waited, deadline))
    }

    /// The loop, once for all jobs: until one of them is done, or for as long as there is.
    fn turns(
        &mut self,
        deadline: Deadline<'_>,
        job: &mut dyn FnMut(&mut Self) -> Result<bool, NetError>,
    ) -> Result<(), NetError> {
        let done = deadline.turns(|until| -> Result<_, NetError> {
            let received = self.receive_batch();
            self.phy.check()?;
            let done = job(self)?;
            self.send_all();
            self.phy.check()?;
            if !done && !received {
                self.sleep(until)?;
            }
            Ok(done.then_some(()))
        });
        done.map(drop)
    }

    pub(super) fn check_link(&mut self, waited: Waited) -> Result<(), NetError> {
        if self.phy.nic().link_up() { Ok(()) } else { Err(NetError::LinkDown(waited)) }
    }

    fn receive_batch(&mut self) -> bool {
        let now = time(self.clock.now());
        let Self { interface, phy, sockets, .. } = self;
        let frames = (0..BATCH).take_while(|_| {
            interface.poll_ingress_single(now, phy, sockets) != PollIngressSingleResult::None
        });
        frames.count() > 0
    }

    pub(super) fn send_all(&mut self) {
        let now = time(self.clock.now());
        let Self { interface, phy, sockets, .. } = self;
        while interface.poll_egress(now, phy, sockets) != PollResult::None {}
    }

    /// Sleeps until there may be something to do.
    pub(super) fn sleep(&mut self, deadline: Instant) -> Result<(), NetError> {
        let now = self.clock.now();
        let timer = self.interface.poll_at(time(now), &self.sockets).map(instant);
        let until = deadline.min(now.after(NAP)).min(timer.unwrap_or(deadline));
        if until > now {
            self.wait.wait(until);
        }
        let cause = self.phy.nic().acknowledge();
        self.wait.handled();
        if cause.contains(Cause::GONE) {
            return Err(NetError::Gone);
        }
        if cause.contains(Cause::BUS) {
            return Err(NetError::Bus);
        }
        Ok(())
    }

    /// Why nothing came: the most particular reason there is.
    pub(super) fn explain(&mut self, waited: Waited, deadline: Deadline<'_>) -> NetError {
        let reason = self.check_link(waited).and_then(|()| self.phy.check_stuck());
        if let Err(reason) = reason {
            return reason;
        }
        NetError::TimedOut { waited, timeout: deadline.timed_out(waited.what()) }
    }
}

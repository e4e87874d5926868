//! Devices that come and go while the guest runs: what the toolstack asks for is done.
//!
//! The pool starts when the first device comes, as always, and stays. What is to leave is stopped in the middle of
//! whatever it does; then the toolstack gets its answer.

use super::{Connection, Guest, assigned::Found, connection::refusal, guest::need};
use crate::{
    arch::time::{Clock, Instant},
    pci::{
        Bdf,
        front::{self, Pending},
    },
    report::{Outcome, Reason},
};
use alloc::vec::Vec;
use core::time::Duration;

/// What was done for the toolstack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It wanted nothing.
    Nothing,
    /// Devices came or left.
    Changed {
        /// From when that was seen until the backend was in service again.
        took: Duration,
        /// What devices had when they were stopped: mappings, and memory for rings.
        aborted: u64,
    },
    /// The last device has left, and its backend with it.
    Gone,
}

impl Guest {
    /// Waits until the toolstack has given the domain a device, then brings up what is there. A SKIP if it gives none.
    pub fn await_attach(&mut self, limit: Duration) -> Result<(), Outcome> {
        if self.connection.is_err() {
            let none = || Outcome::Skip(Reason::new("no-store", "there is nobody to ask"));
            let store = self.store.ok_or_else(none)?;
            front::await_arrival(store, self.shared, limit)
                .map_err(|error| refusal(&error, &error))?;
            self.bring_up();
        }
        self.connection.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Looks once at what the toolstack wants, and does it.
    pub fn follow(&mut self) -> Result<Followed, Outcome> {
        let Ok(connection) = &self.connection else { return Ok(Followed::Gone) };
        let seen = self.shared.now();
        // Whether there were any is said at the end.
        let Connection::Front(front) = connection else { return Ok(Followed::Nothing) };
        let _ = front.check_reports();
        match front.pending()? {
            Pending::Nothing => Ok(Followed::Nothing),
            Pending::Change(leaving) => self.change(&leaving, seen),
            Pending::Removed => {
                self.handed_back = true;
                let stopped = self.depart(&|_| true);
                stopped.and(self.disconnect()).map(|()| Followed::Gone).map_err(Outcome::Failure)
            }
        }
    }

    fn change(&mut self, leaving: &[Bdf], seen: Instant) -> Result<Followed, Outcome> {
        let before = self.pool.pool.stats().in_flight;
        self.depart(&|bdf| leaving.contains(&bdf)).map_err(Outcome::Failure)?;
        let aborted = before.saturating_sub(self.pool.pool.stats().in_flight);
        let connection = self.connection.as_mut().map_err(|outcome| outcome.as_skip())?;
        let Connection::Front(front) = connection else { return Ok(Followed::Nothing) };
        let change = front.apply_change()?;
        let took = self.shared.now().since(seen);
        // One that was pulled had no time to be told to leave.
        self.depart(&|bdf| change.gone.contains(&bdf)).map_err(Outcome::Failure)?;
        self.start_arrived(&change.arrived);
        Ok(Followed::Changed { took, aborted })
    }

    /// Stops these functions and forgets them, but for what there is to say.
    fn depart(&mut self, which: &dyn Fn(Bdf) -> bool) -> Result<(), Reason> {
        for assigned in self.assigned.iter().filter(|assigned| which(assigned.bdf)) {
            self.departed.add(assigned);
        }
        let stopped = self.stop(which);
        self.assigned.retain(|assigned| !which(assigned.bdf));
        stopped
    }

    fn start_arrived(&mut self, arrived: &[Bdf]) {
        let (Ok(connection), false) = (&self.connection, arrived.is_empty()) else { return };
        let setup = self.setup();
        let look = |&bdf| Found::look(connection.host(), bdf, &setup);
        let found: Vec<_> = arrived.iter().map(look).collect();
        let need = need(&self.connection, &found, &self.options);
        if need.is_ok() {
            self.pool.at_device(need, &self.clock);
        }
        self.assigned.extend(found.into_iter().map(|found| found.start(&setup)));
        self.pool.held = self.pool.pool.stats().in_use;
    }
}

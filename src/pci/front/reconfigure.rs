//! Devices that come and go while the guest runs (`xl pci-attach`, `xl pci-detach`).
//!
//! ```text
//!  toolstack: backend 7, state-N = 1 (new) or 5 (leaving)
//!  frontend:  lets go of what leaves, then 7
//!  backend:   adds and removes, then 8
//!  frontend:  scans again, then 4;  backend: 4
//! ```
//!
//! The toolstack renumbers the backend's nodes after a detach, so N is never remembered.

use super::{Front, FrontError, LEFT};
use crate::{
    arch::wait::Deadline,
    pci::Bdf,
    xen::{
        store::TxId,
        xenbus::{XenbusError, XenbusState, read_state},
    },
};
use alloc::{format, vec::Vec};
use core::time::Duration;

/// What the toolstack wants of a domain's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing.
    Nothing,
    /// A change. These functions are to leave: they must be quiet and have their interrupts off before
    /// [`Front::apply_change`]. None are where others are to come.
    Change(Vec<Bdf>),
    /// There is nobody any more to ask: the backend went, as it does after its last device.
    Removed,
}

/// What a change brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Functions that are new.
    pub arrived: Vec<Bdf>,
    /// Functions that are gone.
    pub gone: Vec<Bdf>,
}

impl Front<'_> {
    /// Looks once at what the toolstack wants.
    pub fn pending(&self) -> Result<Pending, FrontError> {
        let backend = &self.device.backend;
        match read_state(self.services.store, backend)? {
            XenbusState::Reconfiguring => {}
            state if LEFT.contains(&state) => return Ok(Pending::Removed),
            _ => return Ok(Pending::Nothing),
        }
        let names = self.services.store.directory(TxId::NONE, backend)?;
        let leaving: Result<Vec<_>, _> = names
            .iter()
            .filter_map(|name| name.strip_prefix("state-"))
            .filter_map(|n| self.leaving(n).transpose())
            .collect();
        leaving.map(Pending::Change)
    }

    /// Waits until the toolstack wants something; [`Pending::Nothing`] if it does not in that time.
    pub fn await_pending(&self, limit: Duration) -> Result<Pending, FrontError> {
        let deadline = Deadline::new(self.services.clock, limit);
        let [closing, closed, unknown] = LEFT;
        let states = [XenbusState::Reconfiguring, closing, closed, unknown];
        match self.wait_until(&states, "the toolstack to want a change", &deadline) {
            Ok(_) | Err(XenbusError::Stuck { .. }) => self.pending(),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the toolstack have its changes, one after the other, until it has removed the backend, as it does
    /// after its last device left.
    pub fn hand_back(&mut self, limit: Duration) -> Result<(), FrontError> {
        let deadline = Deadline::new(self.services.clock, limit);
        let what = "the toolstack to take the device back";
        let wanted = [XenbusState::Reconfiguring, XenbusState::Unknown];
        let removed = deadline.turns(|_| {
            if self.wait_until(&wanted, what, &deadline)? == XenbusState::Unknown {
                return Ok(Some(()));
            }
            self.apply_change().map(|_| None)
        });
        let stuck = |last| XenbusError::Stuck {
            dir: self.device.backend.clone(),
            last,
            timed_out: deadline.timed_out(what),
        };
        match removed {
            // What was waited is all of it, not only what was left after the last change.
            Err(FrontError::Xenbus(XenbusError::Stuck { last, .. })) if deadline.passed() => {
                Err(stuck(last).into())
            }
            removed => removed?.ok_or_else(|| stuck(XenbusState::Reconfiguring).into()),
        }
    }

    /// Lets the toolstack's change happen and scans again.
    pub fn apply_change(&mut self) -> Result<Change, FrontError> {
        self.set_state(XenbusState::Reconfiguring)?;
        self.wait_for(XenbusState::Reconfigured, "the PCI backend to reconfigure")?;
        let now = self.rescan()?;
        self.set_state(XenbusState::Connected)?;
        self.settle(now.is_empty())?;
        let before = core::mem::replace(&mut self.functions, now);
        let missing = |from: &[Bdf], of: &[Bdf]| -> Vec<Bdf> {
            let absent = of.iter().filter(|bdf| !from.contains(bdf));
            absent.copied().collect()
        };
        let change = Change {
            arrived: missing(&before, &self.functions),
            gone: missing(&self.functions, &before),
        };
        // dom0 turned their interrupts off with them.
        let gone = |bdf: &Bdf| change.gone.contains(bdf);
        self.irqs.borrow_mut().retain(|(bdf, _)| !gone(bdf));
        Ok(change)
    }

    /// Waits until the backend is in service again. The toolstack, which waits for the same, may be faster: with its
    /// next change, or with the removal of a backend that has no device left.
    fn settle(&self, empty: bool) -> Result<(), FrontError> {
        let deadline = Deadline::new(self.services.clock, self.timeouts.connect);
        let what = "the PCI backend to connect again";
        let [closing, closed, unknown] = LEFT;
        let in_service = [XenbusState::Connected, XenbusState::Reconfiguring];
        let states = [in_service[0], in_service[1], closing, closed, unknown];
        match self.wait_until(&states, what, &deadline)? {
            state if in_service.contains(&state) => Ok(()),
            XenbusState::Unknown if empty => Ok(()),
            state => Err(FrontError::BackendLeft { state }),
        }
    }

    /// The address of the backend's device number `n` if that one is to leave.
    fn leaving(&self, n: &str) -> Result<Option<Bdf>, FrontError> {
        let store = self.services.store;
        let backend = &self.device.backend;
        let state = store.read(TxId::NONE, &format!("{backend}/state-{n}"))?;
        if XenbusState::parse(&state) != Some(XenbusState::Closing) {
            return Ok(None);
        }
        let path = format!("{backend}/vdev-{n}");
        let bdf = store.read_as(TxId::NONE, &path, "a PCI address")?;
        Ok(Some(bdf))
    }
}

//! Looking for functions: where the backend says it put them, or at every address of every root bus if it says
//! nothing. A look at an address is a round trip through dom0, and a bus has 256: one budget covers all of them.

use super::{Front, FrontError};
use crate::{
    arch::wait::Deadline,
    pci::{Bdf, Bus, Function},
    xen::store::{StoreError, TxId},
};
use alloc::{format, vec::Vec};

/// Root buses a backend may claim: one a slot when it splits devices up.
const ROOTS_MAX: usize = 32;

/// Functions a backend may announce: as many as a bus holds.
const ANNOUNCED_MAX: usize = 256;

impl Front<'_> {
    /// The functions that the backend announces, also those that say nothing themselves: that is for whoever is to use them
    /// to tell. Of a backend that announces none those that answer.
    pub(super) fn scan(&self) -> Result<Vec<Bdf>, FrontError> {
        let budget = Deadline::new(self.services.clock, self.timeouts.scan);
        let announced = self.announced(&budget)?;
        if announced.is_empty() {
            return self.search(&budget);
        }
        self.answering(&budget, &announced)?;
        Ok(announced)
    }

    /// Those that answer: what the toolstack has just taken may still be announced.
    pub(super) fn rescan(&self) -> Result<Vec<Bdf>, FrontError> {
        let budget = Deadline::new(self.services.clock, self.timeouts.scan);
        let announced = self.announced(&budget)?;
        if announced.is_empty() {
            self.search(&budget)
        } else {
            self.answering(&budget, &announced)
        }
    }

    fn search(&self, budget: &Deadline<'_>) -> Result<Vec<Bdf>, FrontError> {
        let buses = self.roots(budget)?;
        self.answering(budget, &in_order(buses.into_iter().flat_map(Bus::functions)))
    }

    fn answering(&self, budget: &Deadline<'_>, places: &[Bdf]) -> Result<Vec<Bdf>, FrontError> {
        let found = each(budget, places.iter(), |bdf| {
            Ok(Function::probe(self, *bdf)?.map(|function| function.bdf()))
        });
        Ok(found?.into_iter().flatten().collect())
    }

    /// The addresses in the backend's `vdev-N` nodes. N is not to be relied on: the toolstack renumbers.
    fn announced(&self, budget: &Deadline<'_>) -> Result<Vec<Bdf>, FrontError> {
        let (store, path) = (self.services.store, self.device.backend.as_str());
        let mut nodes = store.directory_optional(TxId::NONE, path)?;
        nodes.retain(|node| node.starts_with("vdev-"));
        if nodes.len() > ANNOUNCED_MAX {
            let value = format!("{} functions", nodes.len());
            let expected = "256 at most";
            return Err(StoreError::BadValue { path: path.into(), value, expected }.into());
        }
        let announced = each(budget, nodes.iter(), |node| {
            let path = format!("{path}/{node}");
            Ok(store.read_as(TxId::NONE, &path, "a function, ssss:bb:dd.f")?)
        });
        announced.map(|all| in_order(all.into_iter()))
    }

    /// The backend's root buses; a backend too old to say has one.
    fn roots(&self, budget: &Deadline<'_>) -> Result<Vec<Bus>, FrontError> {
        let (store, backend) = (self.services.store, &self.device.backend);
        let path = format!("{backend}/root_num");
        let Some(value) = store.read_optional(TxId::NONE, &path)? else {
            return Ok(Vec::from([Bus::FIRST]));
        };
        match value.parse() {
            Ok(count) if count <= ROOTS_MAX => each(budget, 0..count, |n| {
                let path = format!("{backend}/root-{n}");
                Ok(store.read_as(TxId::NONE, &path, "a bus, ssss:bb")?)
            }),
            _ => {
                let expected = "a number of buses up to 32";
                Err(StoreError::BadValue { path, value, expected }.into())
            }
        }
    }
}

/// In order and once each, by insertion: the library's sort would be a fortieth of the image.
fn in_order(functions: impl Iterator<Item = Bdf>) -> Vec<Bdf> {
    let mut sorted = Vec::new();
    for bdf in functions {
        if let Err(place) = sorted.binary_search(&bdf) {
            sorted.insert(place, bdf);
        }
    }
    sorted
}

/// Takes `step` for each item as long as the budget lasts.
fn each<T, U>(
    budget: &Deadline<'_>,
    items: impl ExactSizeIterator<Item = T>,
    mut step: impl FnMut(T) -> Result<U, FrontError>,
) -> Result<Vec<U>, FrontError> {
    let of = items.len();
    let mut results = Vec::new();
    for item in items {
        if budget.passed() {
            let timed_out = budget.timed_out("the PCI backend to show its functions");
            return Err(FrontError::ScanTimedOut { looks: results.len(), of, timed_out });
        }
        results.push(step(item)?);
    }
    Ok(results)
}

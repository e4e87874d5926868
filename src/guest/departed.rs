//! What is left to say of devices that have gone.

use super::Assigned;
use crate::{
    addr::{BusAddr, DmaMask},
    device::{Via, evidence::Ranges},
    pci::Bar,
    report::ktap::Transfers,
};
use alloc::vec::Vec;

/// What devices did that left while the guest ran.
#[derive(Debug, Default)]
pub struct Departed {
    /// What went through them.
    pub transfers: Transfers,
    /// What they were given outside the pool.
    pub(crate) direct: Ranges,
    /// How far the one of them that saw farthest could reach.
    pub reach: Option<DmaMask>,
    /// Where they answered: the memory BARs that firmware had placed, each once.
    pub bars: Vec<BusAddr>,
}

impl Departed {
    /// Adds a device that is about to be stopped.
    pub(super) fn add(&mut self, assigned: &Assigned) {
        self.transfers += assigned.transfers();
        let bars = assigned.resources.as_ref().map_or(&[][..], |resources| &resources.bars);
        for address in bars.iter().filter_map(Bar::placed) {
            if !self.bars.contains(&address) {
                self.bars.push(address);
            }
        }
        let Ok(running) = &assigned.running else { return };
        self.reach = self.reach.max(Some(running.limits.mask));
        let given = running.driver().dma_ranges().iter();
        given.filter(|range| range.via == Via::Direct).for_each(|range| self.direct.join(*range));
    }
}

//! What the controller keeps for as long as it is enabled: a page with its tables and the command ring's ends, and the pages
//! that it wants for itself (xHCI 1.2, sections 4.20, 6.1, 6.5).

use super::trb::{self, Command, Trb};
use crate::{
    addr::{BusAddr, PAGE_SIZE},
    arch::volatile,
    device::evidence::Ranges,
    dma::{Coherent, CoherentError, Device, DeviceStopped, Lent},
};
use alloc::vec::Vec;
use core::iter;

/// The device context base address array: 256 addresses at most. The first is that of the scratchpads; none of the others is
/// ever set.
const CONTEXTS: usize = 0;
/// The event ring segment table: one entry.
const TABLE: usize = 0x800;
/// The command ring's ends: a link to where the commands are, and behind it what is done after them.
const RING: usize = 0x840;
/// The command after all others; what is behind it is not the controller's.
const LAST: usize = RING + 0x40;

/// All that is shared for good: the page, the array of the scratchpads' addresses, and those; without scratchpads the page.
#[derive(Debug)]
pub(super) struct Memory<'m>(Vec<Lent<Coherent<'m>>>);

impl<'m> Memory<'m> {
    /// As much as a controller wants that has so many scratchpads. It is not told of it yet.
    pub(super) fn new(
        dma: &Device<'m>,
        scratchpads: usize,
        ranges: &mut Ranges,
    ) -> Result<Self, CoherentError> {
        let mut shared = Vec::new();
        let array = (scratchpads > 0).then_some(scratchpads * 8);
        let pages = iter::repeat_n(PAGE_SIZE, scratchpads);
        let outcome = iter::once(PAGE_SIZE).chain(array).chain(pages).try_for_each(|len| {
            shared.push(dma.coherent(len)?);
            Ok(())
        });
        if let Err(error) = outcome {
            shared.into_iter().for_each(give_back);
            return Err(error);
        }
        shared.iter().for_each(|memory| ranges.add_shared(memory));
        if let [page, rest @ ..] = &shared[..] {
            put(page, LAST, &Command::NoOp.trb());
            if let [array, scratchpads @ ..] = rest {
                page.write_u64(CONTEXTS, array.bus().0);
                let all = (0..).step_by(8).zip(scratchpads);
                all.for_each(|(at, scratchpad)| array.write_u64(at, scratchpad.bus().0));
            }
        }
        Ok(Self(shared.into_iter().map(Lent::new).collect()))
    }

    pub(super) fn contexts(&self) -> BusAddr {
        self.at(CONTEXTS)
    }

    pub(super) fn table(&self) -> BusAddr {
        self.at(TABLE)
    }

    pub(super) fn ring(&self) -> BusAddr {
        self.at(RING)
    }

    /// Where the last command is.
    pub(super) fn last(&self) -> BusAddr {
        self.at(LAST)
    }

    fn page(&self) -> &Coherent<'m> {
        &self.0[0]
    }

    fn at(&self, offset: usize) -> BusAddr {
        BusAddr(self.page().bus().0 + offset as u64)
    }

    /// Has the next commands be those at `commands`, and the next events go to a segment of so many blocks at `events`.
    pub(super) fn put(&self, commands: BusAddr, events: BusAddr, blocks: usize) {
        put(self.page(), RING, &trb::link(commands));
        self.page().write_u64(TABLE, events.0);
        self.page().write_u64(TABLE + 8, blocks as u64);
        // The doorbell that follows must not overtake them.
        volatile::write_barrier();
    }

    /// Gives all of it back.
    pub(super) fn close(self, stopped: &DeviceStopped) {
        self.0.into_iter().for_each(|memory| give_back(memory.reclaim(stopped)));
    }
}

fn give_back(memory: Coherent<'_>) {
    // What Xen won't take back is counted by the pool.
    let _ = memory.close();
}

fn put(page: &Coherent<'_>, at: usize, trb: &Trb) {
    let words = trb.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    words.zip((at..).step_by(8)).for_each(|(word, at)| page.write_u64(at, word));
}

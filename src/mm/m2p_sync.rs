//! Which names Xen's table (M2P) has of those that the guest gave its frames itself.
//!
//! The builder and `XENMEM_exchange` write the M2P. A frame that moves in the guest's own numbering
//! ([`crate::mm::hole`]) is the guest's to tell, a hypercall's entry a frame: for a GiB of frames that takes
//! longer than all the rest of the boot. So the P2M has the new names at once, and Xen's table learns them in
//! order as frames are taken; until then such a frame is free, and nobody asks for its name.
#![expect(unsafe_code, reason = "writes Xen's table")]

use crate::{
    addr::{Pfn, to_usize},
    mm::{
        error::MemoryError,
        p2m::{P2m, PfnRange},
    },
    xen::hypercall::{MemoryCalls, MmuUpdate, machphys_update},
};

/// Names written in one hypercall.
const BATCH: u64 = 256;

/// How far Xen's table knows the guest's names.
#[derive(Debug)]
pub struct M2pSync {
    /// Below this it has them all.
    synced: Pfn,
    count: u64,
}

impl M2pSync {
    /// The guest has given no names itself.
    pub const fn all_synced() -> Self {
        Self::synced_below(Pfn(u64::MAX))
    }

    /// The names from `first` on are new.
    pub const fn synced_below(first: Pfn) -> Self {
        Self { synced: first, count: 0 }
    }

    /// The first name that Xen's table may not have.
    pub const fn synced(&self) -> Pfn {
        self.synced
    }

    /// Names written so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Writes each name below `end` that Xen's table has not.
    ///
    /// If Xen refuses, its table says how far it got, and so does [`M2pSync::synced`].
    pub(super) fn sync(
        &mut self,
        end: Pfn,
        p2m: P2m<'_>,
        xen: &dyn MemoryCalls,
    ) -> Result<(), MemoryError> {
        while self.synced < end {
            let count = BATCH.min(end.0 - self.synced.0);
            self.sync_some(PfnRange { start: self.synced, count }, p2m, xen)?;
        }
        Ok(())
    }

    fn sync_some(
        &mut self,
        run: PfnRange,
        p2m: P2m<'_>,
        xen: &dyn MemoryCalls,
    ) -> Result<(), MemoryError> {
        let mut updates = [MmuUpdate { ptr: 0, val: 0 }; to_usize(BATCH)];
        let mut count = 0;
        for (slot, (pfn, mfn)) in updates.iter_mut().zip(p2m.frames(run)) {
            *slot = machphys_update(mfn, pfn);
            count += 1;
        }
        let refused = match count {
            0 => None,
            // SAFETY: these entries name frames of ours in Xen's table; no page table changes.
            _ => unsafe { xen.mmu_update(&updates[..count]) }.err(),
        };
        let behind =
            refused.and_then(|_| p2m.frames(run).find(|(pfn, mfn)| xen.m2p(*mfn) != Some(*pfn)));
        self.synced = behind.map_or(run.end(), |(pfn, _)| pfn);
        self.count += p2m.frames(PfnRange::between(run.start, self.synced)).count() as u64;
        match (refused, behind) {
            (Some(error), Some((pfn, _))) => Err(MemoryError::Naming { pfn, error }),
            _ => Ok(()),
        }
    }
}

//! Which names Xen's table (M2P) has been told of those that the guest gave its frames itself.
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

/// Names told in one hypercall.
const BATCH: u64 = 256;

/// How far Xen's table knows the guest's names.
#[derive(Debug)]
pub struct Names {
    /// Below this it has them all.
    told: Pfn,
    count: u64,
}

impl Names {
    /// The guest has given no names itself.
    pub const fn all_told() -> Self {
        Self::told_below(Pfn(u64::MAX))
    }

    /// The names from `first` on are new.
    pub const fn told_below(first: Pfn) -> Self {
        Self { told: first, count: 0 }
    }

    /// The first name that Xen's table may not have.
    pub const fn told(&self) -> Pfn {
        self.told
    }

    /// Names told so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Tells Xen each name below `end` that it has not.
    ///
    /// If Xen refuses, its table says how far it got, and so does [`Names::told`].
    pub(super) fn tell(
        &mut self,
        end: Pfn,
        p2m: P2m<'_>,
        xen: &dyn MemoryCalls,
    ) -> Result<(), MemoryError> {
        while self.told < end {
            let count = BATCH.min(end.0 - self.told.0);
            self.tell_some(PfnRange { start: self.told, count }, p2m, xen)?;
        }
        Ok(())
    }

    fn tell_some(
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
        let untold =
            refused.and_then(|_| p2m.frames(run).find(|(pfn, mfn)| xen.m2p(*mfn) != Some(*pfn)));
        self.told = untold.map_or(run.end(), |(pfn, _)| pfn);
        self.count += p2m.frames(PfnRange::between(run.start, self.told)).count() as u64;
        match (refused, untold) {
            (Some(error), Some((pfn, _))) => Err(MemoryError::Naming { pfn, error }),
            _ => Ok(()),
        }
    }
}

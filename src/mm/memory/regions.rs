//! Runs of pages that trade their frames for neighbouring low ones, and back.
//!
//! A run is free again only if each of its names has a frame for which Xen's table vouches
//! ([`crate::mm::exchange`]); else it is lost, and the count at the end shows it.
#![expect(unsafe_code, reason = "has Xen clear frames")]

use super::{Memory, MemoryError};
use crate::{
    addr::{DmaMask, Mfn},
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order, Region, ReleaseError},
        exchange::{self, ScatterError},
        p2m::PfnRange,
    },
    xen::errno::XenError,
};

impl Memory<'_> {
    /// Trades the frames of an unmapped run, `2^order` pages, for neighbours within `mask`, and maps them.
    ///
    /// On failure the run has frames as good as it had, and is unmapped, unless the error says that it is lost.
    pub(in crate::mm) fn gather(
        &self,
        run: PfnRange,
        order: Order,
        mask: DmaMask,
    ) -> Result<Region, AcquireError> {
        let mfn = self.trade(run, order, mask)?;
        let mapped = self.map(&mut self.state.lock(), run).and_then(|()| {
            Region::in_direct_map(run.start, mfn, order).ok_or(MemoryError::BeyondWindow(run))
        });
        match mapped {
            Ok(region) => {
                let soiled = self.wipe(run);
                let arrived = &mut self.state.lock().arrived;
                arrived.frames += run.count;
                arrived.soiled += soiled;
                Ok(region)
            }
            Err(MemoryError::StillMapped { error, .. }) => Err(AcquireError::StillMapped(error)),
            Err(error) => {
                // Some may have been mapped, so they go back as empty as if they had been used.
                let _ = self.clear(run);
                let _ = self.trade_back(run, order, mfn)?;
                Err(AcquireError::Mapping(error.xen()))
            }
        }
    }

    /// Undoes [`Memory::gather`]; returns the run, unless it is still mapped somewhere or lost.
    ///
    /// While a mapping remains, Xen would refuse the frames and nobody may reuse them.
    pub(in crate::mm) fn scatter(
        &self,
        region: Region,
    ) -> (Option<PfnRange>, Result<(), ReleaseError>) {
        let (mfn, order) = (region.mfn(), region.order());
        let run = PfnRange { start: region.pfn(), count: order.pages() as u64 };
        let failed = |error| ReleaseError { mfn, order, error };
        self.wipe(run);
        if let Err(error) = self.unmap(run) {
            return (None, Err(failed(error.xen())));
        }
        match exchange::scatter(self.xen, self.p2m, run, order, mfn) {
            Ok(()) => (Some(run), Ok(())),
            Err(ScatterError::Kept(error)) => (Some(run), Err(failed(error))),
            Err(ScatterError::Lost(error)) => (None, Err(failed(error))),
        }
    }

    /// Trades free pages for neighbours within each of `masks`, which get wider, and back at last, without mapping them: what
    /// Xen grants. From the widest to the narrowest, so that what was had for one is either in the next one's reach, too,
    /// and the answer, or not in its way.
    pub fn try_exchanges<const N: usize>(
        &self,
        order: Order,
        masks: [DmaMask; N],
    ) -> Result<Result<[Result<(), XenError>; N], ReleaseError>, AcquireError> {
        let run = self.take_run(order)?;
        let tried = self.trade_in_turn(run, order, masks);
        if tried.as_ref().map_or_else(AcquireError::leaves_pages_free, |_| true) {
            self.free_again(run);
        }
        tried
    }

    fn trade_in_turn<const N: usize>(
        &self,
        run: PfnRange,
        order: Order,
        masks: [DmaMask; N],
    ) -> Result<Result<[Result<(), XenError>; N], ReleaseError>, AcquireError> {
        let mut answers = [Ok(()); N];
        let mut held: Option<Mfn> = None;
        for (answer, mask) in answers.iter_mut().zip(masks).rev() {
            if held.is_some_and(|mfn| mask.covers(mfn.addr(), order.bytes())) {
                continue;
            }
            match self.trade(run, order, mask) {
                Ok(mfn) => held = Some(mfn),
                Err(AcquireError::Refused { error, .. }) => *answer = Err(error),
                Err(error) => return Err(error),
            }
        }
        let Some(mfn) = held else { return Ok(Ok(answers)) };
        let back = self.trade_back(run, order, mfn)?;
        Ok(back.map(|()| answers).map_err(|error| ReleaseError { mfn, order, error }))
    }

    /// [`exchange::gather`], and back again if what came does not fit.
    fn trade(&self, run: PfnRange, order: Order, mask: DmaMask) -> Result<Mfn, AcquireError> {
        let traded = exchange::gather(self.xen, self.p2m, run, order, mask);
        if let Err(AcquireError::Misplaced { mfn, .. }) = traded {
            let _ = self.trade_back(run, order, mfn)?;
        }
        traded
    }

    /// Gives frames back that were never mapped. If Xen refuses, they are as good as RAM, provided that they are ours
    /// whatever its table says: otherwise the run is lost.
    fn trade_back(
        &self,
        run: PfnRange,
        order: Order,
        mfn: Mfn,
    ) -> Result<Result<(), XenError>, AcquireError> {
        match exchange::scatter(self.xen, self.p2m, run, order, mfn) {
            Ok(()) => Ok(Ok(())),
            Err(ScatterError::Kept(error)) if self.clear(run).is_ok() => Ok(Err(error)),
            Err(_) => Err(AcquireError::Lost { order, pfn: run.start }),
        }
    }

    /// Fills free frames with zero, which Xen does to no frame but ours.
    fn clear(&self, run: PfnRange) -> Result<(), XenError> {
        let mut frames = self.p2m.frames(run).map(|(_, mfn)| mfn);
        // SAFETY: the run is free: nobody has anything in it.
        unsafe { self.xen.clear(&mut frames) }
    }

    fn take_run(&self, order: Order) -> Result<PfnRange, AcquireError> {
        let taken = self.take_frames(&mut self.state.lock(), order.pages() as u64);
        taken.map_err(|error| match error {
            MemoryError::NoFreePages { .. } => AcquireError::NoFreePages { pages: order.pages() },
            refused => AcquireError::Mapping(refused.xen()),
        })
    }

    /// Puts back what was taken from the table just now, so that there is room for it again.
    fn free_again(&self, run: PfnRange) {
        let _ = self.state.lock().frames.give(run);
    }
}

impl ContiguousMemory for Memory<'_> {
    fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        let run = self.take_run(order)?;
        self.gather(run, order, mask).inspect_err(|error| {
            if error.leaves_pages_free() {
                self.free_again(run);
            }
        })
    }

    fn release(&self, region: Region) -> Result<(), ReleaseError> {
        let (mfn, order) = (region.mfn(), region.order());
        let (run, released) = self.scatter(region);
        self.state.lock().unreturned.regions += u64::from(released.is_err());
        if let Some(run) = run {
            let given = self.state.lock().frames.give(run);
            given.map_err(|_| ReleaseError { mfn, order, error: XenError::NoSpace })?;
        }
        released
    }
}

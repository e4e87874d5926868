//! `XENMEM_exchange`: scattered frames for neighbouring low ones, and back.
//!
//! The order of steps, for a run of PFNs that nothing maps (Xen takes a frame only at its last reference):
//!
//! ```text
//! gather   exchange 2^n x 1 for 1 x 2^n -> P2M -> [map, wipe]
//! scatter  [wipe, unmap] -> exchange 1 x 2^n for 2^n x 1 -> P2M
//! ```
//!
//! Xen writes the M2P itself. What is given away holds nothing of ours: [`crate::mm::memory`] wipes what was
//! used when it is freed, and what comes before it is used, since frames may come unscrubbed. The P2M's own
//! entries serve as Xen's lists, so no memory is needed: the pool may start before there is a heap.

use crate::{
    addr::{Mfn, Pfn},
    mm::{
        contiguous::{AcquireError, Order},
        p2m::{P2m, PfnRange},
    },
    xen::{
        errno::XenError,
        hypercall::{MemoryCalls, Trade},
    },
};
use core::sync::atomic::{AtomicU64, Ordering};

/// Trades the frames of `run`, `2^order` of them, for neighbours below `2^bits`.
///
/// On failure the run has the frames it had. `Misplaced` names the frame that came instead: then the run
/// has the new frames, and the caller scatters it.
pub fn gather(
    xen: &dyn MemoryCalls,
    p2m: P2m<'_>,
    run: PfnRange,
    order: Order,
    bits: u32,
) -> Result<Mfn, AcquireError> {
    let want = [AtomicU64::new(run.start.0)];
    let trade =
        Trade { give: p2m.slice(run), give_order: 0, want: &want, want_order: order.get(), bits };
    let result = xen.exchange(&trade);
    let base = Mfn(want[0].load(Ordering::Relaxed));
    // Xen may report failure after the swap, when recording the new frame's number failed; the M2P knows.
    if let Err(failure) = result
        && xen.m2p(base) != Some(run.start)
    {
        return Err(AcquireError::Refused { order, bits, error: failure.error });
    }
    for (i, pfn) in (0..).zip(run.iter()) {
        p2m.set(pfn, Mfn(base.0 + i));
    }
    let last = base.0 + run.count - 1;
    if !base.0.is_multiple_of(run.count) || (bits < 64 && Mfn(last).addr().0 >> bits != 0) {
        return Err(AcquireError::Misplaced { order, bits, mfn: base });
    }
    Ok(base)
}

/// Trades the neighbouring frames of `run`, `2^order` from `base`, for frames anywhere.
///
/// Piecewise where need be: a domain that lost its device since is not permitted large orders any more.
/// On failure each PFN has whichever frame Xen says it has.
#[inline(never)]
pub fn scatter(
    xen: &dyn MemoryCalls,
    p2m: P2m<'_>,
    run: PfnRange,
    order: Order,
    base: Mfn,
) -> Result<(), XenError> {
    let (mut piece, mut done) = (order, 0);
    while done < run.count {
        let part = PfnRange { start: Pfn(run.start.0 + done), count: piece.pages() as u64 };
        match scatter_piece(xen, p2m, part, piece, Mfn(base.0 + done)) {
            Ok(()) => done += part.count,
            Err(error @ XenError::NotPermitted) => piece = piece.smaller().ok_or(error)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn scatter_piece(
    xen: &dyn MemoryCalls,
    p2m: P2m<'_>,
    run: PfnRange,
    order: Order,
    base: Mfn,
) -> Result<(), XenError> {
    let give = [AtomicU64::new(base.0)];
    let want = p2m.slice(run);
    for (entry, pfn) in want.iter().zip(run.iter()) {
        entry.store(pfn.0, Ordering::Relaxed);
    }
    let trade = Trade { give: &give, give_order: order.get(), want, want_order: 0, bits: 0 };
    xen.exchange(&trade).map_err(|failure| {
        settle(xen, p2m, run, base);
        failure.error
    })
}

/// After a failed scatter: keeps the new frame where Xen's table confirms it, restores the old elsewhere.
fn settle(xen: &dyn MemoryCalls, p2m: P2m<'_>, run: PfnRange, base: Mfn) {
    for (i, pfn) in (0..).zip(run.iter()) {
        let is_new = p2m.get(pfn).is_some_and(|mfn| mfn != Mfn(pfn.0) && p2m_agrees(xen, mfn, pfn));
        if !is_new {
            p2m.set(pfn, Mfn(base.0 + i));
        }
    }
}

fn p2m_agrees(xen: &dyn MemoryCalls, mfn: Mfn, pfn: Pfn) -> bool {
    xen.m2p(mfn) == Some(pfn)
}

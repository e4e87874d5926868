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
//!
//! What Xen returns, success or not, and how many it says it did, is no proof: it may report failure after the
//! swap, when recording a new frame's number failed. A frame counts as ours where the M2P has our name for it; a
//! name for which neither the new frame nor the old one counts loses its frame, and nobody uses it again.
#![expect(unsafe_code, reason = "trades frames")]

use crate::{
    addr::{DmaMask, Mfn, Pfn},
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

/// Why frames did not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScatterError {
    /// Each name of the run has a frame of ours.
    Kept(XenError),
    /// Some have none any more.
    Lost(XenError),
}

/// Trades the frames of `run`, `2^order` of them, for neighbours within `mask`.
///
/// On failure the run has the frames it had, with two exceptions. `Misplaced` names the frame that came instead:
/// then the run has the new frames, and the caller scatters it. `Lost`: it has none.
pub(super) fn gather(
    xen: &dyn MemoryCalls,
    p2m: P2m<'_>,
    run: PfnRange,
    order: Order,
    mask: DmaMask,
) -> Result<Mfn, AcquireError> {
    let bits = mask.bits();
    let want = [AtomicU64::new(run.start.0)];
    let trade =
        Trade { give: p2m.slice(run), give_order: 0, want: &want, want_order: order.get(), bits };
    // SAFETY: Xen takes only frames that nothing maps, so none that a Rust value lies in.
    let traded = unsafe { xen.exchange(&trade) };
    let word = want[0].load(Ordering::Relaxed);
    let base = Mfn::checked(word);
    let came = base.is_some_and(|base| all_ours(xen, run, |i| base.checked_add(i)));
    let kept = all_ours(xen, run, |i| p2m.get(Pfn(run.start.0 + i)));
    // Untouched, the word is still the name, which is some other frame's number.
    let untouched = word == run.start.0 && kept;
    let Some(base) = base.filter(|_| came && !untouched) else {
        return Err(match traded {
            _ if !kept => {
                run.iter().for_each(|pfn| p2m.clear(pfn));
                AcquireError::Lost { order, pfn: run.start }
            }
            Err(error) => AcquireError::Refused { order, bits, error },
            Ok(()) => AcquireError::Refused { order, bits, error: XenError::BadAddress },
        });
    };
    for (i, pfn) in (0..).zip(run.iter()) {
        base.checked_add(i).into_iter().for_each(|mfn| p2m.set(pfn, mfn));
    }
    if !base.0.is_multiple_of(run.count) || !mask.covers(base.addr(), order.bytes()) {
        return Err(AcquireError::Misplaced { order, bits, mfn: base });
    }
    Ok(base)
}

/// Whether Xen's table has the names of `run` for the frames that `frame` gives by their number in it.
fn all_ours(xen: &dyn MemoryCalls, run: PfnRange, frame: impl Fn(u64) -> Option<Mfn>) -> bool {
    (0..).zip(run.iter()).all(|(i, pfn)| frame(i).is_some_and(|mfn| xen.m2p(mfn) == Some(pfn)))
}

/// Trades the neighbouring frames of `run`, `2^order` from `base`, for frames anywhere.
///
/// Piecewise where need be: a domain that lost its device since is not permitted large orders any more.
/// On failure each PFN has whichever frame Xen says it has.
pub(super) fn scatter(
    xen: &dyn MemoryCalls,
    p2m: P2m<'_>,
    run: PfnRange,
    order: Order,
    base: Mfn,
) -> Result<(), ScatterError> {
    let (mut piece, mut done) = (order, 0);
    while done < run.count {
        let part = PfnRange { start: Pfn(run.start.0 + done), count: piece.pages() as u64 };
        match scatter_piece(xen, p2m, part, piece, Mfn(base.0 + done)) {
            Ok(()) => done += part.count,
            Err(error @ ScatterError::Kept(XenError::NotPermitted)) => {
                piece = piece.smaller().ok_or(error)?;
            }
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
) -> Result<(), ScatterError> {
    let give = [AtomicU64::new(base.0)];
    let want = p2m.slice(run);
    for (entry, pfn) in want.iter().zip(run.iter()) {
        entry.store(pfn.0, Ordering::Relaxed);
    }
    let trade = Trade { give: &give, give_order: order.get(), want, want_order: 0, bits: 0 };
    // SAFETY: as in `gather`.
    let traded = unsafe { xen.exchange(&trade) };
    let Reconciled { kept, lost } = reconcile(xen, p2m, run, base);
    match traded {
        _ if lost => Err(ScatterError::Lost(traded.err().unwrap_or(XenError::BadAddress))),
        Err(error) => Err(ScatterError::Kept(error)),
        Ok(()) if kept => Err(ScatterError::Kept(XenError::BadAddress)),
        Ok(()) => Ok(()),
    }
}

/// What the names of a run have after a scatter.
struct Reconciled {
    /// Some have the frame they had.
    kept: bool,
    /// Some have none.
    lost: bool,
}

/// After a scatter: takes the new frame where Xen's table confirms it, the old one where it has that, else none.
fn reconcile(xen: &dyn MemoryCalls, p2m: P2m<'_>, run: PfnRange, base: Mfn) -> Reconciled {
    let mut reconciled = Reconciled { kept: false, lost: false };
    for (i, pfn) in (0..).zip(run.iter()) {
        let ours = |mfn: &Mfn| xen.m2p(*mfn) == Some(pfn);
        let old = base.checked_add(i).filter(ours);
        // Untouched, the entry is still the name, which is some other frame's number.
        let new = p2m.get(pfn).filter(ours).filter(|mfn| mfn.0 != pfn.0 || old.is_none());
        match (new, old) {
            (Some(_), _) => {}
            (None, Some(old)) => {
                reconciled.kept = true;
                p2m.set(pfn, old);
            }
            (None, None) => {
                reconciled.lost = true;
                p2m.clear(pfn);
            }
        }
    }
    reconciled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xen::hypercall::fake::FakeXen;

    const NAME: Pfn = Pfn(5);
    const OLD: Mfn = Mfn(9);

    /// What a scatter of the one frame `OLD` comes to where the entry says `entry` and Xen's table confirms `confirmed`.
    fn reconciled(entry: u64, confirmed: &[u64]) -> (Option<Mfn>, bool, bool) {
        let entries: [AtomicU64; 6] = [0; 6].map(AtomicU64::new);
        let xen = FakeXen::new(32, &[]);
        confirmed.iter().for_each(|mfn| xen.say(Mfn(*mfn), NAME));
        entries[5].store(entry, Ordering::Relaxed);
        let p2m = P2m::new(&entries);
        let Reconciled { kept, lost } =
            reconcile(&xen, p2m, PfnRange { start: NAME, count: 1 }, OLD);
        (p2m.get(NAME), kept, lost)
    }

    #[test]
    fn a_name_has_the_frame_that_xen_s_table_confirms() {
        assert_eq!(reconciled(7, &[7]), (Some(Mfn(7)), false, false), "a new one");
        assert_eq!(
            reconciled(7, &[7, 9]),
            (Some(Mfn(7)), false, false),
            "the new one before the old"
        );
        assert_eq!(reconciled(7, &[9]), (Some(OLD), true, false), "the new one is not ours");
        assert_eq!(reconciled(5, &[9]), (Some(OLD), true, false), "nothing was traded");
        assert_eq!(reconciled(5, &[5, 9]), (Some(OLD), true, false), "the entry is still the name");
        assert_eq!(
            reconciled(5, &[5]),
            (Some(Mfn(5)), false, false),
            "a frame numbered as its name"
        );
        assert_eq!(reconciled(7, &[]), (None, false, true), "none");
    }
}

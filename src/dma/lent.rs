//! Memory in a device's hands, which only a proof takes back.
//!
//! ```text
//! mapping --Lent::new--> Lent --reported_done--> mapping      the device said that it is through with this piece
//!                         |  \---reclaim-------> mapping      the whole device was seen to stop: DeviceStopped
//!                         drop: kept for good, counted in Stats::in_flight
//! ```
//!
//! A driver holds everything its device was told of as [`Lent`]. A path out of the driver that forgets to stop the
//! device then costs memory, which the report shows; it never hands on memory that the device may still use.

use super::{buffer::Buffer, direction::Writable, mapping::Mapping};
use core::ops::{Deref, Range};

/// A device was seen to stop: it uses no memory until it is started again, which takes this value.
///
/// There are two ways to see it: the device came out of its reset, or its bus mastering reads as off. A third is
/// enough for some memory: who halts a controller may take back what that uses only while it runs, and no more. A
/// device that answers nothing was not seen to stop.
#[derive(Debug)]
pub struct DeviceStopped(());

impl DeviceStopped {
    /// For whoever has just seen it, and for nobody else.
    pub(crate) const fn seen() -> Self {
        Self(())
    }
}

/// A mapping, or shared memory, that a device was told of.
///
/// For what keeps its memory when it is dropped, as both do.
#[derive(Debug)]
#[must_use = "dropping it keeps the memory for good"]
pub struct Lent<T>(T);

impl<T> Lent<T> {
    /// Before the device is told of it.
    #[inline]
    pub const fn new(piece: T) -> Self {
        Self(piece)
    }

    /// The piece, from a device that uses no memory at all.
    pub fn reclaim(self, _: &DeviceStopped) -> T {
        self.0
    }

    /// The piece, from a device that reported to be through with it.
    ///
    /// The report must be one that the device makes after its last access: for a descriptor, the bit that hands it
    /// back.
    #[inline]
    pub fn reported_done(self) -> T {
        self.0
    }
}

impl<D: Writable, B: Buffer<D>> Lent<Mapping<'_, D, B>> {
    /// [`Mapping::rearm`], before the device is told that it may write there once more.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn rearm(&mut self, range: Range<usize>) {
        self.0.rearm(range);
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::DmaMask,
        dma::{Device, FromDevice, Limits, Plan, Policy, Pool, Table, fake::FakeMachine},
    };

    #[test]
    fn what_is_dropped_without_a_proof_is_kept_and_counted() {
        let machine = FakeMachine::default();
        let mut table = Table::new();
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        let device = Device::new(&pool, &machine, Limits::new(DmaMask::BITS_32), Policy::Force);
        let lend = || Lent::new(device.map::<FromDevice, _>(alloc::vec![0; 60]).unwrap());
        lend().reclaim(&DeviceStopped::seen()).abandon();
        lend().reported_done().finish(0).unwrap();
        assert!(pool.stats().is_balanced());
        drop(lend());
        assert!(pool.stats().in_use > 0);
        assert_eq!(pool.stats().in_flight, 1);
    }
}

//! The bounce pool: slots in low, machine-contiguous segments, for devices that can't reach the rest.
//!
//! A [`Pool`] is a table lent to it and a source of memory. It can exist before the heap and before any
//! memory is taken: until it is started, mappings that need it fail with their own reason. All copying
//! happens outside the lock, which is held only for the books.

use super::{
    error::{AdoptError, GrowError},
    layout::Layout,
    run::SLOT_SHIFT,
    segment::{Lease, Origin, SegmentInfo},
    stats::Stats,
    table::{Books, Table},
    want::Want,
};
use crate::{
    addr::{BusAddr, DmaMask},
    mm::contiguous::{AcquireError, ContiguousMemory, Order, Region, ReleaseError},
};
use core::fmt;
use spin::{Mutex, MutexGuard};

/// The bounce pool of a guest.
///
/// Dropping it stops it; see [`Pool::stop`] for what that gives back.
pub struct Pool<'m> {
    table: &'m Mutex<Books>,
    memory: &'m dyn ContiguousMemory,
}

impl fmt::Debug for Pool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What stopping a pool gave back, and what it could not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "what is in use, in flight or stuck is a leak to report"]
pub struct Stopped {
    /// Bytes released to where they came from.
    pub released: usize,
    /// Bytes handed back to whoever handed them in.
    pub handed_back: usize,
    /// Slots still in use: their segments stay.
    pub slots_in_use: usize,
    /// Mappings and shared memory that nobody ended: what the device has of them stays, slots or not.
    pub in_flight: u64,
    /// Bytes whose release failed during this stop.
    pub stuck_bytes: usize,
}

/// Why there was no run of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    NotStarted,
    NoneInReach(SegmentInfo),
    TooLarge,
    Exhausted { wanted: usize, free: usize, largest: usize },
}

impl<'m> Pool<'m> {
    /// A pool without memory, on a table of its own.
    ///
    /// The table may have served another pool: what that one could not give back stays with the device that has
    /// it, and is none of this one's.
    pub fn new(table: &'m mut Table, memory: &'m dyn ContiguousMemory) -> Self {
        table.books.get_mut().open(secret());
        Self { table: &table.books, memory }
    }

    /// Whether the pool has any memory.
    pub fn is_started(&self) -> bool {
        !self.books().is_empty()
    }

    /// The counters as they are now.
    pub fn stats(&self) -> Stats {
        self.books().stats()
    }

    /// Calls `visit` for every segment: what a device may touch, for the evidence report.
    pub fn for_each_segment(&self, visit: &mut dyn FnMut(SegmentInfo)) {
        for index in 0..super::table::MAX_SEGMENTS {
            // Not held while the visitor prints.
            let info = self.books().flushed_info(index);
            info.into_iter().for_each(&mut *visit);
        }
    }

    /// The largest segment a device with this mask can use, in bytes; 0 if there is none.
    pub fn largest_segment(&self, mask: DmaMask) -> usize {
        self.books().largest_segment(mask)
    }

    /// Makes the next bounced mapping, whoever's it is, begin with the slot at `bus`; says whether that is free.
    ///
    /// For walking through the pool on purpose: a driver takes what the pool gives it, which is most often the
    /// slot given back last. If the run doesn't fit there, or the device can't use it there, it is wherever it
    /// would have been, and [`super::Mapping::bus`] tells. A mapping that goes direct leaves the aim as it is.
    ///
    /// ```
    /// # use pvbounce::{addr::DmaMask, dma::*, dma::fake::FakeMachine};
    /// # let xen = FakeMachine::default();
    /// # let mut table = Box::new(Table::new());
    /// # let pool = Pool::new(&mut table, &xen);
    /// # pool.start(&Plan::new(1 << 20), &mut |_| {})?;
    /// # let nic = Device::new(&pool, &xen, Limits::new(DmaMask::BITS_32), Policy::Force);
    /// pool.for_each_segment(&mut |segment| {
    ///     for slot in segment.slots() {
    ///         assert!(pool.aim(slot));
    ///         let mapping = nic.map::<ToDevice, _>(&[0; 1514][..]).unwrap();
    ///         assert_eq!(mapping.bus(), slot);
    ///         mapping.finish(0).unwrap();
    ///     }
    /// });
    /// # Ok::<(), StartError>(())
    /// ```
    pub fn aim(&self, bus: BusAddr) -> bool {
        self.books().aim(bus)
    }

    /// Adds memory the caller already has; [`Pool::stop`] hands it back.
    pub fn adopt(&self, region: Region) -> Result<(), AdoptError> {
        if region.order() > Order::MAX || !is_aligned(&region) {
            return Err(AdoptError::Misaligned(region));
        }
        self.books().add(region, Origin::Adopted).map_err(AdoptError::TableFull)
    }

    /// Adds a segment of `order` below `mask`, also when the pool was not told to grow by itself.
    pub fn grow(&self, order: Order, mask: DmaMask) -> Result<(), GrowError> {
        self.add_acquired(order, mask, Origin::Grown)?;
        self.books().stats.grown += 1;
        Ok(())
    }

    /// Gives back the segments that were added by growing and are idle; returns their bytes.
    pub fn shrink(&self) -> usize {
        let mut bytes = 0;
        loop {
            let idle = self.books().remove_where(|info| info.origin == Origin::Grown);
            let Some((region, _)) = idle else {
                return bytes;
            };
            let len = region.len();
            if self.release(region).is_ok() {
                bytes += len;
            }
            self.books().stats.shrunk += 1;
        }
    }

    /// Gives every idle segment back: acquired ones to the memory, adopted ones to `hand_back`.
    ///
    /// A segment with a slot in use stays, since a device may still be writing to it.
    pub fn stop(&self, hand_back: &mut dyn FnMut(Region)) -> Stopped {
        let mut stopped = Stopped::default();
        self.books().growth = None;
        loop {
            let idle = self.books().remove_where(|_| true);
            let Some((region, origin)) = idle else { break };
            let len = region.len();
            match origin {
                Origin::Adopted => {
                    stopped.handed_back += len;
                    hand_back(region);
                }
                Origin::Started | Origin::Grown => match self.release(region) {
                    Ok(()) => stopped.released += len,
                    Err(_) => stopped.stuck_bytes += len,
                },
            }
        }
        let Stats { in_use, in_flight, .. } = self.stats();
        (stopped.slots_in_use, stopped.in_flight) = (in_use, in_flight);
        stopped
    }

    #[inline]
    pub(super) fn books(&self) -> MutexGuard<'m, Books> {
        self.table.lock()
    }

    /// A region straight from the memory, counted, and of use to a device: whatever the memory says, no slot lies
    /// where its number doesn't.
    pub(super) fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        let region = self.memory.acquire(order, mask)?;
        self.books().stats.acquired += 1;
        let (bits, mfn) = (mask.bits(), region.mfn());
        if region.order() == order && is_aligned(&region) && mask.covers(region.bus(), region.len())
        {
            return Ok(region);
        }
        // Counted as stuck if it fails; there is nothing else to be done about it here.
        let _ = self.release(region);
        Err(AcquireError::Misplaced { order, bits, mfn })
    }

    /// Back to the memory, counted.
    pub(super) fn release(&self, region: Region) -> Result<(), ReleaseError> {
        let len = region.len();
        let released = self.memory.release(region);
        let mut books = self.books();
        match released {
            Ok(()) => books.stats.released += 1,
            Err(_) => books.stats.stuck_bytes += len,
        }
        released
    }

    pub(super) fn add_acquired(
        &self,
        order: Order,
        mask: DmaMask,
        origin: Origin,
    ) -> Result<(), GrowError> {
        if self.books().places_left() == 0 {
            return Err(GrowError::TableFull);
        }
        let region = self.acquire(order.min(Order::MAX), mask)?;
        let added = self.books().add(region, origin);
        added.map_err(|region| {
            // Counted as stuck if it fails; there is nothing else to be done about it here.
            let _ = self.release(region);
            GrowError::TableFull
        })
    }

    /// Counts a mapping that needs no slots.
    pub(super) fn begin_direct(&self) {
        let stats = &mut self.books().stats;
        stats.direct += 1;
        stats.in_flight += 1;
    }

    /// Counts its end.
    pub(super) fn end_direct(&self) {
        self.books().stats.in_flight -= 1;
    }

    /// Ends a bounced mapping of which `copied_back` bytes came back.
    #[inline(always)]
    pub(super) fn end(&self, lease: Lease, copied_back: usize) {
        let mut books = self.books();
        books.give(lease);
        books.stats.in_flight -= 1;
        books.stats.bytes_from_device += copied_back as u64;
    }

    /// A run for a mapping, counted as one of which `to_device` bytes are copied in.
    #[inline(always)]
    pub(super) fn lease(&self, want: Want, to_device: usize) -> Option<Lease> {
        let mut books = self.books();
        let lease = books.take(want)?;
        books.stats.bounces += 1;
        books.stats.in_flight += 1;
        books.stats.bytes_to_device += to_device as u64;
        Some(lease)
    }

    /// As [`Pool::lease`], also for a pool that is full: without guards, or after growing if it may.
    pub(super) fn lease_hard(
        &self,
        guarded: Layout,
        bare: Layout,
        to_device: usize,
    ) -> Result<(Lease, Layout), Shortage> {
        let lease = |layout: Layout| Some((self.lease(layout.want, to_device)?, layout));
        let found = lease(guarded).or_else(|| lease(bare));
        let found = found.or_else(|| {
            self.grow_for(bare.want).then(|| lease(guarded).or_else(|| lease(bare))).flatten()
        });
        found.ok_or_else(|| self.shortage(bare.want))
    }

    /// A run of whole slots for memory that CPU and device share.
    pub(super) fn lease_run(&self, want: Want) -> Option<Lease> {
        let mut books = self.books();
        let lease = books.take(want)?;
        books.stats.in_flight += 1;
        Some(lease)
    }

    /// A region for memory that CPU and device share, where the pool has no run.
    pub(super) fn acquire_shared(
        &self,
        order: Order,
        mask: DmaMask,
    ) -> Result<Region, AcquireError> {
        let region = self.acquire(order, mask)?;
        self.books().stats.in_flight += 1;
        Ok(region)
    }

    /// Gives it back.
    pub(super) fn release_shared(&self, region: Region) -> Result<(), ReleaseError> {
        self.end_direct();
        self.release(region)
    }

    /// Adds a segment large enough for `layout`, if the pool may grow and there is memory.
    fn grow_for(&self, want: Want) -> bool {
        let Some(preferred) = self.books().growth else {
            return false;
        };
        let Some(least) = Order::holding(want.least() << SLOT_SHIFT) else {
            return false;
        };
        let mut order = preferred.max(least);
        loop {
            if self.grow(order, want.mask()).is_ok() {
                return true;
            }
            match order.smaller().filter(|&smaller| smaller >= least) {
                Some(smaller) => order = smaller,
                None => return false,
            }
        }
    }

    fn shortage(&self, want: Want) -> Shortage {
        let (mut books, mask) = (self.books(), want.mask());
        let Some(lowest) = books.lowest() else {
            return Shortage::NotStarted;
        };
        let largest_segment = books.largest_segment(mask);
        if largest_segment == 0 {
            return Shortage::NoneInReach(lowest);
        }
        if want.len() > largest_segment {
            return Shortage::TooLarge;
        }
        let (free, largest) = books.free_below(mask);
        Shortage::Exhausted { wanted: want.count(), free, largest }
    }
}

/// Whether a region starts at a multiple of its size.
const fn is_aligned(region: &Region) -> bool {
    region.mfn().0.is_multiple_of(region.order().pages() as u64)
}

/// A number that a sender on the network, who could put it into a frame, does not know; odd.
#[cfg(target_os = "none")]
fn secret() -> u64 {
    crate::arch::time::tsc() | 1
}

/// Nobody sends anything here, and a test that fails should fail again.
#[cfg(not(target_os = "none"))]
const fn secret() -> u64 {
    0x9e37_79b9_7f4a_7c15
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        // What could not be given back is in the table's counters, and there is nobody to tell.
        let _ = self.stop(&mut drop::<Region>);
    }
}

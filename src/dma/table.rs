//! The pool's books: up to 64 segments, which of them can serve a request, and the counters.
//!
//! ```text
//! fits[k]    bit s: segment s has a free block of at least 2^k slots
//! reach[b]   bit s: segment s lies below 2^b
//! candidates = fits[order] & reach[mask bits]        one AND, whatever the fill level
//! ```
//!
//! Among the candidates the table spares the lowest memory: a segment that a 24-, 28- or 30-bit device
//! could use serves a wider device only when nothing else does.

use super::{
    run::SLOT_SIZE,
    segment::{Lease, Origin, Segment, SegmentInfo},
    slots::ORDERS,
    stats::Stats,
    want::Want,
};
use crate::{
    addr::{BusAddr, DmaMask},
    mm::contiguous::{Order, Region},
};
use spin::Mutex;

/// The most segments a pool can have.
pub const MAX_SEGMENTS: usize = 64;

/// Runs kept at hand.
const CACHED: usize = 4;

/// Widths below which memory is spared for devices that reach no further.
const SPARED_BITS: [u32; 3] = [30, 28, 24];

/// The storage of a pool: all zero when new, so a static one lies in `.bss` (some 300 KiB).
///
/// A static one is lent to its only pool by leaking the guard of a lock:
///
/// ```
/// # use pvbounce::dma::Table;
/// static TABLE: spin::Mutex<Table> = spin::Mutex::new(Table::new());
/// let table: &'static mut Table = spin::MutexGuard::leak(TABLE.lock());
/// ```
#[derive(Debug)]
pub struct Table {
    pub(super) books: Mutex<Books>,
}

impl Table {
    /// An empty table.
    pub const fn new() -> Self {
        // Put together at run time it would pass over the stack several times.
        const { Self { books: Mutex::new(Books::NEW) } }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// Segments and counters, under the table's lock.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) stats: Stats,
    /// The order by which a full pool grows; `None` if it doesn't.
    pub(super) growth: Option<Order>,
    filled: u64,
    fits: [u64; ORDERS],
    /// Runs given back whole, one for each remainder of the length: the next request is most often for the
    /// same. To the slots they are in use, to the counters not.
    cached: [Option<Lease>; CACHED],
    /// Where the next run is to begin.
    aim: Option<BusAddr>,
    /// What the words of runs are made from.
    secret: u64,
    /// Slots in use above which a water mark moves.
    peak: usize,
    /// How many of `fits` have the segment's bit.
    fits_up_to: [u8; MAX_SEGMENTS],
    reach: [u64; 65],
    segments: [Segment; MAX_SEGMENTS],
}

impl Books {
    const NEW: Self = Self {
        stats: Stats::NONE,
        growth: None,
        filled: 0,
        fits: [0; ORDERS],
        cached: [const { None }; CACHED],
        aim: None,
        secret: 0,
        peak: 0,
        fits_up_to: [0; MAX_SEGMENTS],
        reach: [0; 65],
        segments: [const { Segment::EMPTY }; MAX_SEGMENTS],
    };

    /// Empties the books for a new pool; segments that an earlier one left, since a device had slots of theirs, are
    /// left to the device. `secret` is a number that nobody outside can guess.
    pub(super) fn open(&mut self, secret: u64) {
        let filled = self.filled;
        for index in (0..MAX_SEGMENTS).filter(|index| filled >> index & 1 != 0) {
            self.segments[index].disown();
        }
        (self.stats, self.growth, self.secret) = (Stats::NONE, None, secret);
        (self.filled, self.fits, self.fits_up_to) = (0, [0; ORDERS], [0; MAX_SEGMENTS]);
        (self.cached, self.aim, self.peak) = ([const { None }; CACHED], None, 0);
        self.reach = [0; 65];
    }

    /// The counters.
    pub(super) const fn stats(&self) -> Stats {
        Stats { maps: self.stats.bounces + self.stats.direct, ..self.stats }
    }

    /// Whether there is any segment.
    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// How many more segments there can be.
    pub(super) const fn places_left(&self) -> usize {
        self.filled.count_zeros() as usize
    }

    /// Adds a region; gives it back when all places are taken.
    pub(super) fn add(&mut self, region: Region, origin: Origin) -> Result<(), Region> {
        let index = self.filled.trailing_ones() as usize;
        if index == MAX_SEGMENTS {
            return Err(region);
        }
        let bits = bits_needed(&region) as usize;
        self.stats.segments += 1;
        self.stats.bytes += region.len();
        self.stats.slots += region.len() / SLOT_SIZE;
        if self.stats.in_use == 0 {
            self.stats.low_water = self.stats.slots;
        }
        self.set_peak();
        self.segments[index].fill(region, origin);
        self.filled |= 1 << index;
        self.reach[bits..].iter_mut().for_each(|set| *set |= 1 << index);
        self.update_fits(index);
        Ok(())
    }

    /// Takes out the region at `index`, unless a slot of it is in use.
    fn remove(&mut self, index: usize) -> Option<Region> {
        let region = self.segments[index].empty()?;
        self.stats.segments -= 1;
        self.stats.bytes -= region.len();
        self.stats.slots -= region.len() / SLOT_SIZE;
        self.set_peak();
        self.filled &= !(1 << index);
        self.reach.iter_mut().for_each(|set| *set &= !(1 << index));
        self.update_fits(index);
        Some(region)
    }

    /// Takes out the first region that `wanted` says yes to and that has no slot in use.
    pub(super) fn remove_where(
        &mut self,
        wanted: impl Fn(&SegmentInfo) -> bool,
    ) -> Option<(Region, Origin)> {
        self.flush();
        (0..MAX_SEGMENTS).find_map(|index| {
            let origin = self.info(index).filter(|info| wanted(info))?.origin;
            Some((self.remove(index)?, origin))
        })
    }

    /// Takes a run of slots.
    #[inline(always)]
    pub(super) fn take(&mut self, want: Want) -> Option<Lease> {
        let count = want.count();
        let cached = &mut self.cached[count % CACHED];
        let lease = match cached {
            Some(lease) if lease.want() == want && self.aim.is_none() => cached.take()?,
            _ => self.take_cold(want)?,
        };
        self.stats.in_use += count;
        if self.stats.in_use > self.peak {
            self.move_water_marks();
        }
        // A step of a generator by multiplication: each number comes once in 2^62 steps.
        self.secret = self.secret.wrapping_mul(0xd134_2543_de82_ef95);
        Some(lease.with_word(self.secret ^ self.secret >> 32))
    }

    fn take_cold(&mut self, want: Want) -> Option<Lease> {
        let aimed = self.aim.take().and_then(|bus| self.take_at(want, bus));
        let lease = aimed.or_else(|| self.take_anywhere(want))?;
        self.update_fits(lease.segment());
        // The choice was by slot and segment, so this holds; an address that a device must not be given would be
        // worse than none.
        if want.admits_bus(lease.bus()) {
            return Some(lease);
        }
        self.give_uncached(lease);
        None
    }

    /// The next run is to begin at `bus`, wherever it would otherwise; says whether that slot is free.
    pub(super) fn aim(&mut self, bus: BusAddr) -> bool {
        self.flush();
        self.aim = Some(bus);
        let slots = self.segment_of(bus).map(|index| {
            self.segments[index].coalesce();
            self.update_fits(index);
            self.segments[index].is_free_at(bus)
        });
        slots.unwrap_or(false)
    }

    /// The segment with that slot in it.
    fn segment_of(&self, bus: BusAddr) -> Option<usize> {
        (0..MAX_SEGMENTS).find(|&index| self.info(index).is_some_and(|info| info.holds(bus)))
    }

    /// Takes the run that begins at `bus`, if it does and its slots are free.
    fn take_at(&mut self, want: Want, bus: BusAddr) -> Option<Lease> {
        self.flush();
        let index = self.segment_of(bus)?;
        let lease = self.segments[index].take_at(index, want, bus);
        self.update_fits(index);
        lease
    }

    fn take_anywhere(&mut self, want: Want) -> Option<Lease> {
        let mut candidates = self.candidates(want);
        if candidates == 0 {
            self.coalesce(want.bits());
            candidates = self.candidates(want);
        }
        if candidates == 0 {
            // Blocks that are not all free are in no index.
            candidates = self.reach[want.bits() as usize];
        }
        self.take_from(candidates, want)
    }

    /// Takes a run from the first of the candidates that has one, the lowest memory last.
    fn take_from(&mut self, mut candidates: u64, want: Want) -> Option<Lease> {
        while candidates != 0 {
            let index = self.sparing(candidates, want.bits()).trailing_zeros() as usize;
            if let Some(lease) = self.segments[index].take(index, want) {
                return Some(lease);
            }
            candidates &= !(1 << index);
        }
        None
    }

    fn candidates(&self, want: Want) -> u64 {
        let fits = self.fits.get(want.order()).copied().unwrap_or(0);
        fits & self.reach[want.bits() as usize]
    }

    /// Moves the water marks to where the water is.
    fn move_water_marks(&mut self) {
        let Stats { in_use, slots, .. } = self.stats;
        self.stats.high_water = self.stats.high_water.max(in_use);
        self.stats.low_water = self.stats.low_water.min(slots.saturating_sub(in_use));
        self.set_peak();
    }

    /// Notes from where on a water mark moves.
    fn set_peak(&mut self) {
        let Stats { high_water, low_water, slots, .. } = self.stats;
        self.peak = high_water.min(slots.saturating_sub(low_water));
    }

    /// Joins what was put aside in all segments below a width.
    fn coalesce(&mut self, bits: u32) {
        self.flush();
        let reach = self.reach[bits as usize];
        for index in (0..MAX_SEGMENTS).filter(|index| reach >> index & 1 != 0) {
            self.segments[index].coalesce();
            self.update_fits(index);
        }
    }

    /// Gives slots back.
    #[inline(always)]
    pub(super) fn give(&mut self, lease: Lease) {
        let count = lease.want().count();
        self.stats.in_use -= count;
        if self.cached[count % CACHED].is_some() {
            self.evict(count % CACHED);
        }
        self.cached[count % CACHED] = Some(lease);
    }

    /// Gives a run kept at hand to its segment.
    fn evict(&mut self, place: usize) {
        let lease = self.cached[place].take();
        lease.into_iter().for_each(|lease| self.give_uncached(lease));
    }

    fn give_uncached(&mut self, lease: Lease) {
        let index = lease.segment();
        if self.segments[index].give(lease).is_err() {
            self.stats.bad_frees += 1;
        }
        self.update_fits(index);
    }

    /// Gives the runs kept at hand to their segments.
    fn flush(&mut self) {
        (0..CACHED).for_each(|place| self.evict(place));
    }

    /// The largest segment below the mask, in bytes.
    pub(super) fn largest_segment(&self, mask: DmaMask) -> usize {
        let sizes =
            self.infos().filter(|info| mask.covers(info.bus, info.len)).map(|info| info.len);
        sizes.max().unwrap_or(0)
    }

    /// Free slots below the mask, and those of the largest free block.
    pub(super) fn free_below(&mut self, mask: DmaMask) -> (usize, usize) {
        self.flush();
        let reach = self.reach[mask.bits() as usize];
        let within = || self.segments.iter().enumerate().filter(move |(i, _)| reach >> i & 1 != 0);
        let free = within().map(|(_, s)| s.slots().total() - s.slots().in_use()).sum();
        let block = within().filter_map(|(_, s)| s.slots().largest()).max();
        (free, block.map_or(0, |order| 1 << order))
    }

    /// The lowest segment, the best there is for a narrow device.
    pub(super) fn lowest(&self) -> Option<SegmentInfo> {
        self.infos().min_by_key(|info| info.bus)
    }

    /// Every segment.
    fn infos(&self) -> impl Iterator<Item = SegmentInfo> {
        (0..MAX_SEGMENTS).filter_map(|index| self.info(index))
    }

    /// The segment at `index` with no run kept at hand.
    pub(super) fn flushed_info(&mut self, index: usize) -> Option<SegmentInfo> {
        self.flush();
        self.info(index)
    }

    /// The segment at `index`, if there is one.
    fn info(&self, index: usize) -> Option<SegmentInfo> {
        let segment = &self.segments[index];
        let region = segment.region()?;
        Some(SegmentInfo {
            bus: region.bus(),
            len: region.len(),
            origin: segment.origin(),
            in_use: segment.slots().in_use(),
        })
    }

    /// Those candidates that no narrower device could use, if there are any.
    #[inline]
    fn sparing(&self, candidates: u64, bits: u32) -> u64 {
        for spared in SPARED_BITS {
            let set = candidates & !self.reach[spared as usize];
            if spared < bits && set != 0 {
                return set;
            }
        }
        candidates
    }

    /// Brings `fits` up to date for one segment.
    #[inline]
    fn update_fits(&mut self, index: usize) {
        let have = self.segments[index].slots().largest().map_or(0, |order| order + 1);
        let (bit, had) = (1 << index, self.fits_up_to[index] as usize);
        if have == had {
            return;
        }
        self.fits[have.min(had)..have.max(had)].iter_mut().for_each(|set| *set ^= bit);
        #[expect(clippy::cast_possible_truncation, reason = "at most ORDERS")]
        {
            self.fits_up_to[index] = have as u8;
        }
    }
}

/// The address lines a device needs to reach all of a region.
const fn bits_needed(region: &Region) -> u32 {
    let last = region.bus().0 + (region.len() as u64 - 1);
    u64::BITS - last.leading_zeros()
}

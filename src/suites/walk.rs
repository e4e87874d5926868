//! Which slots of the pool a walk goes to, and how much of the pool it has seen.
//!
//! A pool in which one mapping follows the other hands out the same slot each time, so a wrong frame or a missing
//! IOMMU entry anywhere else stays unseen. The walk goes to the first and the last slot of each segment, and to
//! every one in between as long as there are not too many; else to as many as may be, evenly spread.

use crate::{
    addr::BusAddr,
    device::Stops,
    dma::{SegmentInfo, run::SLOT_SIZE},
    report::ktap::PoolWalk,
};
use alloc::vec::Vec;

/// A walk through the slots of a pool.
#[derive(Clone, Debug)]
pub struct Walk {
    missed: usize,
    legs: Vec<Leg>,
}

/// A segment on the way.
#[derive(Clone, Copy, Debug)]
struct Leg {
    start: BusAddr,
    slots: usize,
    stops: Stops,
    seen: usize,
}

impl Leg {
    /// The number of the slot that starts at `bus`.
    fn slot_at(&self, bus: BusAddr) -> Option<usize> {
        let (slot, behind) = self.slot_of(bus)?;
        (behind == 0).then_some(slot)
    }

    /// The number of the slot that `bus` is in, and how far behind its start.
    fn slot_of(&self, bus: BusAddr) -> Option<(usize, usize)> {
        let offset = usize::try_from(bus.0.checked_sub(self.start.0)?).ok()?;
        let slot = offset / SLOT_SIZE;
        (slot < self.slots).then_some((slot, offset % SLOT_SIZE))
    }
}

impl Walk {
    /// A walk through these segments that goes to `most` slots; to a few more where several have to share them.
    pub fn new(segments: &[SegmentInfo], most: usize) -> Self {
        let all = segments.iter().map(|info| info.len / SLOT_SIZE).sum::<usize>().max(1);
        let leg = |info: &SegmentInfo| {
            let slots = info.len / SLOT_SIZE;
            let stops = Stops::new(slots, (slots * most.min(all)).div_ceil(all));
            Leg { start: info.bus, slots, stops, seen: 0 }
        };
        Self { missed: 0, legs: segments.iter().map(leg).collect() }
    }

    /// Whether the slot that starts at `bus` is one to go to.
    pub fn wants(&self, bus: BusAddr) -> bool {
        self.legs.iter().any(|leg| leg.slot_at(bus).is_some_and(|slot| leg.stops.contains(slot)))
    }

    /// A frame that was to go through the slot at `wanted` went through `bus`. Each is wanted once.
    ///
    /// What a device writes starts behind guard bytes: anywhere in the slot will do.
    pub fn went(&mut self, wanted: BusAddr, bus: BusAddr) {
        let same = |leg: &&mut Leg| {
            let slot = leg.slot_of(bus).map(|(slot, _)| slot);
            slot.is_some() && slot == leg.slot_at(wanted)
        };
        match self.legs.iter_mut().find(same) {
            Some(leg) => leg.seen += 1,
            None => self.missed += 1,
        }
    }

    /// Slots that frames did not go through although they were to: those that somebody else has.
    pub const fn missed(&self) -> usize {
        self.missed
    }

    /// Whether so many slots that somebody else has explain that: each stands in the way of its whole run, of so many slots.
    pub const fn is_explained(&self, taken: usize, run: usize) -> bool {
        self.missed <= taken * run
    }

    /// How far it has come.
    pub fn seen(&self) -> PoolWalk {
        let sum = |count: fn(&Leg) -> usize| self.legs.iter().map(count).sum::<usize>() as u64;
        PoolWalk {
            slots: sum(|leg| leg.seen),
            all_slots: sum(|leg| leg.slots),
            segments: sum(|leg| usize::from(leg.seen > 0)),
            all_segments: self.legs.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Origin;

    fn segment(bus: u64, slots: usize) -> SegmentInfo {
        let len = slots * SLOT_SIZE;
        SegmentInfo { bus: BusAddr(bus), len, origin: Origin::Started, in_use: 0 }
    }

    fn slots(bus: u64, count: usize) -> impl Iterator<Item = BusAddr> {
        (0..count).map(move |slot| BusAddr(bus + (slot * SLOT_SIZE) as u64))
    }

    #[test]
    fn a_small_pool_is_walked_slot_by_slot() {
        let mut walk = Walk::new(&[segment(0x10_0000, 512)], 512);
        assert!(slots(0x10_0000, 512).all(|bus| walk.wants(bus)));
        slots(0x10_0000, 512).for_each(|bus| walk.went(bus, bus));
        let seen = PoolWalk { slots: 512, all_slots: 512, segments: 1, all_segments: 1 };
        assert_eq!(walk.seen(), seen);
        let behind = BusAddr(0x10_0000 + 512 * SLOT_SIZE as u64);
        walk.went(behind, behind);
        assert_eq!((walk.seen(), walk.missed()), (seen, 1), "no slot of the segment's");
        let untouched = Walk::new(&[segment(0x10_0000, 512)], 512).seen();
        assert_eq!(untouched, PoolWalk { slots: 0, segments: 0, ..seen });
    }

    #[test]
    fn of_a_large_one_first_last_and_some_between_of_each_segment() {
        let parts = [segment(0x100_0000, 8192), segment(0x800_0000, 512)];
        let walk = Walk::new(&parts, 1024);
        for (bus, count) in [(0x100_0000, 8192), (0x800_0000, 512)] {
            let wanted: Vec<_> = slots(bus, count).filter(|bus| walk.wants(*bus)).collect();
            assert_eq!(wanted.first().copied(), slots(bus, count).next());
            assert_eq!(wanted.last().copied(), slots(bus, count).last());
            let halves = wanted.iter().filter(|bus| bus.page_offset() == 0).count();
            assert!((count / 20..count / 16).contains(&halves), "{halves} of {count}");
            assert!((count / 10..count / 8).contains(&wanted.len()), "{}", wanted.len());
        }
    }

    #[test]
    fn a_walk_is_as_long_as_asked_for_whatever_the_pool() {
        for mib in [1, 2, 3, 5, 16, 64] {
            let parts: Vec<_> = (1..).take(mib).map(|n| segment(n << 24, 512)).collect();
            for parts in [&parts[..], &[segment(1 << 30, mib * 512)]] {
                let walk = Walk::new(parts, 500);
                let all = parts.iter().flat_map(SegmentInfo::slots);
                let wanted = all.filter(|slot| walk.wants(*slot)).count();
                assert!((500..500 + 2 * parts.len()).contains(&wanted), "{mib} MiB: {wanted}");
            }
        }
    }

    #[test]
    fn what_nobody_went_to_does_not_count() {
        let mut walk = Walk::new(&[segment(0x10_0000, 16), segment(0x20_0000, 16)], 64);
        walk.went(BusAddr(0x20_0800), BusAddr(0x20_0800));
        walk.went(BusAddr(0x10_0000), BusAddr(0x20_0000));
        walk.went(BusAddr(0x30_0000), BusAddr(0x30_0000));
        // Behind a guard, and in the next slot.
        walk.went(BusAddr(0x10_1000), BusAddr(0x10_1040));
        walk.went(BusAddr(0x10_1000), BusAddr(0x10_1800));
        assert_eq!(walk.missed(), 3);
        assert!(walk.is_explained(3, 1) && !walk.is_explained(2, 1));
        assert!(
            walk.is_explained(2, 2) && !walk.is_explained(1, 2),
            "half a page, and the other half"
        );
        let seen = PoolWalk { slots: 2, all_slots: 32, segments: 2, all_segments: 2 };
        assert_eq!(walk.seen(), seen);
    }

    #[test]
    fn what_starts_no_slot_is_not_wanted() {
        let walk = Walk::new(&[segment(0x10_0000, 16)], 64);
        for bus in [0x10_0001, 0x0f_f800, 0x10_8000] {
            assert!(!walk.wants(BusAddr(bus)), "{bus:#x}");
        }
    }
}

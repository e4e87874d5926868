//! Segments of which a part is taken, and what is done to them.

use pvbounce::{
    dma::{Want, run::Run, slots::Slots},
    mm::contiguous::Order,
};
use std::{hint::black_box, iter::from_fn};

/// Lengths of runs that are alive at once, in slots.
pub(crate) const MIXED: [usize; 8] = [1, 3, 2, 1, 9, 1, 4, 2];

/// Segments of which `full` per cent is taken, in runs of several lengths, with scattered holes.
pub(crate) struct Pool {
    pub(crate) segments: Vec<Segment>,
}

impl Pool {
    pub(crate) fn new(order: u8, segments: usize, full: usize) -> Self {
        let order = Order::new(order).unwrap();
        Self { segments: (0..segments).map(|_| Segment::new(order, full)).collect() }
    }

    /// Takes and gives each of the lengths in every segment in turn.
    pub(crate) fn round<const N: usize>(&mut self, lengths: [usize; N]) {
        for Segment { slots, .. } in &mut self.segments {
            let runs = lengths.map(|length| take(slots, length));
            black_box(runs).into_iter().flatten().for_each(|run| slots.give(run).unwrap());
        }
    }
}

fn take(slots: &mut Slots, count: usize) -> Option<Run> {
    slots.take(Want::slots(count)?)
}

pub(crate) struct Segment {
    slots: Slots,
    taken: Vec<Run>,
    wanted: usize,
    random: u64,
}

impl Segment {
    fn new(order: Order, full: usize) -> Self {
        let mut slots = Slots::NONE;
        slots.reset(order);
        let mut lengths = MIXED.into_iter().cycle();
        let taken = from_fn(|| take(&mut slots, lengths.next()?)).collect();
        let wanted = slots.total() * full / 100;
        let mut new = Self { slots, taken, wanted, random: 1 };
        new.give_some();
        new
    }

    fn random(&mut self) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.random >> 33).unwrap()
    }

    /// Gives back whichever runs until no more are taken than wanted.
    fn give_some(&mut self) {
        while self.slots.in_use() > self.wanted {
            let index = self.random() % self.taken.len();
            self.slots.give(self.taken.swap_remove(index)).unwrap();
        }
    }

    /// Takes a run of one of the lengths, and gives back as much.
    pub(crate) fn churn(&mut self) {
        let length = MIXED[self.random() % MIXED.len()];
        self.taken.extend(take(&mut self.slots, length));
        self.give_some();
    }
}

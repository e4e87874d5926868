//! Devices that move bytes on command, which is all that a test of DMA needs of one.

use super::{driver::Driver, evidence::Sent};
use crate::{
    dma::Source,
    report::{Outcome, Reason},
};
use alloc::vec::Vec;
use core::time::Duration;

/// A device that reads bytes from memory and writes the same bytes elsewhere, or that answers in memory what it is asked
/// there: its driver then says which bytes the answers show to have been read.
///
/// The two halves are calls of their own, so that the caller can wait between them as it likes: by interrupt, or by
/// looking. An error is an [`Outcome`], since who is at fault depends on the kind of device: a network card without a
/// link is not broken.
pub trait Mover: Driver {
    /// What it can be asked to move in one transfer.
    fn lengths(&self) -> Lengths;

    /// Why it only ever writes to memory, if that is so: [`Mover::send`] then has it write the same bytes to where they lie.
    fn one_way(&self) -> Option<Reason> {
        None
    }

    /// Why it can be had to read nothing but what [`Mover::fill`] made, if that is so: it compares or obeys what it reads.
    fn only_filled(&self) -> Option<Reason> {
        None
    }

    /// Readies the device for transfers whose bytes stay inside it: a network card goes into loopback.
    fn prepare(&mut self) -> Result<(), Outcome>;

    /// Fills `bytes` with something that the device can bring back, another for each `seed`.
    ///
    /// A pattern where the device takes any bytes; what its medium holds where it may write to none; what asks it for something
    /// where it only answers.
    fn fill(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), Outcome>;

    /// Has the device read `bytes` from right where they lie, and returns their memory once it has let go of them.
    ///
    /// Their length is one of [`Mover::lengths`], and [`Mover::fill`] filled them, unless the device takes any. After an error
    /// the memory is free again, or stays with a device that was not seen to stop. A page that the device is tried on is
    /// refused where it would write there.
    fn send(&mut self, bytes: Source) -> Result<(Sent, Source), Outcome>;

    /// Looks once for what the device wrote to memory of what it was `sent`, or for what its answers show of that; `back` grows
    /// to hold it.
    fn fetch(&mut self, sent: &[u8], back: &mut Vec<u8>) -> Result<Arrival, Outcome>;

    /// Why nothing came back of a transfer, as far as the device or its driver knows.
    fn missing(&self, sent: &Sent) -> Outcome;

    /// How long bytes may take to come back from a device that works.
    fn patience(&self) -> Duration;

    /// How many transfers a long series has at most: fewer where each takes the device long.
    fn series(&self) -> usize {
        usize::MAX
    }
}

/// How many bytes a device moves in one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// At least.
    pub min: usize,
    /// At most.
    pub max: usize,
    /// `min` plus any multiple of this.
    pub step: usize,
}

impl Lengths {
    /// All of them, the shortest first, or `most` of them with both ends.
    pub fn up_to(self, most: usize) -> impl Iterator<Item = usize> {
        let Self { min, max, step, .. } = self;
        Stops::new((max - min) / step + 1, most).iter().map(move |i| min + i * step)
    }

    /// The longest that is not longer than `len`; the shortest if none is that short.
    pub const fn near(self, len: usize) -> usize {
        let len = if len > self.max { self.max } else { len };
        self.min + len.saturating_sub(self.min) / self.step * self.step
    }
}

/// Places in a row that is too long to go to all of them: as many as may be, evenly spread, and both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stops {
    last: usize,
    gaps: usize,
}

impl Stops {
    /// Of `count` places `most`, two at least; all if there are no more.
    pub const fn new(count: usize, most: usize) -> Self {
        let last = count.saturating_sub(1);
        let gaps = if most < 2 { 1 } else { most - 1 };
        Self { last, gaps: if gaps < last { gaps } else { last } }
    }

    /// How many they are.
    pub const fn count(self) -> usize {
        self.gaps + 1
    }

    /// The places, the first first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..=self.gaps).map(move |stop| self.place(stop))
    }

    /// Whether `place` is one of them.
    pub fn contains(self, place: usize) -> bool {
        let stop = (place * self.gaps).div_ceil(self.last.max(1));
        stop <= self.gaps && self.place(stop) == place
    }

    fn place(self, stop: usize) -> usize {
        stop * self.last / self.gaps.max(1)
    }
}

/// What [`Mover::fetch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing yet.
    Nothing,
    /// Something else, which was dropped; there may be more.
    Other,
    /// The first so many bytes of the buffer.
    Back(usize),
}

impl Arrival {
    /// These bytes, at the start of a buffer that grows to hold them.
    pub fn of(bytes: &[u8], back: &mut Vec<u8>) -> Self {
        back.resize(back.len().max(bytes.len()), 0);
        back[..bytes.len()].copy_from_slice(bytes);
        Self::Back(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_walked_with_their_ends_and_not_more_than_asked_for() {
        let frames = Lengths { min: 60, max: 1514, step: 1 };
        assert!(frames.up_to(2000).eq(60..=1514));
        let some: Vec<_> = frames.up_to(100).collect();
        assert_eq!((some.len(), some[0], some[99]), (100, 60, 1514));
        let blocks = Lengths { min: 512, max: 4096, step: 512 };
        assert_eq!(blocks.up_to(3).collect::<Vec<_>>(), [512, 2048, 4096]);
        let one = Lengths { min: 16, max: 16, step: 1 };
        assert_eq!(one.up_to(0).collect::<Vec<_>>(), [16]);
    }

    #[test]
    fn stops_are_as_many_as_asked_for_and_evenly_spread() {
        for (count, most) in [(1, 1), (1, 0), (2, 1), (7, 7), (8, 7), (512, 500), (1024, 500)] {
            let stops = Stops::new(count, most);
            let all: Vec<_> = stops.iter().collect();
            assert_eq!(all.len(), most.max(2).min(count), "{count}, {most}");
            assert_eq!((stops.count(), all[0], all[all.len() - 1]), (all.len(), 0, count - 1));
            let gaps: Vec<_> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, widest) = (gaps.iter().min(), gaps.iter().max());
            assert!(least.zip(widest).is_none_or(|(a, b)| *a > 0 && b - a <= 1), "{gaps:?}");
            assert!((0..count + 2).filter(|place| stops.contains(*place)).eq(all));
        }
    }

    #[test]
    fn a_length_that_can_not_be_becomes_the_next_shorter_that_can() {
        let blocks = Lengths { min: 512, max: 4096, step: 512 };
        for (asked, given) in [(0, 512), (512, 512), (777, 512), (1024, 1024), (9999, 4096)] {
            assert_eq!(blocks.near(asked), given);
        }
    }

    #[test]
    fn bytes_that_came_are_at_the_start_of_a_buffer_that_only_grows() {
        let mut back = Vec::from([1]);
        assert_eq!(
            (Arrival::of(&[7, 8, 9], &mut back), &back[..]),
            (Arrival::Back(3), &[7, 8, 9][..])
        );
        assert_eq!((Arrival::of(&[4], &mut back), &back[..]), (Arrival::Back(1), &[4, 8, 9][..]));
    }
}

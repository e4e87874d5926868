//! A split virtqueue (virtio 1.2, section 2.7), for chips whose rings are one each.
//!
//! ```text
//! 0                  1 KiB               1280                2 KiB
//! | descriptors      | available ring    | used ring  | header |      half of the page that device and CPU share
//! ```
//! The driver lists the descriptors it offers in the available ring, the device those that it is through with in the used
//! ring, in any order. What the device lists is read once, counts only for a descriptor that it has, and is kept until
//! its turn. After one that it has not, nothing it lists means anything.

use super::chip::{BUFFER, DESCRIPTOR, Descriptor, RECEIVE, TRANSMIT};
use crate::{
    addr::{BusAddr, to_usize},
    arch::volatile,
    dma::Coherent,
};

/// Descriptors in each queue.
pub const LEN: u16 = 64;
/// Where the available ring is, from the descriptors.
pub const AVAILABLE: usize = 1024;
/// Where the used ring is, from the descriptors.
pub const USED: usize = 1280;
/// Where the transmit queue has the header of all its frames.
const HEADER_AT: usize = 1920;
/// Bytes before each frame: `struct virtio_net_hdr` (section 5.1.6), all zeros for a frame as it is.
pub const HEADER: usize = 12;

const SLOTS: usize = LEN as usize;
const _: () = assert!(RECEIVE == SLOTS && 2 * TRANSMIT == SLOTS);
const _: () = assert!(SLOTS * DESCRIPTOR <= AVAILABLE);
const _: () = assert!(AVAILABLE + 4 + 2 * SLOTS <= USED && USED + 4 + 8 * SLOTS <= HEADER_AT);

/// `VIRTQ_DESC_F_NEXT`: the buffer goes on in the next descriptor.
const NEXT: u64 = 1 << 32;
/// `VIRTQ_DESC_F_WRITE`: the device writes.
const WRITE: u64 = 2 << 32;
/// Where the number of the next descriptor is.
const NUMBER: u32 = 48;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT`.
const NO_INTERRUPT: u16 = 1;

/// Of a status word: the device is through with the descriptor, and wrote as many bytes as the low half says.
pub const DONE: u64 = 1 << 63;
/// Of a status word: the device listed what it does not have. The low half says what.
pub const ODD: u64 = 1 << 62;

/// For a receive buffer.
pub const fn to_receive(BusAddr(bus): BusAddr) -> Descriptor {
    [bus, WRITE | BUFFER as u64]
}

/// For a frame.
pub const fn to_send(BusAddr(bus): BusAddr, len: u16) -> Descriptor {
    [bus, len as u64]
}

/// A descriptor as the driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The driver's.
    Ours,
    /// The device's.
    Theirs,
    /// The device is through with it, and wrote so many bytes.
    Done(u32),
}

/// One queue. Numbers of entries go on from 65535 with 0.
#[derive(Debug)]
pub(super) struct Queue {
    /// Where it is in its page.
    at: usize,
    /// What the first descriptor that is offered is called.
    first: u16,
    slots: [Slot; SLOTS],
    /// Entries in the available ring.
    offered: u16,
    /// Entries of the used ring that were read.
    read: u16,
    /// Those that the device had written when its interrupt was last acknowledged.
    acknowledged: u16,
    /// What the device listed and does not have.
    odd: Option<u32>,
}

impl Queue {
    /// A queue whose descriptors start at this byte, and are offered by their own numbers.
    pub(super) const fn new(at: usize) -> Self {
        let slots = [Slot::Ours; SLOTS];
        Self { at, first: 0, slots, offered: 0, read: 0, acknowledged: 0, odd: None }
    }

    /// One of frames to send: each is offered with the header before it, whose descriptor is in the upper half.
    pub(super) const fn with_headers(at: usize) -> Self {
        Self { first: LEN / 2, ..Self::new(at) }
    }

    /// As after a reset, with all of its memory zeros.
    pub(super) fn clear(&mut self, rings: &Coherent<'_>) {
        let Self { at, first, .. } = *self;
        *self = Self { first, ..Self::new(at) };
        let BusAddr(page) = rings.bus();
        for frame in 0..first {
            let offset = at + usize::from(first + frame) * DESCRIPTOR;
            rings.write_u64(offset, page + (at + HEADER_AT) as u64);
            rings.write_u64(offset + 8, HEADER as u64 | NEXT | u64::from(frame) << NUMBER);
        }
    }

    /// Asks the device to interrupt for what it is through with, or not to.
    pub(super) fn set_interrupts(&self, rings: &Coherent<'_>, on: bool) {
        rings.write_u16(self.at + AVAILABLE, if on { 0 } else { NO_INTERRUPT });
        volatile::full_barrier();
    }

    /// Offers a descriptor that is written: the device may look from then on.
    pub(super) fn offer(&mut self, rings: &Coherent<'_>, index: usize) {
        self.slots[index] = Slot::Theirs;
        let ring = self.at + AVAILABLE;
        let entry = ring + 4 + 2 * usize::from(self.offered % LEN);
        #[expect(clippy::cast_possible_truncation, reason = "one of 64")]
        rings.write_u16(entry, self.first + index as u16);
        volatile::write_barrier();
        self.offered = self.offered.wrapping_add(1);
        rings.write_u16(ring + 2, self.offered);
        // The doorbell that follows must not overtake it.
        volatile::write_barrier();
    }

    /// What became of a descriptor: [`DONE`], [`ODD`], or 0 while the device has it.
    pub(super) fn look(&mut self, rings: &Coherent<'_>, index: usize) -> u64 {
        self.read_used(rings);
        match (self.slots[index], self.odd) {
            (Slot::Done(len), _) => DONE | u64::from(len),
            (_, Some(odd)) => ODD | u64::from(odd),
            (_, None) => 0,
        }
    }

    /// Whether the device is through with more than when this was last asked.
    pub(super) fn acknowledge(&mut self, rings: &Coherent<'_>) -> bool {
        let written = rings.read_u16(self.at + USED + 2);
        core::mem::replace(&mut self.acknowledged, written) != written
    }

    fn read_used(&mut self, rings: &Coherent<'_>) {
        let ring = self.at + USED;
        let written = rings.read_u16(ring + 2);
        volatile::read_barrier();
        if written.wrapping_sub(self.read) > self.offered.wrapping_sub(self.read) {
            self.odd.get_or_insert(written.into());
        }
        while self.odd.is_none() && self.read != written {
            let entry = ring + 4 + 8 * usize::from(self.read % LEN);
            let (id, len) = (rings.read_u32(entry), rings.read_u32(entry + 4));
            self.read = self.read.wrapping_add(1);
            let index = id.checked_sub(self.first.into()).map(|n| to_usize(n.into()));
            match index.and_then(|index| self.slots.get_mut(index)) {
                Some(slot) if *slot == Slot::Theirs => *slot = Slot::Done(len),
                _ => self.odd = Some(id),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::{DmaMask, PAGE_SIZE},
        dma::{
            Device, Limits, Plan, Policy, Pool, Table,
            fake::{FakeMachine, Frames},
        },
    };
    use alloc::boxed::Box;

    /// Where the queue under test is in its page.
    const AT: usize = 2048;

    /// A queue's other end.
    struct Far<'m> {
        machine: &'m FakeMachine,
        page: u64,
    }

    impl Far<'_> {
        fn write(&self, offset: usize, bytes: &[u8]) {
            assert!(self.machine.bus_write(BusAddr(self.page + (AT + offset) as u64), bytes));
        }

        fn half(&self, offset: usize) -> u16 {
            let mut bytes = [0; 2];
            assert!(self.machine.bus_read(BusAddr(self.page + (AT + offset) as u64), &mut bytes));
            u16::from_le_bytes(bytes)
        }

        /// Lists a descriptor as the `n`-th, without saying so.
        fn list(&self, n: u16, id: u32, len: u32) {
            let entry = USED + 4 + 8 * usize::from(n % LEN);
            self.write(entry, &id.to_le_bytes());
            self.write(entry + 4, &len.to_le_bytes());
        }

        /// Says how many are listed.
        fn tell(&self, count: u16) {
            self.write(USED + 2, &count.to_le_bytes());
        }
    }

    fn with(queue: Queue, test: impl FnOnce(&mut Queue, &Coherent<'_>, &Far<'_>)) {
        let machine = FakeMachine::new(Frames::default());
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        let device = Device::new(&pool, &machine, Limits::new(DmaMask::BITS_32), Policy::Auto);
        let rings = device.coherent(PAGE_SIZE).unwrap();
        let mut queue = queue;
        queue.clear(&rings);
        test(&mut queue, &rings, &Far { machine: &machine, page: rings.bus().0 });
        rings.close().unwrap();
    }

    #[test]
    fn descriptors_are_offered_in_turn_and_counted_on_past_the_end_of_the_ring() {
        with(Queue::new(AT), |queue, rings, far| {
            for round in 0..70_000_u32 {
                let id = round * 7 % u32::from(LEN);
                let (index, n) = (to_usize(id.into()), u16::try_from(round % 65536).unwrap());
                queue.offer(rings, index);
                assert_eq!(far.half(AVAILABLE + 2), n.wrapping_add(1));
                let entry = AVAILABLE + 4 + 2 * usize::from(n % LEN);
                assert_eq!(usize::from(far.half(entry)), index);
                assert_eq!(queue.look(rings, index), 0, "the device has it");
                far.list(n, id, round);
                assert_eq!(queue.look(rings, index), 0, "and has not said otherwise");
                far.tell(n.wrapping_add(1));
                assert_eq!(queue.look(rings, index), DONE | u64::from(round));
            }
        });
    }

    #[test]
    fn what_is_listed_out_of_turn_waits_for_its_turn() {
        with(Queue::new(AT), |queue, rings, far| {
            (0..3).for_each(|index| queue.offer(rings, index));
            (0..2).for_each(|n| far.list(n, 2 - u32::from(n), 100 + u32::from(n)));
            far.tell(2);
            assert_eq!(
                [0, 1, 2].map(|index| queue.look(rings, index)),
                [0, DONE | 101, DONE | 100]
            );
            queue.offer(rings, 2);
            far.list(2, 0, 102);
            far.tell(3);
            assert_eq!([0, 2].map(|index| queue.look(rings, index)), [DONE | 102, 0]);
        });
    }

    #[test]
    fn frames_to_send_go_with_a_header_of_zeros() {
        with(Queue::with_headers(AT), |queue, rings, far| {
            for frame in [0, 5, 31_u16] {
                queue.offer(rings, frame.into());
                let head = 32 + frame;
                assert_eq!(far.half(AVAILABLE + 4 + 2 * usize::from(queue.offered - 1)), head);
                let at = AT + usize::from(head) * DESCRIPTOR;
                let header = rings.read_u64(at) - far.page;
                assert!((0..12).all(|n| rings.read_u8(to_usize(header) + n) == 0), "{header:#x}");
                let rest = 1 << 32 | 12 | u64::from(frame) << 48;
                assert_eq!(rings.read_u64(at + 8), rest);
                far.list(queue.offered - 1, head.into(), 0);
                far.tell(queue.offered);
                assert_eq!(queue.look(rings, frame.into()), DONE);
            }
        });
    }

    /// A device with three descriptors of 64 lists this, and says to have listed so many; what is odd about it.
    fn odd(queue: Queue, listed: &[u32], count: u16) -> u64 {
        let mut found = 0;
        with(queue, |queue, rings, far| {
            (0..3).for_each(|index| queue.offer(rings, index));
            for (n, &id) in (0..).zip(listed) {
                far.list(n, id, 60);
            }
            far.tell(count);
            found = queue.look(rings, 31);
            // From then on nothing counts.
            (0..3).for_each(|n| far.list(n, u32::from(n), 60));
            assert_eq!(queue.look(rings, 31), found);
            far.tell(0);
            queue.clear(rings);
            assert_eq!(queue.look(rings, 31), 0);
        });
        found
    }

    #[test]
    fn a_device_that_lists_what_it_does_not_have_is_found_out() {
        for id in [3, 63, 64, 0x1_0000, 0x1_0001, u32::MAX] {
            assert_eq!(odd(Queue::new(AT), &[id], 1), ODD | u64::from(id));
        }
        assert_eq!(odd(Queue::new(AT), &[1, 1], 2), ODD | 1, "twice");
        assert_eq!(odd(Queue::new(AT), &[0, 1, 2], 4), ODD | 4, "more than it was given");
        assert_eq!(odd(Queue::new(AT), &[], u16::MAX), ODD | 0xffff, "backwards");
        for id in [0, 31, 35, 64, 96] {
            assert_eq!(odd(Queue::with_headers(AT), &[id], 1), ODD | u64::from(id));
        }
        assert_eq!(odd(Queue::with_headers(AT), &[32, 33, 34], 3), 0);
    }

    #[test]
    fn what_is_new_since_it_was_acknowledged_is_told_once() {
        with(Queue::new(AT), |queue, rings, far| {
            queue.offer(rings, 0);
            assert!(!queue.acknowledge(rings));
            far.tell(1);
            assert!(queue.acknowledge(rings) && !queue.acknowledge(rings));
            queue.set_interrupts(rings, false);
            assert_eq!(far.half(AVAILABLE), 1);
            queue.set_interrupts(rings, true);
            assert_eq!(far.half(AVAILABLE), 0);
        });
    }
}

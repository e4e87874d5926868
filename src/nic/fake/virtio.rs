//! A virtio network device, but stricter than QEMU's: whatever no driver should do is a panic.
//!
//! Offsets, numbers and descriptors are spelled out here anew, from the specification, so that a slip in the driver's own
//! list is not repeated. Frames come back from its wire, as from a mirror there.

use super::played::{Board, Fault, Logic};
use crate::{
    addr::{BusAddr, to_usize},
    pci::cap::Vendor,
};
use alloc::{vec, vec::Vec};

/// Where everything is, as QEMU has it: in BAR 4.
pub const CAPABILITIES: [Vendor; 4] = [
    [0x0110_0009, 4, 0, 0x1000, 0],
    [0x0310_0009, 4, 0x1000, 0x1000, 0],
    [0x0410_0009, 4, 0x2000, 0x1000, 0],
    [0x0214_0009, 4, 0x3000, 0x1000, 4],
];

/// The low half.
fn half(word: u64) -> u16 {
    u16::try_from(word & 0xffff).unwrap_or_default()
}

const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 0x40;
const FAILED: u32 = 0x80;
/// Of the features: it knows of its link.
const STATUS: u64 = 1 << 16;
/// Of the link's status: it wants to be announced.
const ANNOUNCE: u32 = 1 << 1;
/// The number of [`Fault::NoVector`] for the configuration.
const CONFIGURATION: usize = 2;
/// Among others: checksums, mergeable buffers, a control queue, indirect descriptors, event index, packed rings.
const OFFERED: u64 = 1 << 34 | 1 << 33 | 1 << 32 | 0x3bf9_ffe3;
const SIZE: u16 = 256;

#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    size: u16,
    vector: u16,
    enabled: bool,
    /// Descriptors, available ring, used ring.
    places: [u64; 3],
    seen: u16,
    used: u16,
}

impl Queue {
    fn half(&self, board: &Board<'_>, at: u64) -> u16 {
        let [word, _] = board.peek(BusAddr(at & !7));
        half(word >> (8 * (at & 7)))
    }

    /// The numbers of the descriptors that are offered and were not used.
    fn offered(&self, board: &Board<'_>) -> Vec<u16> {
        let [_, available, _] = self.places;
        let end = self.half(board, available + 2);
        let count = end.wrapping_sub(self.seen);
        assert!(count <= self.size, "{count} offered in a queue of {}", self.size);
        let entry = |n: u16| u64::from(self.seen.wrapping_add(n) % self.size);
        (0..count).map(|n| self.half(board, available + 4 + 2 * entry(n))).collect()
    }

    fn descriptor(&self, number: u16) -> BusAddr {
        assert!(number < self.size, "descriptor {number}");
        let [descriptors, ..] = self.places;
        BusAddr(descriptors + 16 * u64::from(number))
    }

    /// Lists a descriptor; whether that is to interrupt.
    fn use_up(&mut self, board: &mut Board<'_>, number: u32, len: u32) -> bool {
        let [_, available, used] = self.places;
        let entry = used + 4 + 8 * u64::from(self.used % self.size);
        board.write(BusAddr(entry), &(u64::from(number) | u64::from(len) << 32).to_le_bytes());
        self.seen = self.seen.wrapping_add(1);
        self.used = self.used.wrapping_add(1);
        let more = if board.fault == Fault::TooMany { self.size } else { 0 };
        let told = self.used.wrapping_add(more);
        board.write(BusAddr(used + 2), &told.to_le_bytes());
        self.half(board, available) == 0
    }
}

/// What a device of this kind may be like.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// Whether it sends frames that leave it back to itself.
    pub mirror: bool,
    /// The features that it has.
    pub offers: u64,
    /// The most descriptors that a queue of it has.
    pub most: u16,
    /// Whether it sends messages from a table, where it was told of a vector, and has no line.
    pub tabled: bool,
    /// How many times it comes to an error instead of moving a frame.
    pub breaks: usize,
}

impl Default for Traits {
    fn default() -> Self {
        Self { mirror: true, offers: OFFERED, most: SIZE, tabled: false, breaks: 0 }
    }
}

/// One device.
#[derive(Debug, Default)]
pub struct Virtio {
    traits: Traits,
    status: u32,
    halves: [u32; 2],
    accepted: [u32; 2],
    queues: [Queue; 2],
    select: u16,
    vector: u16,
    isr: u32,
    looked: u32,
    /// A message since the status was last read.
    message: bool,
}

impl Virtio {
    /// One that an earlier driver left running.
    pub fn new(traits: Traits) -> Self {
        Self { traits, status: 0xf, isr: 1, ..Self::default() }
    }

    fn reset(&mut self, board: &mut Board<'_>) {
        board.resets += usize::from(self.status & DRIVER_OK != 0);
        if matches!(board.fault, Fault::NeverReset | Fault::StaysOn) {
            return;
        }
        let traits = self.traits;
        let queues = [Queue { size: traits.most, vector: 0xffff, ..Queue::default() }; 2];
        *self = Self { traits, queues, vector: 0xffff, ..Self::default() };
    }

    fn set_status(&mut self, board: &mut Board<'_>, value: u32) {
        if value == 0 {
            return self.reset(board);
        }
        assert_eq!(self.status & FAILED, 0, "it was given up");
        assert_eq!(value & self.status, self.status, "a bit of the status cleared");
        let new = value & !self.status;
        if new & FEATURES_OK != 0 {
            assert_eq!(self.status, 3, "features before the driver is there");
            let accepted = u64::from(self.accepted[0]) | u64::from(self.accepted[1]) << 32;
            assert_eq!(accepted & !self.traits.offers, 0, "never offered");
            assert_eq!(accepted >> 32 & 7, 3, "VERSION_1 and ACCESS_PLATFORM, and no packed ring");
            if board.fault == Fault::NoFeatures {
                return;
            }
        }
        if new & DRIVER_OK != 0 {
            assert_ne!(value & FEATURES_OK, 0, "ready without features");
            assert!(self.queues.iter().all(|queue| queue.enabled), "queues missing");
        }
        self.status = value;
    }

    /// What a vector reads as that was written.
    fn vector(board: &Board<'_>, of: usize, vector: u16) -> u16 {
        if board.fault == Fault::NoVector(of) { 0xffff } else { vector }
    }

    /// Whether it moves a frame.
    fn moves(&mut self) -> bool {
        if self.status & DRIVER_OK != 0 && self.traits.breaks > 0 {
            self.traits.breaks -= 1;
            self.status |= NEEDS_RESET;
            self.interrupt(true, self.vector, 2);
        }
        self.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK
    }

    fn queue(&mut self) -> &mut Queue {
        let queue = self.queues.get_mut(usize::from(self.select));
        queue.expect("one of two queues")
    }

    fn set_place(&mut self, offset: usize, value: u32) {
        let (n, high) = ((offset - 0x20) / 8, offset % 8 == 4);
        let align = [16, 2, 4][n];
        let queue = self.queue();
        assert!(!queue.enabled, "moved while it is enabled");
        let place = &mut queue.places[n];
        if high {
            *place = *place & 0xffff_ffff | u64::from(value) << 32;
        } else {
            assert_eq!(value % align, 0, "a place at {value:#x}");
            *place = *place & !0xffff_ffff | u64::from(value);
        }
    }

    fn set_common(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize, value: u32) {
        let half = half(value.into());
        match (offset, bytes) {
            (0x00, 4) => self.halves[0] = value,
            (0x08, 4) => self.halves[1] = value,
            (0x0c, 4) => {
                assert_eq!(self.status, 3, "features after they were agreed on");
                self.accepted[to_usize(self.halves[1].into())] = value;
            }
            (0x10, 2) => self.vector = Self::vector(board, CONFIGURATION, half),
            (0x14, 1) => self.set_status(board, value),
            (0x16, 2) => self.select = half,
            (0x18, 2) => {
                assert!(half.is_power_of_two() && half <= self.traits.most, "{half} descriptors");
                self.queue().size = half;
            }
            (0x1a, 2) => {
                self.queue().vector = Self::vector(board, self.select.into(), half);
            }
            (0x1c, 2) => {
                assert_eq!((half, self.status), (1, 0xb), "a queue enabled too early or too late");
                let queue = self.queue();
                assert!(queue.places.iter().all(|place| *place != 0), "{queue:?}");
                queue.enabled = true;
            }
            (0x20..0x38, 4) => self.set_place(offset, value),
            _ => panic!("{bytes} bytes to {offset:#x}"),
        }
    }

    fn common(&mut self, offset: usize, bytes: usize) -> u32 {
        match (offset, bytes) {
            (0x04, 4) => u32::try_from(self.traits.offers >> (32 * self.halves[0]) & 0xffff_ffff)
                .unwrap_or(0),
            (0x10, 2) => self.vector.into(),
            (0x14, 1) => {
                self.message = false;
                self.status
            }
            (0x18 | 0x1e, 2) if self.status & FEATURES_OK == 0 => {
                panic!("a queue is asked for before features were agreed on")
            }
            (0x18, 2) => self.queue().size.into(),
            (0x1a, 2) => self.queue().vector.into(),
            (0x1e, 2) => self.select.into(),
            _ => panic!("a read of {bytes} bytes at {offset:#x}"),
        }
    }

    fn interrupt(&mut self, rings: bool, vector: u16, cause: u32) {
        if self.traits.tabled {
            self.message |= rings && vector == 0;
        } else if rings {
            self.isr |= cause;
        }
    }

    /// Puts a frame into the next buffer.
    fn take(&mut self, board: &mut Board<'_>, frame: &[u8]) {
        if !self.moves() || !self.queues[0].enabled {
            return;
        }
        let queue = &mut self.queues[0];
        let Some(&number) = queue.offered(board).first() else { return };
        let [bus, word] = board.descriptor(queue.descriptor(number));
        assert_eq!(word & 0xffff_ffff_ffff, 2 << 32 | 2048, "a buffer of 2 KiB to write to");
        board.write(BusAddr(bus), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        if board.fault == Fault::Underrun {
            board.flip(BusAddr(bus - 1));
        }
        let length = board.fill_as_sent(BusAddr(bus + 12), frame) + 12;
        let told =
            if board.fault == Fault::Bad { 0x1_0000 | u32::from(number) } else { number.into() };
        let rings = queue.use_up(board, told, u32::try_from(length).unwrap_or(u32::MAX));
        let vector = queue.vector;
        self.interrupt(rings, vector, 1);
    }

    fn send_all(&mut self, board: &mut Board<'_>) {
        assert_ne!(self.status & DRIVER_OK, 0, "a doorbell before the driver is ready");
        while board.fault != Fault::NeverSend && self.moves() {
            let queue = self.queues[1];
            let Some(&number) = queue.offered(board).first() else { return };
            let [bus, word] = board.descriptor(queue.descriptor(number));
            assert_eq!(word & 0xffff_ffff_ffff, 1 << 32 | 12, "a header, and more to come");
            assert_eq!(board.read(BusAddr(bus), 12), [0; 12], "nothing is asked of the device");
            let next = half(word >> 48);
            let [bus, word] = board.descriptor(queue.descriptor(next));
            assert!((60..=1514).contains(&word), "the rest, a whole frame: {word:#x}");
            let frame = board.read(BusAddr(bus), to_usize(word));
            board.send(frame.clone());
            let rings = self.queues[1].use_up(board, number.into(), 0);
            self.interrupt(rings, queue.vector, 1);
            if self.traits.mirror {
                self.take(board, &frame);
            }
        }
    }
}

impl Logic for Virtio {
    const SIZE: usize = 0x4000;

    fn write(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize, value: u32) {
        match (offset, bytes, value) {
            (0..0x38, ..) => self.set_common(board, offset, bytes, value),
            (0x3000, 2, 0) => assert_ne!(self.status & DRIVER_OK, 0, "a doorbell too early"),
            (0x3004, 2, 1) => self.send_all(board),
            _ => panic!("{bytes} bytes, {value:#x}, to {offset:#x}"),
        }
    }

    fn read(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize) -> u32 {
        let mac = board.address();
        match (offset, bytes) {
            (0..0x38, _) => self.common(offset, bytes),
            (0x1000, 1) => {
                assert_eq!(self.vector, 0xffff, "no cause is told of a message");
                core::mem::take(&mut self.isr)
            }
            (0x2000..0x2006, 1) => mac[offset - 0x2000].into(),
            (0x2006, 2) => {
                assert_ne!(self.traits.offers & STATUS, 0, "it does not know of its link");
                // Another bit of it changes each time: of an announcement, which was not offered.
                self.looked ^= ANNOUNCE;
                u32::from(board.link) | self.looked
            }
            _ => panic!("a read of {bytes} bytes at {offset:#x}"),
        }
    }

    fn receive(&mut self, board: &mut Board<'_>, frame: &[u8]) {
        if frame.starts_with(&board.mac) || frame.starts_with(&[0xff; 6]) {
            self.take(board, frame);
        }
    }

    fn link_changed(&mut self) {
        self.interrupt(self.status & DRIVER_OK != 0, self.vector, 2);
    }

    fn interrupts(&self) -> bool {
        self.isr != 0 || self.message
    }

    fn is_running(&self) -> bool {
        self.status & DRIVER_OK != 0
    }

    fn owned(&self, board: &Board<'_>) -> Vec<(BusAddr, usize)> {
        if self.status & DRIVER_OK == 0 || !self.queues[0].enabled {
            return Vec::new();
        }
        let [receive, transmit] = self.queues;
        let [[rx, ..], [tx, ..]] = [receive.places, transmit.places];
        let mut owned = vec![(BusAddr(rx), 2048), (BusAddr(tx), 2048)];
        let buffer = |number: &u16| BusAddr(board.peek(receive.descriptor(*number))[0]);
        owned.extend(receive.offered(board).iter().map(|number| (buffer(number), 2048)));
        for head in transmit.offered(board) {
            let [_, word] = board.peek(transmit.descriptor(head));
            let [bus, word] = board.peek(transmit.descriptor(half(word >> 48)));
            owned.push((BusAddr(bus), to_usize(word & 0xffff)));
        }
        owned
    }
}

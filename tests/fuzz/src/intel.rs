//! The drivers of Intel's gigabit chips, of either family, over a chip whose registers read as anything, and which writes
//! anything into its rings and buffers.
//!
//! Asserts: every call ends; a received frame has the length of one and lies in the buffer given, and as long as the
//! chip plays by the rules it is the next one, byte by byte; so is what the chip is given to send; it is given no
//! address that the driver does not list, and no descriptor that it has already; once the chip was seen to stop, every
//! slot is back.

use crate::{
    Input,
    pattern::bytes_of,
    stage::{Book, Far, Stage, is_to_send, live, on_stage},
};
use pvbounce::{
    addr::{DmaMask, to_usize},
    device::{Idle as _, Registers, fake::TickingClock},
    dma::{Device, Limits, Policy},
    nic::{
        FRAME_MAX, FRAME_MIN, e1000, igb,
        rings::chip::{BUFFER, DESCRIPTOR, RECEIVE, TRANSMIT},
    },
};
use std::{cell::Cell, time::Duration};

const CTRL: usize = 0x0000;
const STATUS: usize = 0x0008;
const MDIC: usize = 0x0020;
const RCTL: usize = 0x0100;
const TCTL: usize = 0x0400;
const RAL0: usize = 0x5400;
const RAH0: usize = 0x5404;

/// Where a family has its registers, and which descriptors it has.
#[derive(Clone, Copy, Debug)]
struct Family {
    icr: [usize; 2],
    receive_ring: usize,
    transmit_ring: usize,
    /// What says that a queue is open, each way.
    queues: Option<[usize; 2]>,
}

const LEGACY: Family =
    Family { icr: [0x00c0; 2], receive_ring: 0x2800, transmit_ring: 0x3800, queues: None };
const ADVANCED: Family = Family {
    icr: [0x00c0, 0x1500],
    receive_ring: 0xc000,
    transmit_ring: 0xe000,
    queues: Some([0xc028, 0xe028]),
};

/// What a look at a register takes: much, for a story to be short.
const LOOK: Duration = Duration::from_millis(1);

/// One ring as the driver told of it, in descriptors.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    base: u64,
    head: usize,
    tail: usize,
}

impl Ring {
    fn write(&mut self, register: usize, value: u32, len: usize) {
        let (half, value) = (u64::from(value), to_usize(value.into()));
        match register {
            0x00 => self.base = self.base >> 32 << 32 | half,
            0x04 => self.base = self.base & 0xffff_ffff | half << 32,
            0x08 => assert_eq!(value, len * DESCRIPTOR),
            0x10 => self.head = value,
            0x18 => self.tail = value,
            _ => {}
        }
        assert!(self.head < len && self.tail < len, "{self:?}");
    }

    fn at(&self, index: usize) -> u64 {
        self.base + (index * DESCRIPTOR) as u64
    }
}

#[derive(Debug)]
struct Chip<'m> {
    family: Family,
    book: Book<'m>,
    clock: &'m TickingClock,
    input: Input,
    rx: Cell<Ring>,
    tx: Cell<Ring>,
    /// Whether a reset may not end, which costs a wait.
    stuck: bool,
    /// Whether it answers as it should from here on.
    tame: Cell<bool>,
}

impl Chip<'_> {
    /// A frame into the next buffer, or bytes anywhere in the ring.
    fn receive(&self) {
        let mut ring = self.rx.get();
        if ring.base == 0 || ring.head == ring.tail {
            return;
        }
        if self.input.once_in(8) {
            self.book.odd.set(true);
            let at = self.input.below(RECEIVE * DESCRIPTOR - 16);
            return self.book.write(ring.base + at as u64, &self.input.bytes(16));
        }
        let [buffer, word] = self.book.words(ring.at(ring.head));
        assert!(self.book.odd.get() || word == 0, "a descriptor that is used already: {word:#x}");
        let length = if self.input.once_in(8) {
            usize::from(self.input.u16())
        } else {
            FRAME_MIN + usize::from(self.input.u8()) * 5
        };
        let status = if self.input.once_in(8) { self.input.u16() } else { 3 };
        let whole = !self.input.once_in(8);
        if whole && length <= BUFFER && buffer != 0 && !self.book.odd.get() {
            self.book.write(buffer, bytes_of(self.book.next(), length));
        }
        let [l0, l1] = self.bytes(length);
        let [s0, s1] = status.to_le_bytes();
        let word = match self.family.queues {
            Some(_) => [s0, 0, 0, s1, l0, l1, 0, 0],
            None => [l0, l1, 0, 0, s0, s1, 0, 0],
        };
        self.book.write(ring.at(ring.head) + 8, &word);
        let regular = whole && status == 3 && (FRAME_MIN..=FRAME_MAX + 4).contains(&length);
        self.book.odd.set(self.book.odd.get() || !regular);
        self.book.wrote(length);
        ring.head = (ring.head + 1) % RECEIVE;
        self.rx.set(ring);
    }

    fn bytes(&self, length: usize) -> [u8; 2] {
        u16::try_from(length).map_or([0xff; 2], u16::to_le_bytes)
    }

    /// Reads what is to be sent: what the driver was given, or a probe; and says what became of it.
    fn send(&self) {
        let mut ring = self.tx.get();
        while ring.base != 0 && ring.head != ring.tail {
            let at = ring.at(ring.head);
            let [bus, word] = self.book.words(at);
            let len = to_usize(word & 0xffff);
            assert!((FRAME_MIN..=FRAME_MAX).contains(&len), "{len} to send");
            let frame = self.book.read(bus, len);
            assert!(is_to_send(&frame), "{frame:?}");
            let status = if self.input.once_in(4) { self.input.u8() } else { 1 };
            self.book.write(at + 12, &[status]);
            ring.head = (ring.head + 1) % TRANSMIT;
        }
        self.tx.set(ring);
    }
}

impl Registers for &Chip<'_> {
    fn size(&self) -> usize {
        0x2_0000
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.clock.advance(LOOK);
        let odd = !self.tame.get() && self.input.once_in(16);
        match offset {
            STATUS if !odd => 2,
            CTRL | RCTL | TCTL if self.tame.get() || !odd && !self.stuck => 0,
            _ if !odd && self.family.queues.is_some_and(|queues| queues.contains(&offset)) => {
                1 << 25
            }
            MDIC if !odd => 1 << 28 | u32::from(self.input.u16()),
            RAL0 if !odd => 0x5452_5452,
            RAH0 if !odd => 0x8000_5452,
            _ if !odd && self.family.icr.contains(&offset) => u32::from(self.input.u8()),
            _ => self.input.u32(),
        }
    }

    fn write_u32(&self, offset: usize, value: u32) {
        assert!(offset < 0x2_0000 && offset.is_multiple_of(4));
        let Family { receive_ring, transmit_ring, .. } = self.family;
        match offset {
            _ if (receive_ring..=receive_ring + 0x18).contains(&offset) => {
                let mut ring = self.rx.get();
                ring.write(offset - receive_ring, value, RECEIVE);
                self.rx.set(ring);
            }
            _ if (transmit_ring..=transmit_ring + 0x18).contains(&offset) => {
                let mut ring = self.tx.get();
                ring.write(offset - transmit_ring, value, TRANSMIT);
                self.tx.set(ring);
                if offset == transmit_ring + 0x18 && !self.input.once_in(32) {
                    self.send();
                }
            }
            // Both rings are in place.
            RCTL if value & 2 != 0 => {
                let (rx, tx) = (self.rx.get(), self.tx.get());
                let rings = [(rx.base, RECEIVE * DESCRIPTOR), (tx.base, TRANSMIT * DESCRIPTOR)];
                self.book.told(rings);
                self.book.reset();
            }
            _ => {}
        }
    }

    fn read_u8(&self, offset: usize) -> u8 {
        panic!("8-bit read of {offset:#x}")
    }

    fn read_u16(&self, offset: usize) -> u16 {
        panic!("16-bit read of {offset:#x}")
    }

    fn write_u8(&self, offset: usize, _: u8) {
        panic!("8-bit write to {offset:#x}")
    }

    fn write_u16(&self, offset: usize, _: u16) {
        panic!("16-bit write to {offset:#x}")
    }
}

impl Far for Chip<'_> {
    fn input(&self) -> &Input {
        &self.input
    }

    fn receive(&self) {
        self.receive();
    }

    fn book(&self) -> &Book<'_> {
        &self.book
    }

    fn tame(&self) {
        self.tame.set(true);
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn e1000(bytes: &[u8]) {
    run(bytes, LEGACY);
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn igb(bytes: &[u8]) {
    run(bytes, ADVANCED);
}

fn run(bytes: &[u8], family: Family) {
    on_stage(bytes, |stage, input| play(stage, input, family));
}

fn play(stage: &Stage<'_>, input: &Input, family: Family) {
    let &Stage { machine, pool, clock } = stage;
    let stuck = input.once_in(64);
    let chip = Chip {
        family,
        book: Book::new(machine),
        clock,
        input: input.clone(),
        rx: Cell::default(),
        tx: Cell::default(),
        stuck,
        tame: Cell::new(false),
    };
    let device = Device::new(pool, machine, Limits::new(DmaMask::BITS_32), Policy::Force);
    let idle = match (family.queues.is_some(), input.once_in(2)) {
        (false, false) => e1000::reset(e1000::Model::I82540, &chip, clock),
        (false, true) => e1000::reset(e1000::Model::I82574, &chip, clock),
        (true, false) => igb::reset(igb::Model::Igb, &chip, clock),
        (true, true) => igb::reset(igb::Model::Igc, &chip, clock),
    };
    let started = idle.and_then(|idle| idle.start(device));
    let Ok(mut card) = started else { return };
    live(&mut card, &chip, clock, pool);
}

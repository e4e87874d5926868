//! The drivers of Intel's gigabit chips, of either family, over a chip whose registers read as anything, and which writes
//! anything into its rings and buffers.
//!
//! Asserts: every call ends; a received frame has the length of one and lies in the buffer given, and as long as the
//! chip plays by the rules it is the next one, byte by byte; so is what the chip is given to send; it is given no
//! address that the driver does not list, and no descriptor that it has already; once the chip was seen to stop, every
//! slot is back.

use crate::{
    Input,
    cards::{Far, is_to_send, live},
    pattern::bytes_of,
};
use pvbounce::{
    addr::{BusAddr, DmaMask, to_usize},
    device::{Idle as _, Registers, fake::TickingClock},
    dma::{Device, Limits, Plan, Policy, Pool, Table, fake::FakeMachine},
    mm::contiguous::Order,
    nic::{
        FRAME_MAX, FRAME_MIN, e1000, igb,
        rings::chip::{BUFFER, DESCRIPTOR, RECEIVE, TRANSMIT},
    },
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    time::Duration,
};

thread_local! {
    // Its pages are never freed: one machine for all inputs. A table is 300 KiB: one, too.
    static MACHINE: RefCell<(FakeMachine, Box<Table>)> = RefCell::default();
}

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
    machine: &'m FakeMachine,
    clock: &'m TickingClock,
    input: Input,
    rx: Cell<Ring>,
    tx: Cell<Ring>,
    /// Whether it broke a rule since it was reset.
    odd: Cell<bool>,
    /// Frames written and not taken: what they stand for, and their lengths.
    frames: RefCell<VecDeque<(usize, usize)>>,
    written: Cell<usize>,
    given: RefCell<Vec<(u64, usize)>>,
    /// Whether a reset may not end, which costs a wait.
    stuck: bool,
    /// Whether it answers as it should from here on.
    tame: Cell<bool>,
}

impl Chip<'_> {
    fn dma(&self, bus: u64, bytes: &[u8]) {
        assert!(self.machine.bus_write(BusAddr(bus), bytes), "{} bytes at {bus:#x}", bytes.len());
    }

    fn words(&self, bus: u64) -> [u64; 2] {
        let mut bytes = [0; DESCRIPTOR];
        assert!(self.machine.bus_read(BusAddr(bus), &mut bytes), "no descriptor at {bus:#x}");
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
    }

    /// A frame into the next buffer, or bytes anywhere in the ring.
    fn receive(&self) {
        let mut ring = self.rx.get();
        if ring.base == 0 || ring.head == ring.tail {
            return;
        }
        if self.input.once_in(8) {
            self.odd.set(true);
            let at = self.input.below(RECEIVE * DESCRIPTOR - 16);
            return self.dma(ring.base + at as u64, &self.input.bytes(16));
        }
        let [buffer, word] = self.words(ring.at(ring.head));
        assert!(self.odd.get() || word == 0, "a descriptor that is used already: {word:#x}");
        let id = self.written.get();
        let length = if self.input.once_in(8) {
            usize::from(self.input.u16())
        } else {
            FRAME_MIN + usize::from(self.input.u8()) * 5
        };
        let status = if self.input.once_in(8) { self.input.u16() } else { 3 };
        let whole = !self.input.once_in(8);
        if whole && length <= BUFFER && buffer != 0 && !self.odd.get() {
            self.dma(buffer, bytes_of(id, length));
        }
        let [l0, l1] = self.bytes(length);
        let [s0, s1] = status.to_le_bytes();
        let word = match self.family.queues {
            Some(_) => [s0, 0, 0, s1, l0, l1, 0, 0],
            None => [l0, l1, 0, 0, s0, s1, 0, 0],
        };
        self.dma(ring.at(ring.head) + 8, &word);
        let regular = whole && status == 3 && (FRAME_MIN..=FRAME_MAX + 4).contains(&length);
        self.odd.set(self.odd.get() || !regular);
        self.frames.borrow_mut().push_back((id, length));
        self.written.set(id + 1);
        ring.head = (ring.head + 1) % RECEIVE;
        self.rx.set(ring);
    }

    fn bytes(&self, length: usize) -> [u8; 2] {
        u16::try_from(length).map_or([0xff; 2], u16::to_le_bytes)
    }

    /// What the driver got for a frame.
    fn was_taken(&self, frame: &[u8]) {
        let next = self.frames.borrow_mut().pop_front();
        if self.odd.get() {
            return;
        }
        let expected = next.map(|(id, len)| bytes_of(id, len));
        assert!(Some(frame) == expected, "{} bytes of {next:?}", frame.len());
    }

    /// Reads what is to be sent: what the driver was given, or a probe; and says what became of it.
    fn send(&self) {
        let mut ring = self.tx.get();
        while ring.base != 0 && ring.head != ring.tail {
            let at = ring.at(ring.head);
            let [bus, word] = self.words(at);
            let len = to_usize(word & 0xffff);
            assert!((FRAME_MIN..=FRAME_MAX).contains(&len), "{len} to send");
            self.given.borrow_mut().push((bus, len));
            let mut frame = vec![0; len];
            assert!(self.machine.bus_read(BusAddr(bus), &mut frame));
            assert!(is_to_send(&frame), "{frame:?}");
            let status = if self.input.once_in(4) { self.input.u8() } else { 1 };
            self.dma(at + 12, &[status]);
            ring.head = (ring.head + 1) % TRANSMIT;
        }
        self.tx.set(ring);
    }

    fn started_anew(&self) {
        self.odd.set(false);
        self.frames.borrow_mut().clear();
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
                self.given.borrow_mut().extend(rings);
                self.started_anew();
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

    fn was_taken(&self, frame: &[u8]) {
        self.was_taken(frame);
    }

    fn given(&self) -> Vec<(u64, usize)> {
        self.given.take()
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
    let input = Input::new(bytes);
    MACHINE.with_borrow_mut(|(machine, table)| {
        machine.reset();
        play(machine, table, &input, family);
    });
}

fn play(machine: &FakeMachine, table: &mut Table, input: &Input, family: Family) {
    let pool = Pool::new(table, machine);
    let max_order = Order::new(7).unwrap_or(Order::MAX);
    let plan = Plan { max_order, floor: 4096, ..Plan::new(512 << 10) };
    if pool.start(&plan, &mut |_| {}).is_err() {
        return;
    }
    let clock = TickingClock::default();
    let stuck = input.once_in(64);
    let chip = Chip {
        family,
        machine,
        clock: &clock,
        input: input.clone(),
        rx: Cell::default(),
        tx: Cell::default(),
        odd: Cell::new(false),
        frames: RefCell::default(),
        written: Cell::new(0),
        given: RefCell::default(),
        stuck,
        tame: Cell::new(false),
    };
    let device = Device::new(&pool, machine, Limits::new(DmaMask::BITS_32), Policy::Force);
    let idle = match (family.queues.is_some(), input.once_in(2)) {
        (false, false) => e1000::reset(e1000::Model::I82540, &chip, &clock),
        (false, true) => e1000::reset(e1000::Model::I82574, &chip, &clock),
        (true, false) => igb::reset(igb::Model::Igb, &chip, &clock),
        (true, true) => igb::reset(igb::Model::Igc, &chip, &clock),
    };
    let started = idle.and_then(|idle| idle.start(device));
    let Ok(mut card) = started else { return };
    live(&mut card, &chip, &clock, &pool);
}

//! The driver of chips with C+ descriptors over one whose registers read as anything, and which writes anything into its
//! rings and buffers.
//!
//! Asserts: every call ends; a received frame has the length of one and lies in the buffer given, and as long as the
//! chip plays by the rules it is the next one, byte by byte; so is what the chip is given to send; it is given no
//! address that the driver does not list; each ring ends where the driver says so; once the chip was seen to stop, every
//! slot is back.

use crate::{Input, pattern::bytes_of};
use pvbounce::{
    addr::{BusAddr, DmaMask, to_usize},
    arch::time::Clock,
    device::{Cause, Driver as _, Idle as _, Registers, fake::TickingClock},
    dma::{Device, Limits, Plan, Policy, Pool, PowerOfTwo, Table, fake::FakeMachine},
    mm::contiguous::Order,
    nic::{
        FRAME_MAX, FRAME_MIN, Nic,
        cplus::{Model, reset},
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

const OWN: u64 = 1 << 31;
const EOR: u64 = 1 << 30;
const WHOLE: u64 = 3 << 28;
/// The longest that a call into the driver may take: resets, a frame that is stuck, a loop that does not close.
const CALL_LIMIT: Duration = Duration::from_secs(6);
/// What a look at a register takes: much, for a story to be short.
const LOOK: Duration = Duration::from_millis(1);
/// What frames to send are made of.
const SENT: u8 = 0x5a;

/// One ring as the driver told of it.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    base: u64,
    next: usize,
}

impl Ring {
    fn set(&mut self, high: bool, value: u32) {
        let value = u64::from(value);
        self.base = if high { value << 32 } else { self.base >> 32 << 32 | value };
        self.next = 0;
    }

    fn at(&self) -> u64 {
        self.base + (self.next * DESCRIPTOR) as u64
    }
}

#[derive(Debug)]
struct Chip<'m> {
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
        if ring.base == 0 {
            return;
        }
        if self.input.once_in(8) {
            self.odd.set(true);
            let at = self.input.below(RECEIVE * DESCRIPTOR - 16);
            return self.dma(ring.base + at as u64, &self.input.bytes(16));
        }
        let [word, buffer] = self.words(ring.at());
        let last = ring.next + 1 == RECEIVE;
        if self.odd.get() || word & OWN == 0 {
            return;
        }
        assert_eq!(word, OWN | if last { EOR } else { 0 } | BUFFER as u64);
        let id = self.written.get();
        let length = if self.input.once_in(8) {
            usize::from(self.input.u16()) % 0x1ff0
        } else {
            FRAME_MIN + usize::from(self.input.u8()) * 5
        };
        let status = if self.input.once_in(8) { u64::from(self.input.u16()) << 14 } else { WHOLE };
        let whole = !self.input.once_in(8);
        if whole && length <= BUFFER {
            self.dma(buffer, bytes_of(id, length));
        }
        self.dma(ring.at(), &(word & EOR | status | (length + 4) as u64).to_le_bytes());
        let regular = whole && status == WHOLE && (FRAME_MIN..=FRAME_MAX + 4).contains(&length);
        self.odd.set(!regular);
        self.frames.borrow_mut().push_back((id, length));
        self.written.set(id + 1);
        ring.next = (ring.next + 1) % RECEIVE;
        self.rx.set(ring);
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
        while ring.base != 0 {
            let [word, bus] = self.words(ring.at());
            if word & OWN == 0 {
                break;
            }
            let last = ring.next + 1 == TRANSMIT;
            let len = to_usize(word & 0xffff);
            assert_eq!(word & !0xffff, OWN | WHOLE | if last { EOR } else { 0 });
            assert!((FRAME_MIN..=FRAME_MAX).contains(&len), "{len} to send");
            self.given.borrow_mut().push((bus, len));
            let mut frame = vec![0; len];
            assert!(self.machine.bus_read(BusAddr(bus), &mut frame));
            let end = frame.iter().position(|&byte| byte != SENT).unwrap_or(len);
            let padded = len == FRAME_MIN && frame[end..].iter().all(|&byte| byte == 0);
            let probe = len == FRAME_MIN && frame[12..14] == [0x88, 0xb5];
            assert!(end == len || padded || probe, "{frame:?}");
            let status = if self.input.once_in(4) { self.input.u32() >> 1 } else { 0 };
            self.dma(ring.at(), &status.to_le_bytes());
            ring.next = (ring.next + 1) % TRANSMIT;
        }
        self.tx.set(ring);
    }

    /// Both rings are in place.
    fn start(&self) {
        let (rx, tx) = (self.rx.get(), self.tx.get());
        let rings = [(rx.base, RECEIVE * DESCRIPTOR), (tx.base, TRANSMIT * DESCRIPTOR)];
        self.given.borrow_mut().extend(rings);
        self.odd.set(false);
        self.frames.borrow_mut().clear();
    }

    fn read(&self, offset: usize) -> u32 {
        self.clock.advance(LOOK);
        let odd = !self.tame.get() && self.input.once_in(16);
        match offset {
            0..6 if !odd => 0x52,
            0x37 if self.tame.get() || !odd && !self.stuck => 0,
            0x3c | 0x3e if !odd => u32::from(self.input.u8()),
            0x40 if !odd => 0x7480_0000,
            _ => self.input.u32(),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        match offset {
            0x20 | 0x24 => self.tx.update(|mut ring| {
                ring.set(offset == 0x24, value);
                ring
            }),
            0xe4 | 0xe8 => self.rx.update(|mut ring| {
                ring.set(offset == 0xe8, value);
                ring
            }),
            0x37 if value & 0x10 != 0 => {
                self.rx.take();
                self.tx.take();
            }
            0x37 => self.start(),
            // By this or by that it is the doorbell; where it is none, nothing waits.
            0xd9 | 0x90 | 0x38 if !self.input.once_in(32) => self.send(),
            _ => {}
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the width of the access")]
impl Registers for &Chip<'_> {
    fn size(&self) -> usize {
        0x100
    }

    fn read_u8(&self, offset: usize) -> u8 {
        self.read(offset) as u8
    }

    fn read_u16(&self, offset: usize) -> u16 {
        self.read(offset) as u16
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.read(offset)
    }

    fn write_u8(&self, offset: usize, value: u8) {
        self.write(offset, value.into());
    }

    fn write_u16(&self, offset: usize, value: u16) {
        self.write(offset, value.into());
    }

    fn write_u32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
}

/// One thing that the guest does with a card.
fn act(card: &mut dyn Nic, chip: &Chip<'_>, frame: &mut Vec<u8>) {
    let input = &chip.input;
    match input.below(10) {
        0..2 => chip.receive(),
        2..4 => {
            if let Ok(Some(len)) = card.receive(frame) {
                assert!((FRAME_MIN..=FRAME_MAX + 4).contains(&len) && len <= frame.len(), "{len}");
                chip.was_taken(&frame[..len]);
            }
        }
        4 => drop(card.transmit(vec![SENT; input.below(1600)])),
        5 => drop(card.reclaim()),
        6 => drop(card.transmit_in_place(vec![SENT; 100].into())),
        7 => drop(card.set_loopback(input.once_in(2))),
        8 => card.enable_interrupts(Cause::RECEIVER),
        _ => drop(card.acknowledge()),
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    MACHINE.with_borrow_mut(|(machine, table)| {
        machine.reset();
        play(machine, table, &input);
    });
}

fn play(machine: &FakeMachine, table: &mut Table, input: &Input) {
    let pool = Pool::new(table, machine);
    let max_order = Order::new(7).unwrap_or(Order::MAX);
    let plan = Plan { max_order, floor: 4096, ..Plan::new(512 << 10) };
    if pool.start(&plan, &mut |_| {}).is_err() {
        return;
    }
    let clock = TickingClock::default();
    let stuck = input.once_in(64);
    let chip = Chip {
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
    let model = [Model::Rtl8139, Model::Rtl8168, Model::Rtl8125][input.below(3)];
    let limits = Limits::new(DmaMask::BITS_32);
    let limits = PowerOfTwo::new(8).map_or(limits, |eight| limits.aligned_to(eight));
    let device = Device::new(&pool, machine, limits, Policy::Force);
    let started = reset(model, &chip, &clock).and_then(|idle| idle.start(device));
    let Ok(mut card) = started else { return };
    let mut frame = Vec::new();
    for _ in 0..64 {
        if input.is_over() {
            break;
        }
        let start = clock.now();
        act(&mut card, &chip, &mut frame);
        let took = clock.now().since(start);
        assert!(took < CALL_LIMIT, "a call took {took:?}");
    }
    for &(bus, len) in chip.given.borrow().iter() {
        let covered = card.dma_ranges().iter().any(|range| range.covers(BusAddr(bus), len));
        assert!(covered, "{len} at {bus:#x}");
    }
    // Whether it stops at once or not: nothing is lost for as long as it stops in the end.
    let _ = card.quiesce();
    chip.tame.set(true);
    let stopped = card.quiesce();
    assert!(stopped.is_ok() && pool.stats().is_balanced(), "{stopped:?}, {:?}", pool.stats());
}

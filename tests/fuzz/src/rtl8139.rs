//! The RTL8139's driver over a chip whose registers read as anything, and which writes anything into its ring.
//!
//! Asserts: every call ends; a received frame has the length of one and lies in the buffer given, and as long as the
//! chip plays by the rules it is the next one, byte by byte; so is what the chip is given to send; it is given no
//! address that the driver does not list; once the chip was seen to stop, every slot is back.

use crate::{Input, pattern::bytes_of};
use pvbounce::{
    addr::BusAddr,
    arch::time::Clock,
    device::{Cause, Driver as _, Idle as _, Registers, fake::TickingClock},
    dma::{Device, Plan, Policy, Pool, Table, fake::FakeMachine},
    mm::contiguous::Order,
    nic::{FRAME_MAX, FRAME_MIN, Nic, rtl8139::Idle},
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

const IDR0: usize = 0x00;
const TSD0: usize = 0x10;
const TSAD0: usize = 0x20;
const RBSTART: usize = 0x30;
const CR: usize = 0x37;
const CBR: usize = 0x3a;
const ISR: usize = 0x3e;
/// The longest that a call into the driver may take: a frame that is stuck, and resets before and after it.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// What a look at a register takes.
const LOOK: Duration = Duration::from_micros(50);
/// What the chip may write of its receive buffer.
const BUFFER: usize = (32 << 10) + 16 + 2048;

#[derive(Debug)]
struct Chip<'m> {
    machine: &'m FakeMachine,
    clock: &'m TickingClock,
    input: Input,
    ring: Cell<u32>,
    /// Frames written so far end here, if the chip plays by the rules.
    position: Cell<usize>,
    /// Whether it broke one since it was reset.
    odd: Cell<bool>,
    /// Frames written and not taken: what they stand for, and their lengths without the checksum.
    frames: RefCell<VecDeque<(usize, usize)>>,
    /// Where frames to send are said to be.
    to_send: Cell<[u32; 4]>,
    given: RefCell<Vec<(u32, usize)>>,
    /// Whether a reset may not end, which costs a wait.
    stuck: bool,
    /// Whether it comes out of each reset from here on.
    tame: Cell<bool>,
}

impl Chip<'_> {
    fn dma(&self, at: usize, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(BUFFER - at)];
        if self.ring.get() != 0 {
            assert!(self.machine.bus_write(BusAddr(u64::from(self.ring.get()) + at as u64), bytes));
        }
    }

    /// A frame where the driver looks for the next, or bytes anywhere.
    fn receive(&self) {
        if self.input.once_in(8) {
            self.odd.set(true);
            let at = self.input.below(BUFFER);
            return self.dma(at, &self.input.bytes(64));
        }
        let (at, id) = (self.position.get(), self.position.get() / 4);
        let length = if self.input.once_in(8) {
            self.input.u16()
        } else {
            64 + u16::from(self.input.u8()) * 6
        };
        let status = if self.input.once_in(8) { self.input.u16() } else { 1 };
        let written = !self.input.once_in(8);
        let [a, b] = status.to_le_bytes();
        let [c, d] = length.to_le_bytes();
        self.dma(at, &[a, b, c, d]);
        let length = usize::from(length);
        if written && length <= BUFFER - 4 - at {
            self.dma(at + 4, bytes_of(id, length.min(2048)));
        }
        let regular = written && status == 1 && (FRAME_MIN + 4..=FRAME_MAX + 4).contains(&length);
        self.odd.set(self.odd.get() || !regular);
        self.frames.borrow_mut().push_back((id, length.saturating_sub(4)));
        self.position.set((at + 4 + length).next_multiple_of(4) % (32 << 10));
    }

    /// What the driver got for a frame, or that there was none.
    fn was_taken(&self, frame: Option<&[u8]>) {
        let next = self.frames.borrow_mut().pop_front();
        if self.odd.get() {
            return;
        }
        let expected = next.map(|(id, len)| bytes_of(id, len));
        assert!(frame == expected, "{:?} of {next:?}", frame.map(<[u8]>::len));
    }

    /// Reads a frame to send: what the driver was given, and zeros up to the shortest length.
    fn send(&self, slot: usize, command: u32) {
        let mut bytes = [0; 0x2000];
        let frame = &mut bytes[..command as usize & 0x1fff];
        assert!((FRAME_MIN..=FRAME_MAX + 4).contains(&frame.len()), "{} to send", frame.len());
        assert!(self.machine.bus_read(BusAddr(self.to_send.get()[slot].into()), frame));
        let end = frame.iter().position(|&byte| byte != SENT).unwrap_or(frame.len());
        assert!(frame[end..].iter().all(|&byte| byte == 0), "{frame:?}");
        assert!(end == frame.len() || frame.len() == FRAME_MIN, "{frame:?}");
    }
}

impl Registers for &Chip<'_> {
    fn size(&self) -> usize {
        0x100
    }

    fn read_u8(&self, offset: usize) -> u8 {
        self.clock.advance(LOOK);
        match offset {
            IDR0..6 if !self.input.once_in(64) => 0x52,
            CR if self.tame.get() => 0,
            CR if !self.stuck => self.input.u8() & !0x1c,
            _ => self.input.u8(),
        }
    }

    fn read_u16(&self, offset: usize) -> u16 {
        self.clock.advance(LOOK);
        if offset == CBR {
            self.receive();
            if !self.input.once_in(8) {
                return u16::try_from(self.position.get()).unwrap_or(0);
            }
            self.odd.set(true);
        }
        if offset == ISR && !self.input.once_in(8) {
            return self.input.u16() & 0x7f;
        }
        self.input.u16()
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.clock.advance(LOOK);
        match offset {
            TSD0..TSAD0 if !self.input.once_in(4) => 0xa000,
            _ => self.input.u32(),
        }
    }

    fn write_u8(&self, offset: usize, _value: u8) {
        assert!(offset < 0x100);
        if offset == CR {
            self.position.set(0);
            self.odd.set(false);
            self.frames.borrow_mut().clear();
        }
    }

    fn write_u16(&self, offset: usize, _value: u16) {
        assert!(offset < 0x100 && offset.is_multiple_of(2));
    }

    fn write_u32(&self, offset: usize, value: u32) {
        assert!(offset < 0x100 && offset.is_multiple_of(4));
        match offset {
            RBSTART => {
                self.ring.set(value);
                self.given.borrow_mut().push((value, BUFFER));
            }
            TSD0..TSAD0 => self.send((offset - TSD0) / 4, value),
            TSAD0..RBSTART => {
                let mut to_send = self.to_send.get();
                to_send[(offset - TSAD0) / 4] = value;
                self.to_send.set(to_send);
                self.given.borrow_mut().push((value, FRAME_MIN));
            }
            _ => {}
        }
    }
}

/// What frames to send are made of.
const SENT: u8 = 0x5a;

/// One thing that the guest does with a card.
fn act(card: &mut dyn Nic, chip: &Chip<'_>, frame: &mut Vec<u8>) {
    let input = &chip.input;
    match input.below(9) {
        0..3 => match card.receive(frame) {
            Ok(Some(len)) => {
                let longest = FRAME_MAX + 4;
                assert!((FRAME_MIN..=longest).contains(&len) && len <= frame.len(), "{len}");
                chip.was_taken(Some(&frame[..len]));
            }
            Ok(None) => chip.was_taken(None),
            Err(_) => {}
        },
        3 => drop(card.transmit(vec![SENT; input.below(1600)])),
        4 => drop(card.reclaim()),
        5 => drop(card.transmit_in_place(vec![SENT; 100].into())),
        6 => drop(card.set_loopback(input.once_in(2))),
        7 => card.enable_interrupts(Cause::RECEIVER),
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
    let max_order = Order::new(5).unwrap_or(Order::MAX);
    let plan = Plan { max_order, floor: 4096, ..Plan::new(128 << 10) };
    if pool.start(&plan, &mut |_| {}).is_err() {
        return;
    }
    let clock = TickingClock::default();
    let (ring, position, given) = (Cell::new(0), Cell::new(0), RefCell::default());
    let (stuck, tame) = (input.once_in(64), Cell::new(false));
    let chip = Chip {
        machine,
        clock: &clock,
        input: input.clone(),
        ring,
        position,
        odd: Cell::new(false),
        frames: RefCell::default(),
        to_send: Cell::default(),
        given,
        stuck,
        tame,
    };
    let started = Idle::reset(&chip, &clock).and_then(|idle| {
        let device = Device::new(&pool, machine, idle.limits(), Policy::Force);
        idle.start(device)
    });
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
        let bus = BusAddr(bus.into());
        assert!(card.dma_ranges().iter().any(|range| range.covers(bus, len)), "{len} at {bus}");
    }
    // Whether it stops at once or not: nothing is lost for as long as it stops in the end.
    let _ = card.quiesce();
    chip.tame.set(true);
    let stopped = card.quiesce();
    assert!(stopped.is_ok() && pool.stats().is_balanced(), "{stopped:?}, {:?}", pool.stats());
}

//! The RTL8139's driver over a chip whose registers read as anything, and which writes anything into its ring.
//!
//! Asserts: every call ends; a received frame has the length of one and lies in the buffer given; the chip is given
//! no address that the driver does not list; once the chip was seen to stop, every slot is back.

use crate::Input;
use pvbounce::{
    addr::BusAddr,
    arch::time::Clock,
    dma::{Device, Plan, Policy, Pool, Table, fake::FakeMachine},
    mm::contiguous::Order,
    nic::{
        Cause, DriverKind, FRAME_MAX, FRAME_MIN, Nic, fake::TickingClock, mmio::Registers,
        rtl8139::Idle,
    },
};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

thread_local! {
    // Its pages are never freed: one machine for all inputs.
    static MACHINE: RefCell<FakeMachine> = RefCell::default();
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
/// What the chip may write of its receive buffer.
const BUFFER: usize = (32 << 10) + 16 + 2048;

#[derive(Debug)]
struct Chip<'m> {
    machine: &'m FakeMachine,
    input: Input,
    ring: Cell<u32>,
    /// Frames written so far end here, if the chip plays by the rules.
    position: Cell<usize>,
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
        if self.input.once_in(4) {
            let at = self.input.below(BUFFER);
            return self.dma(at, &self.input.bytes(64));
        }
        let at = self.position.get();
        let length = if self.input.once_in(8) {
            self.input.u16()
        } else {
            64 + u16::from(self.input.u8()) * 6
        };
        let status = if self.input.once_in(8) { self.input.u16() } else { 1 };
        let [a, b] = status.to_le_bytes();
        let [c, d] = length.to_le_bytes();
        self.dma(at, &[a, b, c, d]);
        self.position.set((at + 4 + usize::from(length)).next_multiple_of(4) % (32 << 10));
    }
}

impl Registers for &Chip<'_> {
    fn len(&self) -> usize {
        0x100
    }

    fn read_u8(&self, offset: usize) -> u8 {
        match offset {
            IDR0..6 if !self.input.once_in(64) => 0x52,
            CR if self.tame.get() => 0,
            CR if !self.stuck => self.input.u8() & !0x1c,
            _ => self.input.u8(),
        }
    }

    fn read_u16(&self, offset: usize) -> u16 {
        if offset == CBR {
            self.receive();
            if !self.input.once_in(8) {
                return u16::try_from(self.position.get()).unwrap_or(0);
            }
        }
        if offset == ISR && !self.input.once_in(8) {
            return self.input.u16() & 0x7f;
        }
        self.input.u16()
    }

    fn read_u32(&self, offset: usize) -> u32 {
        match offset {
            TSD0..TSAD0 if !self.input.once_in(4) => 0xa000,
            _ => self.input.u32(),
        }
    }

    fn write_u8(&self, offset: usize, _value: u8) {
        assert!(offset < 0x100);
        if offset == CR {
            self.position.set(0);
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
            TSAD0..RBSTART => self.given.borrow_mut().push((value, FRAME_MIN)),
            _ => {}
        }
    }
}

/// One thing that the guest does with a card.
fn act(card: &mut dyn Nic, input: &Input, frame: &mut Vec<u8>) {
    match input.below(9) {
        0..3 => {
            if let Ok(Some(len)) = card.receive(frame) {
                let longest = FRAME_MAX + 4;
                assert!((FRAME_MIN..=longest).contains(&len) && len <= frame.len(), "{len}");
            }
        }
        3 => drop(card.transmit(vec![0x5a; input.below(1600)])),
        4 => drop(card.reclaim()),
        5 => drop(card.transmit_in_place(vec![0x5a; 100].into())),
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
    MACHINE.with_borrow_mut(|machine| {
        machine.reset();
        play(machine, &input);
    });
}

fn play(machine: &FakeMachine, input: &Input) {
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, machine);
    let max_order = Order::new(5).unwrap_or(Order::MAX);
    let plan = Plan { max_order, floor: 4096, ..Plan::new(128 << 10) };
    if pool.start(&plan, &mut |_| {}).is_err() {
        return;
    }
    let device = Device::new(&pool, machine, DriverKind::Rtl8139.limits(), Policy::Force);
    let clock = TickingClock::default();
    let (ring, position, given) = (Cell::new(0), Cell::new(0), RefCell::default());
    let (stuck, tame) = (input.once_in(64), Cell::new(false));
    let chip = Chip { machine, input: input.clone(), ring, position, given, stuck, tame };
    let started = Idle::reset(&chip, &clock).and_then(|idle| idle.start(device));
    let Ok(mut card) = started else { return };
    let mut frame = Vec::new();
    for _ in 0..64 {
        if input.is_over() {
            break;
        }
        let start = clock.now();
        act(&mut card, input, &mut frame);
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

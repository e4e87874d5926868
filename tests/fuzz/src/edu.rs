//! The driver of QEMU's `edu` over a device whose registers read as anything, and which writes anything to what it was
//! given.
//!
//! Asserts: every call ends; what comes back is what was sent for as long as the device plays by the rules; it is given
//! no address that the driver does not list, and none that it can't hold; once it was seen to stop, every slot is back.

use crate::{Input, pattern::bytes_of};
use pvbounce::{
    addr::{BusAddr, DmaMask},
    arch::time::Clock,
    device::{Arrival, Cause, Driver as _, Idle as _, Mover, Registers, fake::TickingClock},
    dma::{Device, Plan, Policy, Pool, Table, fake::FakeMachine},
    engine::edu::Idle,
    mm::contiguous::Order,
};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

thread_local! {
    // Its pages are never freed: one machine for all inputs. A table is 300 KiB: one, too.
    static MACHINE: RefCell<(FakeMachine, Box<Table>)> = RefCell::default();
}

const IDENTIFICATION: usize = 0x00;
const LIVENESS: usize = 0x04;
const STATUS: usize = 0x20;
const SOURCE: usize = 0x80;
const DESTINATION: usize = 0x88;
const COUNT: usize = 0x90;
const COMMAND: usize = 0x98;
const TO_MEMORY: u32 = 2;
const BUFFER: u32 = 0x4_0000;
const BUFFER_LEN: usize = 4096;
const REACH: u32 = 28;
/// The longest that a call into the driver may take: two transfers that are stuck, and waits for either to stop.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// What a look at a register takes.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Chip<'m> {
    machine: &'m FakeMachine,
    clock: &'m TickingClock,
    input: Input,
    liveness: Cell<u32>,
    source: Cell<u32>,
    destination: Cell<u32>,
    count: Cell<u32>,
    command: Cell<u32>,
    buffer: RefCell<[u8; BUFFER_LEN]>,
    /// Whether it broke a rule since a transfer was last sent.
    odd: Cell<bool>,
    given: RefCell<Vec<(BusAddr, usize)>>,
    /// Whether it comes to an end from here on.
    tame: Cell<bool>,
}

impl Chip<'_> {
    /// Where the transfer that the registers describe has its memory.
    fn memory(&self) -> (BusAddr, usize) {
        let writes = self.command.get() & TO_MEMORY != 0;
        let at = if writes { &self.destination } else { &self.source };
        (BusAddr(at.get().into()), self.count.get() as usize)
    }

    fn begin(&self, command: u32) {
        assert_eq!((command & 1, command & !7), (1, 0), "command {command:#x}");
        self.command.set(command);
        let (bus, len) = self.memory();
        let inside = if command & TO_MEMORY == 0 { &self.destination } else { &self.source };
        assert_eq!(inside.get(), BUFFER);
        assert!((1..=BUFFER_LEN).contains(&len), "{len}");
        assert!(DmaMask::from_bits(REACH).is_some_and(|mask| mask.covers(bus, len)), "{bus}");
        self.given.borrow_mut().push((bus, len));
        if command & TO_MEMORY == 0 {
            self.odd.set(false);
        }
    }

    /// Copies, or does something else instead.
    fn copy(&self) {
        let (bus, len) = self.memory();
        let mut buffer = self.buffer.borrow_mut();
        if self.input.once_in(8) {
            self.odd.set(true);
        } else if self.command.get() & TO_MEMORY == 0 {
            assert!(self.machine.bus_read(bus, &mut buffer[..len]));
        } else {
            assert!(self.machine.bus_write(bus, &buffer[..len]));
        }
        if self.command.get() & TO_MEMORY != 0 && self.input.once_in(8) {
            self.odd.set(true);
            let wrong = self.input.bytes(len);
            assert!(self.machine.bus_write(bus, &wrong));
        }
    }

    fn read_command(&self) -> u32 {
        let command = self.command.get();
        if command & 1 == 0 || self.tame.get() {
            self.command.set(command & !1);
            return command & !1;
        }
        match self.input.below(16) {
            0..8 => {
                self.copy();
                self.command.set(command & !1);
                command & !1
            }
            15 => self.input.u32(),
            _ => command,
        }
    }
}

impl Registers for &Chip<'_> {
    fn size(&self) -> usize {
        1 << 20
    }

    fn read_u8(&self, offset: usize) -> u8 {
        panic!("8-bit read of {offset:#x}")
    }

    fn read_u16(&self, offset: usize) -> u16 {
        panic!("16-bit read of {offset:#x}")
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.clock.advance(LOOK);
        match offset {
            COMMAND => self.read_command(),
            IDENTIFICATION if self.tame.get() || !self.input.once_in(64) => 0x0100_00ed,
            LIVENESS if !self.input.once_in(64) => !self.liveness.get(),
            STATUS if self.tame.get() || !self.input.once_in(32) => 0,
            _ => self.input.u32(),
        }
    }

    fn write_u8(&self, offset: usize, _value: u8) {
        panic!("8-bit write to {offset:#x}")
    }

    fn write_u16(&self, offset: usize, _value: u16) {
        panic!("16-bit write to {offset:#x}")
    }

    fn write_u32(&self, offset: usize, value: u32) {
        match offset {
            LIVENESS => self.liveness.set(value),
            SOURCE => self.source.set(value),
            DESTINATION => self.destination.set(value),
            COUNT => self.count.set(value),
            COMMAND => self.begin(value),
            _ => assert!(matches!(offset, STATUS | 0x60 | 0x64), "{offset:#x}"),
        }
    }
}

/// One thing that the guest does with an engine.
fn act(engine: &mut dyn Mover, chip: &Chip<'_>, sent: &mut &[u8], back: &mut Vec<u8>) {
    let input = &chip.input;
    match input.below(8) {
        0..3 => {
            let bytes = bytes_of(input.below(256), input.below(BUFFER_LEN + 2));
            if engine.send(bytes.to_vec().into()).is_ok() {
                *sent = bytes;
            }
        }
        3..6 => {
            if let Ok(Arrival::Back(len)) = engine.fetch(sent, back) {
                assert!(len == sent.len() && len <= back.len(), "{len} of {}", sent.len());
                assert!(chip.odd.get() || back[..len] == **sent);
            }
        }
        6 => {
            let some = input.once_in(2);
            engine.enable_interrupts(if some { Cause::RECEIVER } else { Cause::empty() });
        }
        _ => drop(engine.acknowledge()),
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
    let mask = DmaMask::from_bits(REACH).unwrap_or(DmaMask::BITS_32);
    let plan = Plan { max_order, floor: 4096, mask, ..Plan::new(128 << 10) };
    if pool.start(&plan, &mut |_| {}).is_err() {
        return;
    }
    let clock = TickingClock::default();
    let chip = Chip {
        machine,
        clock: &clock,
        input: input.clone(),
        liveness: Cell::default(),
        source: Cell::default(),
        destination: Cell::default(),
        count: Cell::default(),
        command: Cell::default(),
        buffer: RefCell::new([0; BUFFER_LEN]),
        odd: Cell::default(),
        given: RefCell::default(),
        tame: Cell::default(),
    };
    let started = Idle::reset(&chip, &clock).and_then(|idle| {
        let device = Device::new(&pool, machine, idle.limits(), Policy::Force);
        idle.start(device)
    });
    let Ok(mut engine) = started else { return };
    let (mut sent, mut back): (&[u8], _) = (&[], Vec::new());
    for _ in 0..64 {
        if input.is_over() {
            break;
        }
        let start = clock.now();
        act(&mut engine, &chip, &mut sent, &mut back);
        let took = clock.now().since(start);
        assert!(took < CALL_LIMIT, "a call took {took:?}");
    }
    for &(bus, len) in chip.given.borrow().iter() {
        assert!(engine.dma_ranges().iter().any(|range| range.covers(bus, len)), "{len} at {bus}");
    }
    // Whether it stops at once or not: nothing is lost for as long as it stops in the end.
    let _ = engine.quiesce();
    chip.tame.set(true);
    let _ = engine.quiesce();
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

//! The driver of QEMU's `edu` over a device whose registers read as anything, and which writes anything to what it was
//! given.
//!
//! Asserts, beside what holds of all movers: what comes back is what was sent for as long as the device plays by the rules;
//! it is given no address that it can't hold.

use crate::{
    mover::{self, Memory, Story, Surroundings},
    pattern::bytes_of,
};
use pvbounce::{
    addr::{BusAddr, DmaMask},
    device::{Idle as _, Mover, Registers, StartError},
    engine::edu::Idle,
};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

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
/// What a look at a register takes.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Chip<'c> {
    around: Surroundings<'c>,
    liveness: Cell<u32>,
    source: Cell<u32>,
    destination: Cell<u32>,
    count: Cell<u32>,
    command: Cell<u32>,
    buffer: RefCell<[u8; BUFFER_LEN]>,
    /// Whether it broke a rule since a transfer was last sent.
    odd: Cell<bool>,
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
        self.around.given.borrow_mut().push((bus, len));
        if command & TO_MEMORY == 0 {
            self.odd.set(false);
        }
    }

    /// Copies, or does something else instead.
    fn copy(&self) {
        let (bus, len) = self.memory();
        let mut buffer = self.buffer.borrow_mut();
        if self.around.input.once_in(8) {
            self.odd.set(true);
        } else if self.command.get() & TO_MEMORY == 0 {
            assert!(self.around.machine.bus_read(bus, &mut buffer[..len]));
        } else {
            assert!(self.around.machine.bus_write(bus, &buffer[..len]));
        }
        if self.command.get() & TO_MEMORY != 0 && self.around.input.once_in(8) {
            self.odd.set(true);
            let wrong = self.around.input.bytes(len);
            assert!(self.around.machine.bus_write(bus, &wrong));
        }
    }

    fn read_command(&self) -> u32 {
        let command = self.command.get();
        if command & 1 == 0 || self.around.tame.get() {
            self.command.set(command & !1);
            return command & !1;
        }
        match self.around.input.below(16) {
            0..8 => {
                self.copy();
                self.command.set(command & !1);
                command & !1
            }
            15 => {
                self.odd.set(true);
                self.around.input.u32()
            }
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
        self.around.clock.advance(LOOK);
        match offset {
            COMMAND => self.read_command(),
            IDENTIFICATION if self.around.tame.get() || !self.around.input.once_in(64) => {
                0x0100_00ed
            }
            LIVENESS if !self.around.input.once_in(64) => !self.liveness.get(),
            STATUS if self.around.tame.get() || !self.around.input.once_in(32) => 0,
            _ => self.around.input.u32(),
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

/// The guest, with an engine.
#[derive(Debug, Default)]
struct Guest {
    sent: &'static [u8],
    back: Vec<u8>,
}

impl Story for Guest {
    type Chip<'c> = Chip<'c>;

    // Two transfers that are stuck, and waits for either to stop.
    const CALL_LIMIT: Duration = Duration::from_secs(5);
    const CALLS: usize = 64;
    const MASK: DmaMask = match DmaMask::from_bits(REACH) {
        Some(mask) => mask,
        None => DmaMask::BITS_32,
    };

    fn chip(around: Surroundings<'_>) -> Chip<'_> {
        Chip {
            around,
            liveness: Cell::default(),
            source: Cell::default(),
            destination: Cell::default(),
            count: Cell::default(),
            command: Cell::default(),
            buffer: RefCell::new([0; BUFFER_LEN]),
            odd: Cell::default(),
        }
    }

    fn around<'a>(chip: &'a Chip<'_>) -> &'a Surroundings<'a> {
        &chip.around
    }

    fn start<'m>(
        chip: &'m Chip<'_>,
        memory: Memory<'m>,
    ) -> Result<Box<dyn Mover + 'm>, StartError> {
        let idle = Idle::reset(chip, chip.around.clock)?;
        let device = memory.device(idle.limits());
        Ok(Box::new(idle.start(device)?))
    }

    fn act(&mut self, engine: &mut dyn Mover, chip: &Chip<'_>) {
        let input = &chip.around.input;
        match input.below(8) {
            0..3 => {
                let bytes = bytes_of(input.below(256), input.below(BUFFER_LEN + 2));
                if engine.send(bytes.to_vec().into()).is_ok() {
                    self.sent = bytes;
                }
            }
            _ => mover::go_on(engine, input, self.sent, &mut self.back, &chip.odd),
        }
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    mover::run::<Guest>(bytes);
}

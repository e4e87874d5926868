//! The xHCI driver over a controller whose registers read as anything, and which writes what it likes to its event ring.
//!
//! Asserts, beside what holds of all movers: what comes back is what was sent for as long as the controller plays by the
//! rules; no command is given but the two that do nothing.

use crate::mover::{self, Memory, Story, Surroundings};
use pvbounce::{
    addr::BusAddr,
    device::{Idle as _, Mover, Registers, StartError},
    usb::xhci::Idle,
};
use std::{cell::Cell, time::Duration};

const OPERATIONAL: usize = 0x20;
const DOORBELL: usize = 0xc0;
const SLOTS: u32 = 4;
const BLOCK: usize = 16;
/// What a look at a register takes.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Chip<'c> {
    around: Surroundings<'c>,
    /// Whether its list of capabilities goes on for as long as its registers do.
    endless: bool,
    /// Whether it once said that its registers are elsewhere: it may not have been told where anything is.
    elsewhere: Cell<bool>,
    command: Cell<u32>,
    ring: Cell<u64>,
    table: Cell<u64>,
    dequeue: Cell<u64>,
    /// The next command, while there may be one.
    next: Cell<Option<u64>>,
    written: Cell<usize>,
    /// Whether it broke a rule since the last commands were sent.
    odd: Cell<bool>,
}

impl Chip<'_> {
    fn strange(&self, once_in: usize) -> bool {
        let strange = !self.around.tame.get() && self.around.input.once_in(once_in);
        self.odd.set(self.odd.get() || strange);
        strange
    }

    fn read(&self, bus: u64) -> [u8; BLOCK] {
        let (bus, mut bytes) = (BusAddr(bus), [0; BLOCK]);
        self.around.given.borrow_mut().push((bus, BLOCK));
        assert!(self.around.machine.bus_read(bus, &mut bytes), "nothing at {bus}");
        bytes
    }

    /// Writes an event, or something else, to where the next one goes, or elsewhere in the segment.
    fn event(&self, pointer: u64, code: u32, control: u32) {
        let entry = u128::from_le_bytes(self.read(self.table.get() & !63));
        let first = u64::try_from(entry & u128::from(u64::MAX)).expect("half of it");
        let blocks = usize::try_from(entry >> 64).expect("few blocks");
        assert!(first.is_multiple_of(64) && (16..4096).contains(&blocks), "{first:#x}, {blocks}");
        let nth =
            if self.strange(32) { self.around.input.below(blocks) } else { self.written.get() };
        if nth >= blocks {
            return;
        }
        self.written.set(nth + 1);
        let mut trb = u128::from(control) << 96 | u128::from(code) << 88 | u128::from(pointer);
        if self.strange(32) {
            trb ^= 1 << self.around.input.below(128);
        }
        let bus = BusAddr(first + (nth * BLOCK) as u64);
        self.around.given.borrow_mut().push((bus, BLOCK));
        assert!(self.around.machine.bus_write(bus, &trb.to_le_bytes()), "nothing at {bus}");
        self.dequeue.set(self.dequeue.get() | 8);
    }

    /// Does some of the commands.
    fn work(&self) {
        for _ in 0..32 {
            let Some(at) = self.next.get() else { return };
            if self.strange(64) {
                return;
            }
            let trb = u128::from_le_bytes(self.read(at));
            let control = u32::try_from(trb >> 96).expect("a quarter of it");
            self.next.set(Some(at + BLOCK as u64));
            let code = match (control & 1, control >> 10 & 0x3f) {
                (0, _) => return self.next.set(None),
                (_, 6) => {
                    self.next.set(u64::try_from(trb & u128::from(u64::MAX)).ok());
                    continue;
                }
                (_, 10) => 11,
                (_, 23) => 1,
                (_, other) => panic!("command {other}"),
            };
            self.event(at, code, 33 << 10 | 1);
            if self.strange(16) {
                self.event(1 << 24, 1, 34 << 10 | 1);
            }
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
            _ if self.strange(64) => {
                self.elsewhere.set(self.elsewhere.get() || offset < OPERATIONAL);
                self.around.input.u32()
            }
            0x00 => 0x0100_0020,
            0x04 => 2 << 24 | SLOTS,
            0x08 => 2 << 27,
            0x10 => 0x3c << 16 | 1,
            0x14 => 0xc0,
            0x18 => 0x80,
            OPERATIONAL => self.command.get() & !2,
            0x24 => {
                if self.command.get() & 1 != 0 && !self.elsewhere.get() {
                    self.work();
                }
                !self.command.get() & 1
            }
            0x28 => 1,
            0xb8 => u32::try_from(self.dequeue.get() & 0xffff_ffff).expect("half of it"),
            // Its extended capabilities: one, or as many as there is room for.
            0xf0.. => 0x0000_0101 + u32::from(self.endless),
            _ => 0,
        }
    }

    fn write_u8(&self, offset: usize, _value: u8) {
        panic!("8-bit write to {offset:#x}")
    }

    fn write_u16(&self, offset: usize, _value: u16) {
        panic!("16-bit write to {offset:#x}")
    }

    fn write_u32(&self, offset: usize, value: u32) {
        let half = |old: &Cell<u64>, high: bool| {
            let value = u64::from(value);
            let both = if high { old.get() & 0xffff_ffff | value << 32 } else { value };
            old.set(both);
        };
        match offset {
            OPERATIONAL => {
                self.command.set(value);
                if value & 1 == 0 {
                    self.next.set(None);
                }
            }
            0x38 | 0x3c => half(&self.ring, offset == 0x3c),
            0xb0 | 0xb4 => {
                half(&self.table, offset == 0xb4);
                self.written.set(0);
            }
            0xb8 | 0xbc => half(&self.dequeue, offset == 0xbc),
            DOORBELL => self.next.set(Some(self.ring.get() & !63)),
            // Where its registers are is what it says.
            _ => assert!(offset.is_multiple_of(4) && offset < self.size(), "{offset:#x}"),
        }
    }
}

/// The guest, with a controller.
#[derive(Debug, Default)]
struct Guest {
    sent: Vec<u8>,
    back: Vec<u8>,
}

impl Story for Guest {
    type Chip<'c> = Chip<'c>;

    // Commands that are not done, and a reset.
    const CALL_LIMIT: Duration = Duration::from_secs(60);
    const CALLS: usize = 32;

    fn chip(around: Surroundings<'_>) -> Chip<'_> {
        let endless = around.input.once_in(8);
        Chip {
            around,
            endless,
            elsewhere: Cell::default(),
            command: Cell::default(),
            ring: Cell::default(),
            table: Cell::default(),
            dequeue: Cell::default(),
            next: Cell::default(),
            written: Cell::default(),
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

    fn act(&mut self, controller: &mut dyn Mover, chip: &Chip<'_>) {
        let input = &chip.around.input;
        match input.below(8) {
            0..3 => {
                let mut bytes = vec![0; input.below(258) * BLOCK + usize::from(input.once_in(16))];
                if controller.fill(&mut bytes, input.below(256)).is_err() {
                    return;
                }
                if input.once_in(16) {
                    let at = input.below(bytes.len());
                    bytes[at] ^= 1 << input.below(8);
                }
                chip.odd.set(false);
                if controller.send(bytes.clone().into()).is_ok() {
                    self.sent = bytes;
                }
            }
            _ => mover::go_on(controller, input, &self.sent, &mut self.back, &chip.odd),
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

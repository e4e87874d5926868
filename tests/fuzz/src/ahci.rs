//! The AHCI driver over a controller whose registers read as anything, and which ends commands as it likes.
//!
//! Asserts, beside what holds of all movers: what comes back is what was read before for as long as the controller plays by
//! the rules; no command is given but the two that change nothing.

use crate::{
    mover::{self, Memory, Story, Surroundings},
    pattern::bytes_of,
};
use pvbounce::{
    addr::BusAddr,
    device::{Idle as _, Mover, Registers, StartError},
    storage::ahci::Idle,
};
use std::{cell::Cell, time::Duration};

const CAP: usize = 0x00;
const GHC: usize = 0x04;
const PI: usize = 0x0c;
const VS: usize = 0x10;
const CAP2: usize = 0x24;
const BOHC: usize = 0x28;
const PORT: usize = 0x100;
const BLOCK: usize = 512;
/// What a look at a register takes.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Chip<'c> {
    around: Surroundings<'c>,
    list: Cell<u64>,
    received: Cell<u64>,
    command: Cell<u32>,
    happened: Cell<u32>,
    issued: Cell<bool>,
    /// Whether it broke a rule since the last blocks were read.
    odd: Cell<bool>,
}

impl Chip<'_> {
    fn strange(&self, once_in: usize) -> bool {
        let strange = !self.around.tame.get() && self.around.input.once_in(once_in);
        self.odd.set(self.odd.get() || strange);
        strange
    }

    fn words(&self, bus: u64, count: usize) -> Vec<u32> {
        let mut bytes = vec![0; 4 * count];
        let bus = BusAddr(bus);
        self.around.given.borrow_mut().push((bus, bytes.len()));
        assert!(self.around.machine.bus_read(bus, &mut bytes), "{} bytes at {bus}", bytes.len());
        bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    fn write(&self, bus: u64, bytes: &[u8]) {
        let bus = BusAddr(bus);
        self.around.given.borrow_mut().push((bus, bytes.len()));
        assert!(self.around.machine.bus_write(bus, bytes), "{} bytes at {bus}", bytes.len());
    }

    /// Does the command in slot 0, or something else.
    fn work(&self) {
        if !self.issued.get() || self.command.get() & 1 == 0 || self.strange(8) {
            return;
        }
        let header = self.words(self.list.get(), 4);
        let table = u64::from(header[3]) << 32 | u64::from(header[2]);
        let fis = self.words(table, 5);
        let (mut bytes, is) = match fis[0] >> 16 & 0xff {
            0xec => (self.identity(), 2),
            0x25 => {
                let (seed, len) = (fis[1] as usize & 0xff_ffff, fis[3] as usize * BLOCK);
                (bytes_of(seed, len.min(32 << 10)).to_vec(), 1)
            }
            other => panic!("command {other:#x}"),
        };
        if self.strange(8) {
            bytes.truncate(self.around.input.below(bytes.len() + 1));
        }
        let mut left = &bytes[..];
        for n in 0..u64::from(header[0] >> 16) {
            let region = self.words(table + 0x80 + 16 * n, 4);
            let room = (region[3] & 0x3f_ffff) as usize + 1;
            let (here, rest) = left.split_at(room.min(left.len()));
            left = rest;
            if !here.is_empty() {
                self.write(u64::from(region[1]) << 32 | u64::from(region[0]), here);
            }
        }
        let moved = u32::try_from(bytes.len()).unwrap_or(0);
        let moved = if self.strange(16) { self.around.input.u32() } else { moved };
        self.write(self.list.get() + 4, &moved.to_le_bytes());
        self.happened.set(self.happened.get() | is);
        self.issued.set(false);
    }

    fn identity(&self) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        for (word, value) in [(49, 0x0100_u16), (83, 0x4400), (100, 1024)] {
            bytes[2 * word..2 * word + 2].copy_from_slice(&value.to_le_bytes());
        }
        if self.strange(8) {
            let drawn = self.around.input.bytes(64);
            let at = self.around.input.below(BLOCK - 64);
            bytes[at..at + drawn.len()].copy_from_slice(&drawn);
        }
        bytes
    }

    fn port(&self, register: usize) -> u32 {
        match register {
            0x10 => self.happened.get(),
            0x18 => {
                let command = self.command.get();
                command | (command & 1) << 15 | (command & 1 << 4) << 10
            }
            0x20 => 0x50,
            0x24 => 0x101,
            0x28 => 0x123,
            0x2c => 0x300,
            0x38 => {
                self.work();
                u32::from(self.issued.get())
            }
            _ => panic!("a read of {register:#x}"),
        }
    }
}

impl Registers for &Chip<'_> {
    fn size(&self) -> usize {
        0x180
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
            _ if self.strange(64) => self.around.input.u32(),
            CAP => 1 << 31,
            GHC => 1 << 31,
            PI | CAP2 | BOHC => 1,
            VS => 0x1_0301,
            PORT.. => self.port(offset - PORT),
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn write_u8(&self, offset: usize, _value: u8) {
        panic!("8-bit write to {offset:#x}")
    }

    fn write_u16(&self, offset: usize, _value: u16) {
        panic!("16-bit write to {offset:#x}")
    }

    fn write_u32(&self, offset: usize, value: u32) {
        let half = |old: u64, high: bool| {
            let value = u64::from(value);
            if high { old & 0xffff_ffff | value << 32 } else { old >> 32 << 32 | value }
        };
        match offset {
            GHC if value & 1 != 0 => {
                self.command.set(0);
                self.issued.set(false);
            }
            0x100 | 0x104 => self.list.set(half(self.list.get(), offset == 0x104)),
            0x108 | 0x10c => self.received.set(half(self.received.get(), offset == 0x10c)),
            0x110 => self.happened.set(self.happened.get() & !value),
            0x118 => self.command.set(value & 0x17),
            0x138 => self.issued.set(value & 1 != 0),
            GHC | BOHC | 0x08 | 0x114 | 0x12c | 0x130 => {}
            _ => panic!("a write of {value:#x} to {offset:#x}"),
        }
    }
}

/// The guest, with a disk.
#[derive(Debug, Default)]
struct Guest {
    sent: Vec<u8>,
    back: Vec<u8>,
}

impl Story for Guest {
    type Chip<'c> = Chip<'c>;

    // A command that is stuck, a reset, a link and a disk that are waited for.
    const CALL_LIMIT: Duration = Duration::from_secs(60);
    const CALLS: usize = 32;

    fn chip(around: Surroundings<'_>) -> Chip<'_> {
        Chip {
            around,
            list: Cell::default(),
            received: Cell::default(),
            command: Cell::default(),
            happened: Cell::default(),
            issued: Cell::default(),
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

    fn act(&mut self, disk: &mut dyn Mover, chip: &Chip<'_>) {
        let input = &chip.around.input;
        match input.below(8) {
            0..3 => {
                let mut bytes = vec![0; input.below(18) * BLOCK + usize::from(input.once_in(16))];
                chip.odd.set(false);
                let filled = disk.fill(&mut bytes, input.below(256));
                if filled.is_err() {
                    return;
                }
                if let Ok((_, placed)) = disk.send(vec![0; bytes.len()].into()) {
                    assert!(chip.odd.get() || placed[..] == bytes);
                    self.sent = bytes;
                }
            }
            _ => mover::go_on(disk, input, &self.sent, &mut self.back, &chip.odd),
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

//! The NVMe driver over a controller whose properties read as anything, and which completes anything.
//!
//! Asserts, beside what holds of all movers: what comes back is what was read and compared for as long as the controller
//! plays by the rules; no command is given but those that change nothing.

use crate::{
    mover::{self, Memory, Story, Surroundings},
    pattern::bytes_of,
};
use pvbounce::{
    addr::BusAddr,
    device::{Cause, Idle as _, Mover, Registers, StartError},
    pci::Delivery,
    storage::nvme::Idle,
};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

const CC: usize = 0x14;
const CSTS: usize = 0x1c;
const BLOCK: usize = 512;
/// What a look at a property takes.
const LOOK: Duration = Duration::from_millis(20);

/// A queue pair as the driver told of it.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    submissions: u64,
    completions: u64,
    entries: u64,
    head: u64,
    tail: u64,
    written: u64,
    wrapped: bool,
}

#[derive(Debug)]
struct Chip<'c> {
    around: Surroundings<'c>,
    enabled: Cell<bool>,
    /// Whether it was told that it is done with.
    down: Cell<bool>,
    /// Whether it interrupts by MSI-X.
    msix: Cell<bool>,
    words: RefCell<[u32; 4]>,
    entries: Cell<u32>,
    queues: RefCell<[Queue; 3]>,
    /// Whether it broke a rule since the last blocks were read.
    odd: Cell<bool>,
    /// Whether a property has read as anything.
    wild: Cell<bool>,
    /// Whether it once said that its doorbells are apart by something else than they are: it may then hear of none, or of others.
    elsewhere: Cell<bool>,
}

fn wide(words: &[u32], at: usize) -> u64 {
    u64::from(words[at + 1]) << 32 | u64::from(words[at])
}

impl Chip<'_> {
    fn strange(&self, once_in: usize) -> bool {
        let strange = !self.around.tame.get() && self.around.input.once_in(once_in);
        self.odd.set(self.odd.get() || strange);
        strange
    }

    /// Does what is next in each queue, or something else.
    fn work(&self) {
        for number in 0..3 {
            let queue = self.queues.borrow()[number];
            if queue.head == queue.tail || self.strange(16) {
                continue;
            }
            let mut bytes = [0; 64];
            let at = BusAddr(queue.submissions + queue.head * 64);
            assert!(self.around.machine.bus_read(at, &mut bytes), "a command at {at}");
            let words: Vec<u32> =
                bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            self.obey(number, &words);
            self.complete(number, words[0] >> 16);
        }
    }

    fn obey(&self, queue: usize, words: &[u32]) {
        match (queue, words[0] & 0xffff) {
            (0, 6) => self.identify(words),
            (0, 9 | 10) => {}
            (0, 5) => {
                let entries = u64::from(words[10] >> 16) + 1;
                let completions = wide(words, 6);
                self.queues.borrow_mut()[words[10] as usize & 0xffff] =
                    Queue { completions, entries, ..Queue::default() };
            }
            (0, 1) => {
                let number = words[10] as usize & 0xffff;
                self.queues.borrow_mut()[number].submissions = wide(words, 6);
            }
            (1 | 2, 2) => {
                let count = (words[12] as usize + 1) * BLOCK;
                let bytes = bytes_of(words[10] as usize, count.min(32 << 10));
                self.write(words, bytes);
            }
            (1, 5) => {}
            (_, other) => panic!("command {other:#x} in queue {queue}"),
        }
    }

    fn identify(&self, words: &[u32]) {
        let mut bytes = vec![0; 4096];
        match words[10] {
            1 => {
                // Two pages, so that each command's data lies in at most three.
                bytes[77] = 1;
                bytes[520] = u8::from(!self.around.input.once_in(4));
            }
            2 => bytes[0] = 1,
            _ => {
                bytes[..2].copy_from_slice(&[0, 4]);
                bytes[130] = 9;
            }
        }
        if self.strange(16) {
            let drawn = self.around.input.bytes(64);
            let at = self.around.input.below(600);
            bytes[at..at + drawn.len()].copy_from_slice(&drawn);
        }
        self.write(words, &bytes);
    }

    /// Writes to the pages that a command names, or not all of it.
    fn write(&self, words: &[u32], bytes: &[u8]) {
        let (first, second) = (wide(words, 6), wide(words, 8));
        let here = bytes.len().min(4096 - BusAddr(first).page_offset());
        let (head, rest) = bytes.split_at(here);
        self.around.given.borrow_mut().push((BusAddr(first), here));
        let mut pages = vec![second];
        if rest.len() > 4096 {
            let mut list = [0; 16];
            assert!(self.around.machine.bus_read(BusAddr(second), &mut list));
            pages = list.as_chunks::<8>().0.iter().map(|page| u64::from_le_bytes(*page)).collect();
        }
        if self.strange(8) {
            return;
        }
        assert!(self.around.machine.bus_write(BusAddr(first), head));
        for (page, piece) in pages.into_iter().zip(rest.chunks(4096)) {
            assert!(self.around.machine.bus_write(BusAddr(page), piece));
            self.around.given.borrow_mut().push((BusAddr(page), piece.len()));
        }
    }

    fn complete(&self, number: usize, identifier: u32) {
        let mut queues = self.queues.borrow_mut();
        let queue = &mut queues[number];
        if queue.entries == 0 {
            return;
        }
        queue.head = (queue.head + 1) % queue.entries;
        let last = u32::from(!queue.wrapped) << 16 | identifier;
        let head =
            u32::try_from(number << 16).unwrap_or(0) | u32::try_from(queue.head).unwrap_or(0);
        // What Set Features grants is two of each; nobody looks at the others'.
        let mut words = [0x1_0001, 0, head, last];
        if self.strange(16) {
            words[self.around.input.below(4)] ^= 1 << self.around.input.below(32);
        }
        let at = BusAddr(queue.completions + queue.written * 16);
        assert!(self.around.machine.bus_write(at, &words.map(u32::to_le_bytes).concat()), "{at}");
        queue.written = (queue.written + 1) % queue.entries;
        queue.wrapped ^= queue.written == 0;
    }

    fn configure(&self, value: u32) {
        let enabled = value & 1 != 0;
        self.down.set(value & 0xc000 != 0);
        if enabled && self.enabled.get() {
            return;
        }
        self.enabled.set(enabled);
        let words = self.words.borrow();
        let entries = u64::from(self.entries.get() & 0xfff) + 1;
        let (submissions, completions) = (wide(&words[..], 0), wide(&words[..], 2));
        let admin = Queue { submissions, completions, entries, ..Queue::default() };
        *self.queues.borrow_mut() =
            if enabled { [admin, Queue::default(), Queue::default()] } else { Default::default() };
    }
}

impl Registers for &Chip<'_> {
    fn size(&self) -> usize {
        0x4000
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
            _ if !self.around.tame.get() && self.around.input.once_in(64) => {
                self.wild.set(true);
                self.elsewhere.set(self.elsewhere.get() || offset == 4);
                let drawn = self.around.input.u32();
                // It may ask for two minutes to become ready (TO), and would get them.
                if offset == 0 { drawn & 0x00ff_ffff | 1 << 24 } else { drawn }
            }
            // MQES 31, TO 500 ms; the NVM command set.
            0 => 31 | 1 << 24,
            4 => 1 << 5,
            8 => 0x1_0400,
            CC => u32::from(self.enabled.get()),
            CSTS => {
                if self.enabled.get() {
                    self.work();
                }
                let down = if self.down.get() { 2 } else { 0 };
                u32::from(self.enabled.get()) | down << 2
            }
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
        match offset {
            0x0c | 0x10 => assert!(!self.msix.get(), "the mask belongs to lines and MSI"),
            CC => self.configure(value),
            0x24 => self.entries.set(value),
            0x28 | 0x2c | 0x30 | 0x34 => self.words.borrow_mut()[(offset - 0x28) / 4] = value,
            0x1000.. if self.elsewhere.get() => {}
            0x1000 | 0x1008 | 0x1010 => {
                self.queues.borrow_mut()[(offset - 0x1000) / 8].tail = value.into();
            }
            0x1004 | 0x100c | 0x1014 => {}
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

    // Commands that are stuck, and waits for the controller before and after each of those that set it up.
    const CALL_LIMIT: Duration = Duration::from_secs(40);
    const CALLS: usize = 32;

    fn chip(around: Surroundings<'_>) -> Chip<'_> {
        let enabled = Cell::new(around.input.once_in(2));
        Chip {
            around,
            enabled,
            down: Cell::default(),
            msix: Cell::default(),
            words: RefCell::default(),
            entries: Cell::default(),
            queues: RefCell::default(),
            odd: Cell::default(),
            wild: Cell::default(),
            elsewhere: Cell::default(),
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
        match input.below(9) {
            0..3 => {
                let mut bytes = vec![0; input.below(18) * BLOCK + usize::from(input.once_in(16))];
                chip.odd.set(false);
                let filled = disk.fill(&mut bytes, input.below(256));
                if filled.is_ok() && disk.send(bytes.clone().into()).is_ok() {
                    self.sent = bytes;
                }
            }
            3 => {
                disk.enable_interrupts(Cause::empty());
                chip.msix.set(input.once_in(2));
                let how = if chip.msix.get() { Delivery::Msix } else { Delivery::Intx };
                chip.wild.set(false);
                let delivered = disk.deliver(how);
                assert!(chip.wild.get() || delivered == Ok(()), "{delivered:?}");
                disk.enable_interrupts(Cause::RECEIVER);
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

//! The driver of virtio network devices over one whose registers read as anything, which is anywhere in its BAR, and which
//! writes anything into its queues and buffers.
//!
//! Asserts: what `cards` does; and what the device is offered is whole, is offered once, and asks nothing of it.

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
    nic::{FRAME_MAX, FRAME_MIN, fake::virtio::CAPABILITIES, virtio},
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

/// What a look at a register takes: much, for a story to be short.
const LOOK: Duration = Duration::from_millis(1);
const LEN: u16 = 64;

/// One queue as the driver told of it.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    /// Descriptors, available ring, used ring.
    places: [u64; 3],
    seen: u16,
    used: u16,
}

#[derive(Debug)]
struct Chip<'m> {
    machine: &'m FakeMachine,
    clock: &'m TickingClock,
    input: Input,
    status: Cell<u8>,
    select: Cell<u16>,
    queues: [Cell<Queue>; 2],
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

    fn bytes(&self, bus: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        assert!(self.machine.bus_read(BusAddr(bus), &mut bytes), "{len} bytes at {bus:#x}");
        self.given.borrow_mut().push((bus, len));
        bytes
    }

    fn half(&self, bus: u64) -> u16 {
        let bytes = self.bytes(bus, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    fn descriptor(&self, queue: &Queue, number: u16) -> [u64; 2] {
        assert!(number < LEN, "descriptor {number}");
        let bytes = self.bytes(queue.places[0] + 16 * u64::from(number), 16);
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
    }

    /// The next descriptor that is offered.
    fn offered(&self, queue: &Queue) -> Option<u16> {
        if self.status.get() & 4 == 0 {
            return None;
        }
        let count = self.half(queue.places[1] + 2).wrapping_sub(queue.seen);
        assert!(count < LEN, "{count} offered");
        let entry = queue.places[1] + 4 + 2 * u64::from(queue.seen % LEN);
        (count > 0).then(|| self.half(entry))
    }

    /// Lists a descriptor, or another, once or more often; whether by the rules.
    fn use_up(&self, n: usize, number: u32, len: u32) -> bool {
        let mut queue = self.queues[n].get();
        let number = if self.input.once_in(16) { self.input.u32() >> 24 } else { number };
        let entry = queue.places[2] + 4 + 8 * u64::from(queue.used % LEN);
        self.dma(entry, &number.to_le_bytes());
        self.dma(entry + 4, &len.to_le_bytes());
        queue.seen = queue.seen.wrapping_add(1);
        queue.used = queue.used.wrapping_add(1);
        let wrong = self.input.once_in(16);
        let told = if wrong { self.input.u16() } else { queue.used };
        self.dma(queue.places[2] + 2, &told.to_le_bytes());
        self.queues[n].set(queue);
        told == queue.used
    }

    fn arrive(&self) {
        let queue = self.queues[0].get();
        if self.odd.get() || self.status.get() & 4 == 0 {
            return;
        }
        if self.input.once_in(8) {
            self.odd.set(true);
            return self.dma(queue.places[2] + self.input.below(500) as u64, &self.input.bytes(16));
        }
        let Some(number) = self.offered(&queue) else { return };
        let [buffer, word] = self.descriptor(&queue, number);
        assert_eq!(word & 0xffff_ffff_ffff, 2 << 32 | 2048);
        let id = self.written.get();
        let length = if self.input.once_in(8) {
            usize::from(self.input.u16())
        } else {
            FRAME_MIN + usize::from(self.input.u8()) * 5
        };
        let whole = !self.input.once_in(8);
        if whole && length <= 2048 - 12 {
            self.dma(buffer, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            self.dma(buffer + 12, bytes_of(id, length));
        }
        let right = u32::try_from(12 + length).unwrap_or(u32::MAX);
        let told = if self.input.once_in(16) { self.input.u32() } else { right };
        let expected = told == right;
        let ruled = self.use_up(0, number.into(), told);
        let entry = self.bytes(queue.places[2] + 4 + 8 * u64::from(queue.used % LEN), 1);
        let listed = u16::from(entry[0]) == number;
        let fits = (FRAME_MIN..=FRAME_MAX + 4).contains(&length);
        self.odd.set(!(whole && expected && ruled && listed && fits));
        self.frames.borrow_mut().push_back((id, length));
        self.written.set(id + 1);
    }

    fn send(&self) {
        loop {
            let queue = self.queues[1].get();
            let Some(head) = self.offered(&queue) else { return };
            let [bus, word] = self.descriptor(&queue, head);
            assert_eq!(word & 0xffff_ffff_ffff, 1 << 32 | 12, "a header, and more");
            assert_eq!(self.bytes(bus, 12), [0; 12]);
            let [bus, len] = self.descriptor(&queue, (word >> 48) as u16);
            assert!((60..=1514).contains(&len), "{len:#x}, and no more");
            assert!(is_to_send(&self.bytes(bus, to_usize(len))));
            if !self.use_up(1, head.into(), self.input.u8().into()) {
                return;
            }
        }
    }

    fn set_status(&self, value: u8) {
        self.status.set(value);
        if value == 0 {
            self.queues.iter().for_each(|queue| queue.set(Queue::default()));
            self.odd.set(false);
            self.frames.borrow_mut().clear();
        }
    }

    fn read(&self, offset: usize) -> u32 {
        self.clock.advance(LOOK);
        if !self.tame.get() && self.input.once_in(16) {
            return self.input.u32();
        }
        match offset {
            0x04 => u32::MAX,
            0x14 if self.stuck && !self.tame.get() => 0xf,
            0x14 => self.status.get().into(),
            0x18 => 256,
            0x1e => self.select.get().into(),
            0x1000 => u32::from(self.input.u8() & 3),
            0x2000..0x2006 => 0x52,
            0x2006 => 1,
            _ => self.input.u32(),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        let half = (value & 0xffff) as u16;
        match offset {
            0x14 => self.set_status(value.to_le_bytes()[0]),
            0x16 => self.select.set(half),
            0x20..0x38 => {
                let cell = &self.queues[usize::from(self.select.get())];
                let mut queue = cell.get();
                let (place, half) = (&mut queue.places[(offset - 0x20) / 8], u64::from(value));
                *place = match offset % 8 {
                    0 => *place >> 32 << 32 | half,
                    _ => *place & 0xffff_ffff | half << 32,
                };
                cell.set(queue);
            }
            0x3004 if self.status.get() & 4 != 0 && !self.input.once_in(32) => self.send(),
            _ => {}
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the width of the access")]
impl Registers for &Chip<'_> {
    fn size(&self) -> usize {
        0x4000
    }

    fn read_u8(&self, offset: usize) -> u8 {
        self.read(offset) as u8
    }

    fn read_u16(&self, offset: usize) -> u16 {
        assert!(offset.is_multiple_of(2) && offset < 0x3fff);
        self.read(offset) as u16
    }

    fn read_u32(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 0x3ffd);
        self.read(offset)
    }

    fn write_u8(&self, offset: usize, value: u8) {
        self.write(offset, value.into());
    }

    fn write_u16(&self, offset: usize, value: u16) {
        assert!(offset.is_multiple_of(2) && offset < 0x3fff);
        self.write(offset, value.into());
    }

    fn write_u32(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < 0x3ffd);
        self.write(offset, value);
    }
}

impl Far for Chip<'_> {
    fn input(&self) -> &Input {
        &self.input
    }

    fn receive(&self) {
        self.arrive();
    }

    fn was_taken(&self, frame: &[u8]) {
        let next = self.frames.borrow_mut().pop_front();
        if self.odd.get() {
            return;
        }
        let expected = next.map(|(id, len)| bytes_of(id, len));
        assert!(Some(frame) == expected, "{} bytes of {next:?}", frame.len());
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
    let mut vendor = CAPABILITIES;
    if input.once_in(16) {
        vendor[input.below(4)][input.below(5)] = input.u32();
    }
    let chip = Chip {
        machine,
        clock: &clock,
        input: input.clone(),
        status: Cell::new(0xf),
        select: Cell::new(0),
        queues: Default::default(),
        odd: Cell::new(false),
        frames: RefCell::default(),
        written: Cell::new(0),
        given: RefCell::default(),
        stuck: input.once_in(64),
        tame: Cell::new(false),
    };
    chip.set_status(0);
    chip.status.set(0xb);
    let device = Device::new(&pool, machine, Limits::new(DmaMask::BITS_32), Policy::Force);
    let idle = virtio::reset(&vendor, |_| Ok(&chip), &clock);
    let started = idle.and_then(|idle| idle.start(device));
    let Ok(mut card) = started else { return };
    live(&mut card, &chip, &clock, &pool);
}

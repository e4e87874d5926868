//! The driver of virtio network devices over one whose registers read as anything, whose structures are anywhere in its
//! BARs, and which writes anything into its queues and buffers.
//!
//! Asserts: what `cards` does; and what the device is offered is whole, is offered once, and asks nothing of it.

use crate::{
    Input,
    pattern::bytes_of,
    stage::{Book, Far, Stage, is_to_send, live, on_stage},
};
use pvbounce::{
    addr::{DmaMask, to_usize},
    device::{Idle as _, Registers, fake::TickingClock},
    dma::{Device, Limits, Policy},
    nic::{FRAME_MAX, FRAME_MIN, HEADER, fake::virtio::CAPABILITIES, virtio},
};
use std::{cell::Cell, time::Duration};

/// What a look at a register takes: much, for a story to be short.
const LOOK: Duration = Duration::from_millis(1);
const LEN: u16 = 64;
/// A quarter of a BAR: a structure is in each, and [`CAPABILITIES`] has them at its start.
const QUARTER: usize = 0x1000;

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
    book: Book<'m>,
    /// Where in its quarter each structure begins.
    places: [usize; 4],
    /// Whether it says of a structure that it is elsewhere: what it is told is then nothing that it could use.
    lies: bool,
    clock: &'m TickingClock,
    input: Input,
    status: Cell<u8>,
    select: Cell<u16>,
    queues: [Cell<Queue>; 2],
    /// Whether a reset may not end, which costs a wait.
    stuck: bool,
    /// Whether it answers as it should from here on.
    tame: Cell<bool>,
}

impl Chip<'_> {
    fn half(&self, bus: u64) -> u16 {
        let bytes = self.book.read(bus, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    fn descriptor(&self, queue: &Queue, number: u16) -> [u64; 2] {
        assert!(number < LEN, "descriptor {number}");
        self.book.words(queue.places[0] + 16 * u64::from(number))
    }

    fn runs(&self) -> bool {
        self.status.get() & 4 != 0 && !self.lies
    }

    /// The next descriptor that is offered.
    fn offered(&self, queue: &Queue) -> Option<u16> {
        if !self.runs() {
            return None;
        }
        let count = self.half(queue.places[1] + 2).wrapping_sub(queue.seen);
        assert!(count < LEN, "{count} offered");
        let entry = queue.places[1] + 4 + 2 * u64::from(queue.seen % LEN);
        (count > 0).then(|| self.half(entry))
    }

    /// A number that may be one of the driver's descriptors', or any.
    fn drawn(&self) -> u32 {
        self.input.u32() >> self.input.one_of(&[0, 24])
    }

    /// Lists a descriptor, or another, once or more often; whether by the rules.
    fn use_up(&self, n: usize, number: u32, len: u32) -> bool {
        let mut queue = self.queues[n].get();
        let number = if self.input.once_in(16) { self.drawn() } else { number };
        let entry = queue.places[2] + 4 + 8 * u64::from(queue.used % LEN);
        self.book.write(entry, &number.to_le_bytes());
        self.book.write(entry + 4, &len.to_le_bytes());
        queue.seen = queue.seen.wrapping_add(1);
        queue.used = queue.used.wrapping_add(1);
        let wrong = self.input.once_in(16);
        let told = if wrong { self.input.u16() } else { queue.used };
        self.book.write(queue.places[2] + 2, &told.to_le_bytes());
        self.queues[n].set(queue);
        told == queue.used
    }

    fn arrive(&self) {
        let queue = self.queues[0].get();
        if self.book.odd.get() || !self.runs() {
            return;
        }
        if self.input.once_in(8) {
            self.book.odd.set(true);
            let at = queue.places[2] + self.input.below(500) as u64;
            return self.book.write(at, &self.input.bytes(16));
        }
        let Some(number) = self.offered(&queue) else { return };
        let [buffer, word] = self.descriptor(&queue, number);
        assert_eq!(word & 0xffff_ffff_ffff, 2 << 32 | 2048);
        let length = if self.input.once_in(8) {
            usize::from(self.input.u16())
        } else {
            FRAME_MIN + usize::from(self.input.u8()) * 5
        };
        let whole = !self.input.once_in(8);
        if whole && length <= 2048 - 12 {
            self.book.write(buffer, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            self.book.write(buffer + 12, bytes_of(self.book.next(), length));
        }
        let right = u32::try_from(12 + length).unwrap_or(u32::MAX);
        let told = if self.input.once_in(16) { self.input.u32() } else { right };
        let expected = told == right;
        let ruled = self.use_up(0, number.into(), told);
        let entry = self.book.read(queue.places[2] + 4 + 8 * u64::from(queue.used % LEN), 4);
        let listed = entry == u32::from(number).to_le_bytes();
        let fits = (FRAME_MIN..=FRAME_MAX + 4).contains(&length);
        self.book.odd.set(!(whole && expected && ruled && listed && fits));
        self.book.wrote(length);
    }

    fn send(&self) {
        loop {
            let queue = self.queues[1].get();
            let Some(head) = self.offered(&queue) else { return };
            let [bus, word] = self.descriptor(&queue, head);
            assert_eq!(word & 0xffff_ffff_ffff, 1 << 32 | 12, "a header, and more");
            assert_eq!(self.book.read(bus, 12), [0; 12]);
            let [bus, len] = self.descriptor(&queue, (word >> 48) as u16);
            assert!((60..=1514).contains(&len), "{len:#x}, and no more");
            assert!(is_to_send(&self.book.read(bus, to_usize(len))));
            if !self.use_up(1, head.into(), self.input.u8().into()) {
                return;
            }
        }
    }

    fn set_status(&self, value: u8) {
        self.status.set(value);
        if value == 0 {
            self.queues.iter().for_each(|queue| queue.set(Queue::default()));
            self.book.reset();
        }
    }

    /// Which register that is, as if each structure began with its quarter; beyond all of them if it is in none.
    fn register(&self, offset: usize) -> usize {
        let (quarter, at) = (offset / QUARTER, offset % QUARTER);
        let place = self.places.get(quarter).and_then(|place| at.checked_sub(*place));
        place.map_or(usize::MAX, |register| QUARTER * quarter + register)
    }

    fn read(&self, offset: usize) -> u32 {
        self.clock.advance(LOOK);
        if !self.tame.get() && self.input.once_in(16) {
            return self.input.u32();
        }
        match self.register(offset) {
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
        match self.register(offset) {
            0x14 => self.set_status(value.to_le_bytes()[0]),
            0x16 => self.select.set(half),
            offset @ 0x20..0x38 => {
                let Some(cell) = self.queues.get(usize::from(self.select.get())) else { return };
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
    // What comes by no wire may be a header alone.
    fn shortest(&self) -> usize {
        HEADER
    }

    fn input(&self) -> &Input {
        &self.input
    }

    fn receive(&self) {
        self.arrive();
    }

    fn book(&self) -> &Book<'_> {
        &self.book
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
    on_stage(bytes, play);
}

fn play(stage: &Stage<'_>, input: &Input) {
    let &Stage { machine, pool, clock } = stage;
    let mut vendor = CAPABILITIES;
    let places = vendor.each_mut().map(|[_, bar, offset, len, _]| {
        // The longest that is used has 0x38 bytes.
        let place = u32::from(input.u16()) % ((*len - 0x38) / 4 + 1) * 4;
        (*bar, *offset, *len) = (u32::from(input.u8() % 6), *offset + place, *len - place);
        to_usize(place.into())
    });
    let offsets = vendor.map(|[_, _, offset, ..]| offset);
    if input.once_in(16) {
        vendor[input.below(4)][input.below(5)] = input.u32();
    }
    let chip = Chip {
        book: Book::new(machine),
        places,
        lies: vendor.map(|[_, _, offset, ..]| offset) != offsets,
        clock,
        input: input.clone(),
        status: Cell::new(0xf),
        select: Cell::new(0),
        queues: Default::default(),
        stuck: input.once_in(64),
        tame: Cell::new(false),
    };
    chip.set_status(0);
    chip.status.set(0xb);
    let device = Device::new(pool, machine, Limits::new(DmaMask::BITS_32), Policy::Force);
    let idle = virtio::reset(&vendor, |_| Ok(&chip), clock);
    let started = idle.and_then(|idle| idle.start(device));
    let Ok(mut card) = started else { return };
    live(&mut card, &chip, clock, pool);
}

//! What the targets of cards share whose chips own a descriptor by a bit in it: the rings, and what is in them. The story is
//! `stage`'s.
//!
//! Asserts: every call ends; a received frame has the length of one and lies in the buffer given, and as long as the
//! chip plays by the rules it is the next one, byte by byte; so is what the chip is given to send; it is given no
//! address that the driver does not list; once the chip was seen to stop, every slot is back.

use crate::{
    Input,
    pattern::bytes_of,
    stage::{Book, Far, Stage, is_to_send, live, on_stage},
};
use pvbounce::{
    addr::DmaMask,
    device::{Idle as _, Registers, StartError, fake::TickingClock},
    dma::{Device, Limits, Policy, PowerOfTwo},
    nic::{
        FRAME_MAX, FRAME_MIN,
        rings::{
            Idle,
            chip::{BUFFER, DESCRIPTOR, RECEIVE, TRANSMIT},
        },
    },
};
use std::{cell::Cell, fmt, time::Duration};

/// What a look at a register takes: much, for a story to be short.
const LOOK: Duration = Duration::from_millis(1);

/// What a family has of its own.
pub(crate) trait Family: Sized + fmt::Debug {
    /// The bit of a descriptor's first word by which the chip owns it.
    const OWN: u64;
    /// What of that word says that a frame is whole and good.
    const WHOLE: u64;
    /// Bytes of registers.
    const SIZE: usize;

    /// The family with what the input says of it.
    fn new(input: &Input) -> Self;

    /// The first word of a descriptor to receive into.
    fn offered(last: bool) -> u64;

    /// The first word once a frame of so many bytes is in its buffer, checksum and all.
    fn received(word: u64, status: u64, length: usize) -> u64;

    /// The length in the first word of a descriptor to send, which is checked.
    fn length_to_send(word: u64, last: bool) -> usize;

    /// The first word of a frame that is done with, with any status.
    fn sent(word: u64, status: u32) -> u64;

    /// What a register reads as; `None` for anything.
    fn read(&self, chip: &Chip<'_, Self>, offset: usize) -> Option<u32>;

    /// A register is written.
    fn write(&self, chip: &Chip<'_, Self>, offset: usize, value: u32);

    /// Resets the chip.
    fn reset<'m>(chip: &'m Chip<'m, Self>, clock: &'m TickingClock)
    -> Result<Idle<'m>, StartError>;
}

/// One ring as the driver told of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ring {
    pub(crate) base: u64,
    next: usize,
}

impl Ring {
    /// A ring that starts there.
    pub(crate) const fn new(base: u64) -> Self {
        Self { base, next: 0 }
    }

    fn at(&self) -> u64 {
        self.base + (self.next * DESCRIPTOR) as u64
    }
}

#[derive(Debug)]
pub(crate) struct Chip<'m, F> {
    pub(crate) family: F,
    book: Book<'m>,
    clock: &'m TickingClock,
    pub(crate) input: Input,
    pub(crate) rx: Cell<Ring>,
    pub(crate) tx: Cell<Ring>,
    /// Whether a reset may not end, which costs a wait.
    pub(crate) stuck: bool,
    /// Whether it answers as it should from here on.
    pub(crate) tame: Cell<bool>,
}

impl<F: Family> Chip<'_, F> {
    pub(crate) fn words(&self, bus: u64) -> [u64; 2] {
        self.book.words(bus)
    }

    /// A frame into the next buffer, or bytes anywhere in the ring.
    fn receive(&self) {
        let mut ring = self.rx.get();
        if ring.base == 0 {
            return;
        }
        if self.input.once_in(8) {
            self.book.odd.set(true);
            let at = self.input.below(RECEIVE * DESCRIPTOR - 16);
            return self.book.write(ring.base + at as u64, &self.input.bytes(16));
        }
        let [word, buffer] = self.words(ring.at());
        let last = ring.next + 1 == RECEIVE;
        if self.book.odd.get() || word & F::OWN == 0 {
            return;
        }
        assert_eq!(word, F::offered(last));
        let length = if self.input.once_in(8) {
            usize::from(self.input.u16()) % 0xff0
        } else {
            FRAME_MIN + usize::from(self.input.u8()) * 5
        };
        let odd = u64::from(self.input.u32()) << 30;
        let status = if self.input.once_in(8) { odd & !F::OWN } else { F::WHOLE };
        let whole = !self.input.once_in(8);
        if whole && length <= BUFFER {
            self.book.write(buffer, bytes_of(self.book.next(), length));
        }
        self.book.write(ring.at(), &F::received(word, status, length + 4).to_le_bytes());
        let regular = whole && status == F::WHOLE && (FRAME_MIN..=FRAME_MAX + 4).contains(&length);
        self.book.odd.set(!regular);
        self.book.wrote(length);
        ring.next = (ring.next + 1) % RECEIVE;
        self.rx.set(ring);
    }

    /// Reads what is to be sent: what the driver was given, or a probe; and says what became of it.
    pub(crate) fn send(&self) {
        let mut ring = self.tx.get();
        while ring.base != 0 {
            let [word, bus] = self.words(ring.at());
            if word & F::OWN == 0 {
                break;
            }
            let last = ring.next + 1 == TRANSMIT;
            let len = F::length_to_send(word, last);
            assert!((FRAME_MIN..=FRAME_MAX).contains(&len), "{len} to send");
            let frame = self.book.read(bus, len);
            assert!(is_to_send(&frame), "{frame:?}");
            let status = if self.input.once_in(4) { self.input.u32() } else { 0 };
            self.book.write(ring.at(), &F::sent(word, status).to_le_bytes());
            ring.next = (ring.next + 1) % TRANSMIT;
        }
        self.tx.set(ring);
    }

    /// Both rings are in place.
    pub(crate) fn start(&self) {
        let (rx, tx) = (self.rx.get(), self.tx.get());
        let rings = [(rx.base, RECEIVE * DESCRIPTOR), (tx.base, TRANSMIT * DESCRIPTOR)];
        self.book.told(rings);
        self.book.reset();
    }

    fn read(&self, offset: usize) -> u32 {
        self.clock.advance(LOOK);
        let odd = !self.tame.get() && self.input.once_in(16);
        let good = if odd { None } else { self.family.read(self, offset) };
        good.unwrap_or_else(|| self.input.u32())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the width of the access")]
impl<F: Family> Registers for &Chip<'_, F> {
    fn size(&self) -> usize {
        F::SIZE
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
        self.family.write(self, offset, value.into());
    }

    fn write_u16(&self, offset: usize, value: u16) {
        self.family.write(self, offset, value.into());
    }

    fn write_u32(&self, offset: usize, value: u32) {
        self.family.write(self, offset, value);
    }
}

impl<F: Family> Far for Chip<'_, F> {
    fn input(&self) -> &Input {
        &self.input
    }

    fn receive(&self) {
        self.receive();
    }

    fn book(&self) -> &Book<'_> {
        &self.book
    }

    fn tame(&self) {
        self.tame.set(true);
    }
}

/// Plays one story with a chip of a family.
pub(crate) fn run<F: Family>(bytes: &[u8]) {
    on_stage(bytes, play::<F>);
}

fn play<F: Family>(stage: &Stage<'_>, input: &Input) {
    let &Stage { machine, pool, clock } = stage;
    let stuck = input.once_in(64);
    let chip = Chip {
        family: F::new(input),
        book: Book::new(machine),
        clock,
        input: input.clone(),
        rx: Cell::default(),
        tx: Cell::default(),
        stuck,
        tame: Cell::new(false),
    };
    let limits = Limits::new(DmaMask::BITS_32);
    let limits = PowerOfTwo::new(8).map_or(limits, |eight| limits.aligned_to(eight));
    let device = Device::new(pool, machine, limits, Policy::Force);
    let started = F::reset(&chip, clock).and_then(|idle| idle.start(device));
    let Ok(mut card) = started else { return };
    live(&mut card, &chip, clock, pool);
}

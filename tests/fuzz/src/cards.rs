//! What the targets of cards share: a story; and for chips that own a descriptor by a bit in it the rings, and what is in
//! them.
//!
//! Asserts: every call ends; a received frame has the length of one and lies in the buffer given, and as long as the
//! chip plays by the rules it is the next one, byte by byte; so is what the chip is given to send; it is given no
//! address that the driver does not list; once the chip was seen to stop, every slot is back.

use crate::{Input, pattern::bytes_of};
use pvbounce::{
    addr::{BusAddr, DmaMask},
    arch::time::Clock,
    device::{Cause, Idle as _, Registers, StartError, fake::TickingClock},
    dma::{Device, Limits, Plan, Policy, Pool, PowerOfTwo, Table, fake::FakeMachine},
    mm::contiguous::Order,
    nic::{
        EXPERIMENTAL, FRAME_MAX, FRAME_MIN, Nic,
        rings::{
            Idle,
            chip::{BUFFER, DESCRIPTOR, RECEIVE, TRANSMIT},
        },
    },
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    time::Duration,
};

thread_local! {
    // Its pages are never freed: one machine for all inputs. A table is 300 KiB: one, too.
    static MACHINE: RefCell<(FakeMachine, Box<Table>)> = RefCell::default();
}

/// The longest that a call into the driver may take: resets, a frame that is stuck, a loop that does not close.
const CALL_LIMIT: Duration = Duration::from_secs(6);
/// What a look at a register takes: much, for a story to be short.
const LOOK: Duration = Duration::from_millis(1);
/// What frames to send are made of.
const SENT: u8 = 0x5a;

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

/// What passes between a chip and its driver by memory.
#[derive(Debug)]
pub(crate) struct Book<'m> {
    machine: &'m FakeMachine,
    /// Whether the chip broke a rule since it was reset.
    pub(crate) odd: Cell<bool>,
    /// Frames written and not taken: what they stand for, and their lengths.
    frames: RefCell<VecDeque<(usize, usize)>>,
    written: Cell<usize>,
    given: RefCell<Vec<(u64, usize)>>,
}

impl<'m> Book<'m> {
    pub(crate) fn new(machine: &'m FakeMachine) -> Self {
        Self {
            machine,
            odd: Cell::new(false),
            frames: RefCell::default(),
            written: Cell::new(0),
            given: RefCell::default(),
        }
    }

    /// The chip writes where it was told that it may.
    pub(crate) fn write(&self, bus: u64, bytes: &[u8]) {
        self.given.borrow_mut().push((bus, bytes.len()));
        assert!(self.machine.bus_write(BusAddr(bus), bytes), "{} bytes at {bus:#x}", bytes.len());
    }

    /// The chip reads where it was told that it may.
    pub(crate) fn read(&self, bus: u64, len: usize) -> Vec<u8> {
        self.given.borrow_mut().push((bus, len));
        let mut bytes = vec![0; len];
        assert!(self.machine.bus_read(BusAddr(bus), &mut bytes), "{len} bytes at {bus:#x}");
        bytes
    }

    /// A descriptor's two words.
    pub(crate) fn words(&self, bus: u64) -> [u64; 2] {
        let bytes = self.read(bus, DESCRIPTOR);
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
    }

    /// What the next frame stands for.
    pub(crate) fn next(&self) -> usize {
        self.written.get()
    }

    /// The next frame was written, with so many bytes.
    pub(crate) fn wrote(&self, length: usize) {
        let id = self.written.get();
        self.frames.borrow_mut().push_back((id, length));
        self.written.set(id + 1);
    }

    /// What the driver got for a frame.
    fn was_taken(&self, frame: &[u8]) {
        let next = self.frames.borrow_mut().pop_front();
        if self.odd.get() {
            return;
        }
        let expected = next.map(|(id, len)| bytes_of(id, len));
        assert!(Some(frame) == expected, "{} bytes of {next:?}", frame.len());
    }

    /// It was told of this much at once.
    pub(crate) fn told(&self, places: [(u64, usize); 2]) {
        self.given.borrow_mut().extend(places);
    }

    /// The chip begins anew.
    pub(crate) fn reset(&self) {
        self.odd.set(false);
        self.frames.borrow_mut().clear();
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

/// The other end of a card's wire, and what its chip was given.
pub(crate) trait Far {
    fn input(&self) -> &Input;

    /// A frame arrives, or something else.
    fn receive(&self);

    /// What passed by memory.
    fn book(&self) -> &Book<'_>;

    /// It answers as it should from here on.
    fn tame(&self);
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

/// One thing that the guest does with a card.
fn act(card: &mut dyn Nic, chip: &dyn Far, frame: &mut Vec<u8>) {
    let input = chip.input();
    match input.below(10) {
        0..2 => chip.receive(),
        2..4 => {
            if let Ok(Some(len)) = card.receive(frame) {
                assert!((FRAME_MIN..=FRAME_MAX + 4).contains(&len) && len <= frame.len(), "{len}");
                chip.book().was_taken(&frame[..len]);
            }
        }
        4 => drop(card.transmit(vec![SENT; input.below(1600)])),
        5 => drop(card.reclaim()),
        6 => drop(card.transmit_in_place(vec![SENT; 100].into())),
        7 => drop(card.set_loopback(input.once_in(2))),
        8 => card.enable_interrupts(Cause::RECEIVER),
        _ => drop(card.acknowledge()),
    }
}

/// All that happens to a started card, up to its end.
pub(crate) fn live(card: &mut dyn Nic, chip: &dyn Far, clock: &TickingClock, pool: &Pool<'_>) {
    let mut frame = Vec::new();
    for _ in 0..64 {
        if chip.input().is_over() {
            break;
        }
        let start = clock.now();
        act(card, chip, &mut frame);
        let took = clock.now().since(start);
        assert!(took < CALL_LIMIT, "a call took {took:?}");
    }
    for (bus, len) in chip.book().given.take() {
        let covered = card.dma_ranges().iter().any(|range| range.covers(BusAddr(bus), len));
        assert!(covered, "{len} at {bus:#x}");
    }
    // Whether it stops at once or not: nothing is lost for as long as it stops in the end.
    let _ = card.quiesce();
    chip.tame();
    let stopped = card.quiesce();
    assert!(stopped.is_ok() && pool.stats().is_balanced(), "{stopped:?}, {:?}", pool.stats());
}

/// Whether a frame is one that the driver was given to send, or a probe of its own.
pub(crate) fn is_to_send(frame: &[u8]) -> bool {
    let end = frame.iter().position(|&byte| byte != SENT).unwrap_or(frame.len());
    let padded = frame.len() == FRAME_MIN && frame[end..].iter().all(|&byte| byte == 0);
    let probe = frame.len() == FRAME_MIN && frame[12..14] == EXPERIMENTAL;
    end == frame.len() || padded || probe
}

/// What a story plays on.
pub(crate) struct Stage<'m> {
    pub(crate) machine: &'m FakeMachine,
    pub(crate) pool: &'m Pool<'m>,
    pub(crate) clock: &'m TickingClock,
}

/// Plays one story, if there is a pool for it.
pub(crate) fn on_stage(bytes: &[u8], story: impl FnOnce(&Stage<'_>, &Input)) {
    let input = Input::new(bytes);
    MACHINE.with_borrow_mut(|(machine, table)| {
        machine.reset();
        let machine: &FakeMachine = machine;
        let pool = Pool::new(table, machine);
        let max_order = Order::new(7).unwrap_or(Order::MAX);
        let plan = Plan { max_order, floor: 4096, ..Plan::new(512 << 10) };
        if pool.start(&plan, &mut |_| {}).is_ok() {
            let clock = TickingClock::default();
            story(&Stage { machine, pool: &pool, clock: &clock }, &input);
        }
    });
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

//! Where the stories of cards are played: a machine with a pool, a driver that is called at random, and the book of what
//! the chip was given and what it wrote.

use crate::{Input, pattern::bytes_of};
use pvbounce::{
    addr::BusAddr,
    arch::time::Clock,
    device::{Cause, fake::TickingClock},
    dma::{Plan, Pool, Table, fake::FakeMachine},
    mm::contiguous::Order,
    nic::{EXPERIMENTAL, FRAME_MAX, FRAME_MIN, Nic, rings::chip::DESCRIPTOR},
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

/// The longest that a call into the driver may take: resets, a frame that is stuck, a loop that does not close.
const CALL_LIMIT: Duration = Duration::from_secs(6);

/// What frames to send are made of.
const SENT: u8 = 0x5a;

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

/// The other end of a card's wire, and what its chip was given.
pub(crate) trait Far {
    fn input(&self) -> &Input;

    /// A frame arrives, or something else.
    fn receive(&self);

    /// The shortest frame that it may hand over.
    fn shortest(&self) -> usize {
        FRAME_MIN
    }

    /// What passed by memory.
    fn book(&self) -> &Book<'_>;

    /// It answers as it should from here on.
    fn tame(&self);
}

/// One thing that the guest does with a card.
fn act(card: &mut dyn Nic, chip: &dyn Far, frame: &mut Vec<u8>) {
    let input = chip.input();
    match input.below(10) {
        0..2 => chip.receive(),
        2..4 => {
            if let Ok(Some(len)) = card.receive(frame) {
                let lengths = chip.shortest()..=FRAME_MAX + 4;
                assert!(lengths.contains(&len) && len <= frame.len(), "{len}");
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

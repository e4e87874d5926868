//! One of Intel's gigabit chips, as QEMU models some of them, but stricter: whatever no driver should do is a panic.
//!
//! It reaches memory by bus address only, and remembers each. Offsets and descriptors are spelled out here anew, from
//! the datasheets, so that a slip in the driver's own list is not repeated.
//!
//! As on hardware, and unlike QEMU: a register write arrives only with the next read or the next frame; a ring can't be
//! moved while it is in use, nor used before a reset; nothing runs while the chip's accesses to memory are disabled; a
//! descriptor that was not cleared is not used again. Where there are queues, they are open after a reset, and a ring is
//! moved only in a closed one; a queue takes its time to open, and a tail that is told before is lost for good.

mod frames;
mod registers;

use crate::{
    addr::{BusAddr, to_usize},
    dma::fake::FakeMachine,
};
use alloc::{collections::VecDeque, vec::Vec};
use core::cell::{RefCell, RefMut};

const SENT: u32 = 1;
const LINK: u32 = 1 << 2;
const OVERRUN: u32 = 1 << 6;
const RECEIVED: u32 = 1 << 7;
const LOOPBACK: u16 = 1 << 14;
const EN: u32 = 2;
/// A queue's enable bit.
const OPEN: u32 = 1 << 25;

/// Which chip it is, as far as that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The 82540EM: PCI, legacy descriptors.
    I82540,
    /// The 82574L: PCI Express, legacy descriptors.
    I82574,
    /// The 82576 and its successors: PCI Express, advanced descriptors, queues; causes as QEMU has them.
    Igb,
    /// The I225: the same; causes at their new places.
    Igc,
}

impl Kind {
    const fn has_queues(self) -> bool {
        matches!(self, Self::Igb | Self::Igc)
    }
}

/// What the chip does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// This byte of each received frame arrives with a bit flipped.
    CorruptByte(usize),
    /// Received frames have this length in their descriptor.
    Length(u16),
    /// Received frames have this status and these errors in their descriptor.
    Status(u8, u8),
    /// Of a received frame only this much is written, and all of it reported.
    Unwritten(usize),
    /// Frames are never sent.
    NeverSend,
    /// Frames are done with, and have this status.
    SendStatus(u8),
    /// A reset never ends.
    NeverReset,
    /// A reset ends, and receiving goes on.
    StaysOn,
    /// The PHY does not answer, or a queue does not open.
    NeverReady,
    /// The PHY's loop carries so many frames less: they are lost.
    SlowLoop(usize),
    /// There is no valid address.
    NoAddress,
    /// The count of missed frames is not cleared when it is read.
    CountKept,
    /// A byte is written just before the buffer with each frame.
    Underrun,
    /// Nothing answers: all bits read as ones.
    Gone,
}

/// One ring, in descriptors.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    base: u64,
    len: u32,
    head: u32,
    tail: u32,
    /// The queue's control, and how often it was asked whether it is open.
    control: u32,
    asked: u32,
}

impl Ring {
    fn next(&self) -> Option<BusAddr> {
        (self.head != self.tail).then(|| BusAddr(self.base + 16 * u64::from(self.head)))
    }

    const fn advance(&mut self) {
        self.head = (self.head + 1) % self.len;
    }
}

#[derive(Debug)]
struct State {
    kind: Kind,
    mac: [u8; 6],
    fault: Fault,
    link: bool,
    ctrl: u32,
    rctl: u32,
    tctl: u32,
    icr: u32,
    ims: u32,
    /// What IVAR was last told.
    vectors: u32,
    /// Whether messages come from a table: then each queue has its own cause, and all others share one.
    tabled: bool,
    mdic: u32,
    phy: u16,
    /// Whether the PHY has negotiated since the last reset.
    negotiated: bool,
    rx: Ring,
    tx: Ring,
    missed: u32,
    was_reset: bool,
    /// Writes under way: offset and value.
    posted: VecDeque<(usize, u32)>,
    /// The access from which on nothing answers.
    vanishes_at: Option<usize>,
    sent: Vec<Vec<u8>>,
    touched: Vec<(BusAddr, usize)>,
    resets: usize,
    accesses: usize,
}

/// The chip, to be shared by a driver and the test that plays its surroundings.
#[derive(Debug)]
pub struct FakeIntel<'a> {
    machine: &'a FakeMachine,
    state: RefCell<State>,
}

impl<'a> FakeIntel<'a> {
    /// A chip with its link up that an earlier driver left running.
    pub fn new(machine: &'a FakeMachine, kind: Kind, mac: [u8; 6]) -> Self {
        let state = State {
            kind,
            mac,
            fault: Fault::None,
            link: true,
            ctrl: 1 << 6,
            rctl: EN,
            tctl: EN,
            icr: 0,
            ims: RECEIVED,
            vectors: 0,
            tabled: false,
            mdic: 0,
            phy: 0x1140,
            negotiated: false,
            rx: Ring::default(),
            tx: Ring::default(),
            missed: 0,
            was_reset: false,
            posted: VecDeque::new(),
            vanishes_at: None,
            sent: Vec::new(),
            touched: Vec::new(),
            resets: 0,
            accesses: 0,
        };
        Self { machine, state: RefCell::new(state) }
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.settled().fault = fault;
    }

    /// Lets the chip answer `accesses` more times, then never again.
    pub fn vanish_after(&self, accesses: usize) {
        let mut state = self.settled();
        state.vanishes_at = Some(state.accesses + accesses);
    }

    /// Whether it has vanished.
    pub fn is_gone(&self) -> bool {
        self.state.borrow().fault == Fault::Gone
    }

    /// Plugs the cable in or out.
    pub fn set_link(&self, up: bool) {
        let mut state = self.settled();
        state.link = up;
        state.cause(LINK);
    }

    /// The host has chosen messages from a table, or not.
    pub fn set_tabled(&self, tabled: bool) {
        self.settled().tabled = tabled;
    }

    /// Whether the chip interrupts, with no regard to writes that are still under way.
    pub fn interrupts(&self) -> bool {
        let state = self.state.borrow();
        let waiting = state.icr & state.ims;
        if !state.tabled {
            return waiting != 0;
        }
        // A cause without a valid vector is silent.
        let vectors = [(1 << 20, 1 << 3), (1 << 22, 1 << 11), (1 << 24, 1 << 19)];
        vectors.into_iter().any(|(cause, valid)| waiting & cause != 0 && state.vectors & valid != 0)
    }

    /// Lets every write arrive.
    pub fn settle(&self) {
        drop(self.settled());
    }

    /// The frames sent to the wire since last asked.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.settled().sent)
    }

    /// A frame arrives from the wire.
    pub fn deliver(&self, frame: &[u8]) {
        let mut state = self.settled();
        if state.linked() {
            self.receive(&mut state, frame);
        }
    }

    /// Every address used and how many bytes of it.
    pub fn touched(&self) -> Vec<(BusAddr, usize)> {
        self.settled().touched.clone()
    }

    /// How often the chip was reset.
    pub fn resets(&self) -> usize {
        self.settled().resets
    }

    /// Register accesses so far: each one is an exit to an emulator.
    pub fn accesses(&self) -> usize {
        self.state.borrow().accesses
    }

    /// Whether any direction is enabled.
    pub fn is_running(&self) -> bool {
        let state = self.settled();
        (state.rctl | state.tctl) & EN != 0
    }

    /// The memory that it was told of and may still use: rings, buffers to receive into, and frames not done with.
    pub fn owned(&self) -> Vec<(BusAddr, usize)> {
        let state = self.state.borrow();
        let open = |ring: &Ring| !state.kind.has_queues() || ring.control & OPEN != 0;
        let (receives, sends) = (state.rctl & EN != 0, state.tctl & EN != 0);
        let buffers = self.owned_by(&state.rx, receives && open(&state.rx), |_| 2048);
        let frames =
            self.owned_by(&state.tx, sends && open(&state.tx), |word| to_usize(word & 0xffff));
        [buffers, frames].concat()
    }

    fn owned_by(
        &self,
        ring: &Ring,
        enabled: bool,
        len: impl Fn(u64) -> usize,
    ) -> Vec<(BusAddr, usize)> {
        let mut owned = Vec::new();
        let mut ring = *ring;
        if enabled && ring.len != 0 {
            owned.push((BusAddr(ring.base), 16 * ring.len as usize));
            while let Some(at) = ring.next() {
                let [address, word] = self.peek(at);
                owned.push((BusAddr(address), len(word)));
                ring.advance();
            }
        }
        owned
    }

    /// The chip once all writes have arrived.
    fn settled(&self) -> RefMut<'_, State> {
        let mut state = self.state.borrow_mut();
        while let Some((offset, value)) = state.posted.pop_front() {
            self.arrive(&mut state, offset, value);
        }
        state
    }
}

impl State {
    /// Whether there is a link; a reset takes that of a chip with queues.
    fn linked(&self) -> bool {
        self.link && (!self.kind.has_queues() || self.negotiated)
    }

    const fn looped(&self) -> bool {
        match self.kind {
            Kind::Igb | Kind::Igc => self.rctl >> 6 & 3 == 1,
            _ => self.phy & LOOPBACK != 0,
        }
    }

    /// A cause as the way of interrupting has it.
    const fn cause(&mut self, cause: u32) {
        self.icr |= match (self.tabled, cause) {
            (false, cause) => cause,
            (true, RECEIVED) => 1 << 20,
            (true, SENT) => 1 << 22,
            (true, cause) => cause | 1 << 24,
        };
    }

    fn accepts(&self, frame: &[u8]) -> bool {
        let (all, broadcast) = (self.rctl & 1 << 3, self.rctl & 1 << 15);
        let is_broadcast = frame.starts_with(&[0xff; 6]);
        frame.starts_with(&self.mac) || all != 0 || broadcast != 0 && is_broadcast
    }
}

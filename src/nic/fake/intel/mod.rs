//! One of Intel's gigabit chips, as QEMU models some of them, but stricter: whatever no driver should do is a panic.
//!
//! Offsets and descriptors are spelled out here anew, from the datasheets, so that a slip in the driver's own list is not
//! repeated.
//!
//! As on hardware, and unlike QEMU: a ring can't be moved while it is in use, nor used before a reset; nothing runs while
//! the chip's accesses to memory are disabled; a descriptor that was not cleared is not used again. Where there are
//! queues, they are open after a reset, and a ring is moved only in a closed one; a queue takes its time to open, and a
//! tail that is told before is lost for good.

mod frames;
mod registers;

use super::played::{Board, Logic};
use crate::addr::{BusAddr, to_usize};
use alloc::vec::Vec;

const SENT: u32 = 1;
const LINK: u32 = 1 << 2;
const OVERRUN: u32 = 1 << 6;
const RECEIVED: u32 = 1 << 7;
const LOOPBACK: u16 = 1 << 14;
/// Of the control register: pauses are kept to, as the firmware had it.
const FLOW: u32 = 1 << 27;
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

    fn is_express(self) -> bool {
        self != Self::I82540
    }
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

/// One chip.
#[derive(Debug)]
pub struct Intel {
    kind: Kind,
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
}

impl Intel {
    /// A chip that an earlier driver left running.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            ctrl: 1 << 6 | FLOW,
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
        }
    }

    /// The host has chosen messages from a table, or not.
    pub const fn set_tabled(&mut self, tabled: bool) {
        self.tabled = tabled;
    }

    /// Whether there is a link; a reset takes that of a chip with queues.
    fn linked(&self, board: &Board<'_>) -> bool {
        board.link && (!self.kind.has_queues() || self.negotiated)
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

    fn owned_by(
        &self,
        board: &Board<'_>,
        ring: &Ring,
        enabled: bool,
        len: impl Fn(u64) -> usize,
    ) -> Vec<(BusAddr, usize)> {
        let mut owned = Vec::new();
        let mut ring = *ring;
        let open = !self.kind.has_queues() || ring.control & OPEN != 0;
        if enabled && open && ring.len != 0 {
            owned.push((BusAddr(ring.base), 16 * ring.len as usize));
            while let Some(at) = ring.next() {
                let [address, word] = board.peek(at);
                owned.push((BusAddr(address), len(word)));
                ring.advance();
            }
        }
        owned
    }
}

impl Logic for Intel {
    const SIZE: usize = 0x2_0000;

    fn write(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize, value: u32) {
        assert_eq!(bytes, 4, "a write of {bytes} bytes to {offset:#x}");
        self.set(board, offset, value);
    }

    fn read(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize) -> u32 {
        assert_eq!(bytes, 4, "a read of {bytes} bytes at {offset:#x}");
        self.get(board, offset)
    }

    fn receive(&mut self, board: &mut Board<'_>, frame: &[u8]) {
        self.take(board, frame);
    }

    fn link_changed(&mut self) {
        self.cause(LINK);
    }

    fn interrupts(&self) -> bool {
        let waiting = self.icr & self.ims;
        if !self.tabled {
            return waiting != 0;
        }
        // A cause without a valid vector is silent.
        let vectors = [(1 << 20, 1 << 3), (1 << 22, 1 << 11), (1 << 24, 1 << 19)];
        vectors.into_iter().any(|(cause, valid)| waiting & cause != 0 && self.vectors & valid != 0)
    }

    fn is_running(&self) -> bool {
        (self.rctl | self.tctl) & EN != 0
    }

    fn owned(&self, board: &Board<'_>) -> Vec<(BusAddr, usize)> {
        let buffers = self.owned_by(board, &self.rx, self.rctl & EN != 0, |_| 2048);
        let sends = self.tctl & EN != 0;
        let frames = self.owned_by(board, &self.tx, sends, |word| to_usize(word & 0xffff));
        [buffers, frames].concat()
    }
}

//! Chips with C+ descriptors as their datasheets have them, but stricter: whatever no driver should do is a panic.
//!
//! Offsets and descriptors are spelled out here anew, from the datasheets, so that a slip in the driver's own list is not
//! repeated. Of the RTL8168 and RTL8125 no other model exists.
//!
//! The registers that an RTL8139C+ has twice mean the other thing until its C+ command is written; a gigabit chip takes
//! writes to its rings only while it is unlocked, and may come with its receiver gated by firmware.

use super::played::{Board, Fault, Logic};
use crate::{
    addr::{BusAddr, to_usize},
    nic::{TxFailure, cplus::Model},
};
use alloc::{vec, vec::Vec};

const RST: u32 = 0x10;
const RE: u32 = 8;
const TE: u32 = 4;
const ROK: u32 = 1;
const TOK: u32 = 4;
const TER: u32 = 8;
const RDU: u32 = 0x10;
const LINK: u32 = 0x20;
const OWN: u64 = 1 << 31;
const EOR: u64 = 1 << 30;
const WHOLE: u64 = 3 << 28;
const GATED: u32 = 1 << 19;
/// What RCR has after a reset of a gigabit chip, and is to be kept.
const THRESHOLDS: u32 = 1 << 30 | 6 << 13;

#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    base: u64,
    next: u64,
    len: u64,
}

impl Ring {
    fn at(&self) -> BusAddr {
        BusAddr(self.base + 16 * self.next)
    }

    /// Past a descriptor with this first word.
    fn advance(&mut self, word: u64) {
        assert_eq!(word & EOR != 0, self.next + 1 == self.len, "the ring ends at {}", self.next);
        self.next = if word & EOR != 0 { 0 } else { self.next + 1 };
    }
}

/// One chip.
#[derive(Debug)]
pub struct CPlus {
    /// What it says it is: HWVERID, as it stands in TCR.
    version: u32,
    model: Model,
    command: u32,
    isr: u32,
    imr: u32,
    tcr: u32,
    rcr: u32,
    cpcr: u32,
    misc: u32,
    unlocked: bool,
    rx: Ring,
    tx: Ring,
    missed: u32,
    was_reset: bool,
}

impl CPlus {
    /// A chip that an earlier driver left running.
    pub fn new(model: Model) -> Self {
        Self {
            version: if model == Model::Rtl8139 { 0x7480_0000 } else { 0x5400_0000 },
            model,
            command: RE | TE,
            isr: 0,
            imr: ROK,
            tcr: 0,
            rcr: 0,
            cpcr: 0,
            misc: GATED,
            unlocked: false,
            rx: Ring::default(),
            tx: Ring::default(),
            missed: 0,
            was_reset: false,
        }
    }

    /// One that says it is another: HWVERID, as it stands in TCR.
    pub const fn with_version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    fn is_gigabit(&self) -> bool {
        self.model != Model::Rtl8139
    }

    fn command(&mut self, board: &mut Board<'_>, value: u32) {
        if value & RST == 0 {
            assert!(self.was_reset, "runs before it was reset");
            assert!(self.rx.base != 0 && self.tx.base != 0, "no rings");
            self.command = value;
            (self.rx.next, self.tx.next) = (0, 0);
            return;
        }
        board.resets += 1;
        let (kept, misc, version) = (self.command & RE, self.misc, self.version);
        let off = Self { was_reset: true, imr: 0, command: 0, ..Self::new(self.model) };
        *self = Self { misc, version, ..off };
        self.rcr = if self.is_gigabit() { THRESHOLDS } else { 0 };
        self.command = match board.fault {
            Fault::NeverReset => value,
            Fault::StaysOn => kept | RE,
            _ => 0,
        };
    }

    fn set_ring(&mut self, offset: usize, value: u32) {
        let ready = if self.is_gigabit() { self.unlocked } else { self.cpcr == 3 };
        assert!(ready, "a ring's register means nothing yet");
        assert_eq!(self.command & (RE | TE), 0, "a ring is moved while it is in use");
        let (ring, len) = if offset < 0xe0 { (&mut self.tx, 32) } else { (&mut self.rx, 64) };
        ring.len = len;
        if matches!(offset, 0x24 | 0xe8) {
            ring.base = u64::from(value) << 32;
        } else {
            assert_eq!(value % 256, 0, "a ring at {value:#x}");
            ring.base = ring.base >> 32 << 32 | u64::from(value);
        }
    }

    fn send_config(&mut self, value: u32) {
        assert_ne!(self.command & TE, 0, "TCR takes no effect with the transmitter off");
        assert_eq!(value >> 24 & 3, 3, "other gaps between frames break IEEE 802.3");
        let loops = if self.is_gigabit() { [0, 1] } else { [0, 3] };
        assert!(loops.contains(&(value >> 17 & 3)), "no loop: {value:#x}");
        self.tcr = value;
    }

    fn receive_config(&mut self, value: u32) {
        assert_ne!(self.command & RE, 0, "RCR takes no effect with the receiver off");
        // AAP, APM, AB, bursts; all else would be frames with errors, or another kind of ring.
        let known = 0x70b | if self.is_gigabit() { THRESHOLDS } else { 0xe000 };
        assert_eq!(value & !known, 0, "RCR {value:#x}");
        assert_eq!(value & 0x702, 0x702, "bursts, and frames for the card: {value:#x}");
        assert!(!self.is_gigabit() || value & THRESHOLDS == THRESHOLDS, "RCR {value:#x}");
        self.rcr = value;
    }

    fn gigabit_only(&mut self, offset: usize, value: u32) {
        assert!(self.is_gigabit(), "{offset:#x} is none of the RTL8139C+'s");
        match offset {
            0x50 => self.unlocked = value == 0xc0,
            0xda => assert_eq!(value, 2048, "as much as a buffer holds"),
            0xec => assert!(value > 1514 / 128, "shorter than a frame"),
            _ => self.misc = value,
        }
    }

    fn accepts(&self, board: &Board<'_>, frame: &[u8]) -> bool {
        let heard = !self.is_gigabit() || self.misc & GATED == 0;
        let (all, broadcast) = (self.rcr & 1 != 0, self.rcr & 8 != 0);
        let own = self.rcr & 2 != 0 && frame.starts_with(&board.mac);
        heard && (all || own || broadcast && frame.starts_with(&[0xff; 6]))
    }

    fn send_all(&mut self, board: &mut Board<'_>) {
        assert_ne!(self.command & TE, 0, "sent with the transmitter off");
        while board.fault != Fault::NeverSend {
            let at = self.tx.at();
            let [word, address] = board.descriptor(at);
            if word & OWN == 0 {
                return;
            }
            let len = to_usize(word & 0xffff);
            assert_eq!(word & !(EOR | 0xffff), OWN | WHOLE, "a whole frame, no offload: {word:#x}");
            assert!((60..=1514).contains(&len), "a frame of {len} bytes");
            let frame = board.read(BusAddr(address), len);
            let failed = match board.fault {
                Fault::SendFails(TxFailure::Aborted) => 1 << 23 | 1 << 20,
                Fault::SendFails(TxFailure::LateCollision) => 1 << 23 | 1 << 22,
                Fault::SendFails(TxFailure::Underrun) => 1 << 23 | 1 << 25,
                _ => 0,
            };
            match (failed, self.tcr >> 17 & 3) {
                (0, 0) => board.send(frame),
                (0, _) => self.receive(board, &frame),
                _ => {}
            }
            self.isr |= if failed == 0 { TOK } else { TER };
            board.write(at, &(word & !OWN | failed).to_le_bytes()[..4]);
            self.tx.advance(word);
        }
    }

    fn owned_by(&self, board: &Board<'_>, ring: &Ring, enabled: u32) -> Vec<(BusAddr, usize)> {
        if self.command & enabled == 0 || ring.base == 0 {
            return Vec::new();
        }
        let all = (0..ring.len).map(|n| board.peek(BusAddr(ring.base + 16 * n)));
        let owned = all.filter(|[word, _]| word & OWN != 0);
        let mut places = vec![(BusAddr(ring.base), to_usize(16 * ring.len))];
        places.extend(owned.map(|[word, address]| (BusAddr(address), to_usize(word & 0x1fff))));
        places
    }
}

impl Logic for CPlus {
    const SIZE: usize = 0x100;

    fn write(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize, value: u32) {
        match (offset, bytes, self.model) {
            (0x37, 1, _) => self.command(board, value),
            (0x3c, 2, Model::Rtl8139 | Model::Rtl8168) | (0x38, 4, Model::Rtl8125) => {
                self.imr = value;
            }
            (0x3e, 2, Model::Rtl8139 | Model::Rtl8168) | (0x3c, 4, Model::Rtl8125) => {
                self.isr &= !value;
            }
            (0xd9, 1, Model::Rtl8139) | (0x38, 1, Model::Rtl8168) => {
                assert_eq!(value, 0x40, "the ring of normal priority");
                self.send_all(board);
            }
            (0x90, 2, Model::Rtl8125) => {
                assert_eq!(value, 1, "the first queue");
                self.send_all(board);
            }
            (0x40, 4, _) => self.send_config(value),
            (0x44, 4, _) => self.receive_config(value),
            (0x4c, 4, _) => self.missed = 0,
            (0xe0, 2, _) => {
                let wanted = if self.is_gigabit() { 0x2000 } else { 3 };
                assert_eq!(value, wanted, "rings, and no offload");
                self.cpcr = value;
            }
            (0x20 | 0x24 | 0xe4 | 0xe8, 4, _) => self.set_ring(offset, value),
            (0x50 | 0xec, 1, _) | (0xda, 2, _) | (0xf0, 4, _) => self.gigabit_only(offset, value),
            _ => panic!("a write of {bytes} bytes to {offset:#x}"),
        }
    }

    fn read(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize) -> u32 {
        match (offset, bytes, self.model) {
            (0..6, 1, _) => board.address()[offset].into(),
            (0x37, 1, _) => self.command,
            (0x3c, 2, Model::Rtl8139 | Model::Rtl8168) | (0x38, 4, Model::Rtl8125) => self.imr,
            (0x3e, 2, Model::Rtl8139 | Model::Rtl8168) | (0x3c, 4, Model::Rtl8125) => self.isr,
            (0x40, 4, _) => self.version | self.tcr,
            (0x44, 4, _) => self.rcr,
            (0x4c, 4, _) => self.missed,
            (0x58, 1, Model::Rtl8139) => 0xd0 | u32::from(!board.link) << 2,
            (0x6c, 1, Model::Rtl8168 | Model::Rtl8125) => u32::from(board.link) << 1,
            // What firmware set beside offloads is kept.
            (0xe0, 2, Model::Rtl8168 | Model::Rtl8125) => 0x2060,
            (0xf0, 4, Model::Rtl8168 | Model::Rtl8125) => self.misc,
            _ => panic!("a read of {bytes} bytes at {offset:#x}"),
        }
    }

    fn receive(&mut self, board: &mut Board<'_>, frame: &[u8]) {
        if self.command & RE == 0 || !self.accepts(board, frame) {
            return;
        }
        let at = self.rx.at();
        let [word, address] = board.descriptor(at);
        if word & OWN == 0 {
            self.missed += 1;
            self.isr |= RDU;
            return;
        }
        assert_eq!(word & !EOR, OWN | 2048, "a buffer of 2 KiB: {word:#x}");
        assert_eq!(address % 8, 0, "a buffer at {address:#x}");
        let most = if self.is_gigabit() { 0x3fff } else { 0x1fff };
        let length = board.fill(BusAddr(address), frame).min(most) as u64;
        let error = if self.is_gigabit() { 1 << 21 } else { 1 << 20 };
        let flags = match board.fault {
            Fault::Bad => WHOLE | error,
            Fault::Part => 1 << 29,
            _ => WHOLE,
        };
        board.write(at, &(word & EOR | flags | length).to_le_bytes());
        self.rx.advance(word);
        self.isr |= ROK;
    }

    fn link_changed(&mut self) {
        self.isr |= LINK;
    }

    fn interrupts(&self) -> bool {
        self.isr & self.imr != 0
    }

    fn is_running(&self) -> bool {
        self.command & (RE | TE) != 0
    }

    fn owned(&self, board: &Board<'_>) -> Vec<(BusAddr, usize)> {
        let buffers = self.owned_by(board, &self.rx, RE);
        let frames = self.owned_by(board, &self.tx, TE);
        [buffers, frames].concat()
    }
}

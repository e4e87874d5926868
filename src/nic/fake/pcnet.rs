//! An Am79C970A as QEMU models it, but stricter: whatever no driver should do is a panic.
//!
//! Offsets, numbers and descriptors are spelled out here anew, from the datasheet, so that a slip in the driver's own
//! list is not repeated.

use super::played::{Board, Fault, Logic};
use crate::{
    addr::{BusAddr, to_usize},
    nic::TxFailure,
};
use alloc::{vec, vec::Vec};

const INIT: u32 = 1;
const STRT: u32 = 2;
const STOP: u32 = 4;
const TDMD: u32 = 8;
const TXON: u32 = 0x10;
const RXON: u32 = 0x20;
const IENA: u32 = 0x40;
const IDON: u32 = 0x100;
const TINT: u32 = 0x200;
const RINT: u32 = 0x400;
const MISS: u32 = 0x1000;
/// All that interrupts here.
const CAUSES: u32 = 0x5f00;
const OWN: u64 = 1 << 63;
const ERR: u64 = 1 << 62;
const WHOLE: u64 = 3 << 56;
const LOOP: u16 = 1 << 2 | 1 << 6;

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

    const fn advance(&mut self) {
        self.next = (self.next + 1) % self.len;
    }
}

/// One chip.
#[derive(Debug, Default)]
pub struct Pcnet {
    double_word: bool,
    rap: u32,
    csr0: u32,
    masks: u32,
    style: u32,
    block: u32,
    mode: u16,
    filter: [u8; 6],
    missed: u32,
    rx: Ring,
    tx: Ring,
}

impl Pcnet {
    /// A chip that an earlier driver left running, in either mode.
    pub fn new(double_word: bool) -> Self {
        let csr0 = STRT | TXON | RXON | IENA;
        Self { double_word, rap: 88, csr0, ..Self::default() }
    }

    fn reset(&mut self, board: &mut Board<'_>) {
        // A driver that does not know the mode asks twice.
        board.resets += usize::from(self.csr0 != STOP);
        self.rap = 0;
        if board.fault == Fault::NeverReset {
            return;
        }
        let on = if board.fault == Fault::StaysOn { RXON } else { 0 };
        *self = Self { csr0: STOP | on, masks: 0, ..Self::default() };
    }

    fn set_status(&mut self, board: &mut Board<'_>, value: u32) {
        self.csr0 &= !(value & 0x7f00 | IENA);
        self.csr0 |= value & IENA;
        if value & STOP != 0 && board.fault != Fault::NeverReset {
            let on = if board.fault == Fault::StaysOn { RXON } else { 0 };
            self.csr0 = STOP | on;
        }
        if value & INIT != 0 {
            self.initialize(board);
        }
        if value & STRT != 0 {
            assert_ne!(self.rx.len, 0, "started before it was initialized");
            self.csr0 = self.csr0 & !STOP | STRT | TXON | RXON;
            self.send_all(board);
        }
        if value & TDMD != 0 {
            self.send_all(board);
        }
    }

    fn initialize(&mut self, board: &mut Board<'_>) {
        assert_eq!(self.csr0 & STOP, STOP, "initialized while it runs");
        assert_eq!(self.style, 3, "descriptors of another style");
        assert_eq!(self.masks, CAUSES, "nobody asked for interrupts yet");
        assert_eq!(self.block % 4, 0, "a block at {:#x}", self.block);
        let bytes = board.read(BusAddr(self.block.into()), 28);
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u64::from(half(at)) | u64::from(half(at + 2)) << 16;
        self.mode = half(0);
        assert!(matches!(self.mode, 0 | 0x8044), "mode {:#x}", self.mode);
        self.filter.copy_from_slice(&bytes[4..10]);
        assert!(bytes[10..20].iter().all(|&byte| byte == 0), "no multicast");
        let ring = |at, len: u8| {
            let base = word(at);
            assert!(base != 0 && base % 16 == 0, "a ring at {base:#x}");
            Ring { base, next: 0, len: 1 << (len >> 4) }
        };
        (self.rx, self.tx) = (ring(20, bytes[2]), ring(24, bytes[3]));
        self.csr0 = self.csr0 & !STOP | INIT | IDON;
    }

    fn set_csr(&mut self, board: &mut Board<'_>, value: u32) {
        let stopped = self.csr0 & STOP != 0;
        match self.rap {
            0 => self.set_status(board, value),
            1 if stopped => self.block = self.block & !0xffff | value,
            2 if stopped => self.block = self.block & 0xffff | value << 16,
            3 => self.masks = value,
            4 => assert_eq!(value & 0x0915, 0x0915, "padding, and all masked"),
            other => panic!("a write to CSR{other}"),
        }
    }

    fn accepts(&self, frame: &[u8]) -> bool {
        self.mode >> 15 != 0 || frame.starts_with(&self.filter) || frame.starts_with(&[0xff; 6])
    }

    /// Puts a frame into the next buffer if it is one to receive.
    fn take(&mut self, board: &mut Board<'_>, frame: &[u8]) {
        if self.csr0 & RXON == 0 || self.rx.len == 0 || !self.accepts(frame) {
            return;
        }
        let at = self.rx.at();
        let [word, address] = board.descriptor(at);
        if word & OWN == 0 {
            self.missed = (self.missed + 1) & 0xffff;
            self.csr0 |= MISS;
            return;
        }
        assert_eq!(word, 0x8000_f800 << 32, "a buffer of 2 KiB: {word:#x}");
        assert!(address >> 32 == 0 && address % 4 == 0, "a buffer at {address:#x}");
        let length = board.fill(BusAddr(address), frame).min(0xfff) as u64;
        let flags = match board.fault {
            Fault::Bad => WHOLE | ERR | 1 << 59,
            Fault::Part => 1 << 56,
            _ => WHOLE,
        };
        // Counts of runts and collisions stand beside the length.
        let told = flags | 0xf800 << 32 | 0x0102_0000 | length;
        board.write(at, &told.to_le_bytes());
        self.rx.advance();
        self.csr0 |= RINT;
    }

    fn send_all(&mut self, board: &mut Board<'_>) {
        assert_ne!(self.csr0 & TXON, 0, "sent with the transmitter off");
        while board.fault != Fault::NeverSend {
            let at = self.tx.at();
            let [word, address] = board.descriptor(at);
            if word & OWN == 0 {
                return;
            }
            let len = 4096 - to_usize(word >> 32 & 0xfff);
            assert_eq!(word & !(0xfff << 32), OWN | WHOLE | 0xf000 << 32, "{word:#x}");
            assert!(address >> 32 == 0 && (60..=1514).contains(&len), "{len} at {address:#x}");
            let frame = board.read(BusAddr(address), len);
            let failed = match board.fault {
                Fault::SendFails(TxFailure::Aborted) => ERR | 1 << 26,
                Fault::SendFails(TxFailure::LateCollision) => ERR | 1 << 28,
                Fault::SendFails(TxFailure::Underrun) => ERR | 1 << 30,
                _ => 0,
            };
            match (failed, self.mode & LOOP) {
                (0, 0) => board.send(frame),
                (0, _) => self.take(board, &frame),
                _ => {}
            }
            board.write(at, &(word & !OWN | failed).to_le_bytes());
            self.tx.advance();
            self.csr0 |= TINT;
        }
    }

    fn owned_by(
        &self,
        board: &Board<'_>,
        ring: &Ring,
        on: u32,
        len: usize,
    ) -> Vec<(BusAddr, usize)> {
        if self.csr0 & on == 0 || ring.len == 0 {
            return Vec::new();
        }
        let all = (0..ring.len).map(|n| board.peek(BusAddr(ring.base + 16 * n)));
        let owned = all.filter(|[word, _]| word & OWN != 0);
        let mut places = vec![(BusAddr(ring.base), to_usize(16 * ring.len))];
        places.extend(owned.map(|[_, address]| (BusAddr(address), len)));
        places
    }
}

impl Logic for Pcnet {
    const SIZE: usize = 0x20;

    fn write(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize, value: u32) {
        assert_eq!(bytes, 4, "a write of {bytes} bytes to {offset:#x}");
        if !self.double_word {
            assert_eq!(offset, 0x10, "not in this mode");
            self.double_word = true;
            return;
        }
        match (offset, self.rap) {
            (0x10, _) => self.set_csr(board, value),
            (0x14, _) => self.rap = value,
            (0x1c, 20) => {
                assert_ne!(self.csr0 & STOP, 0, "another style while it runs");
                self.style = value;
            }
            (offset, rap) => panic!("a write to {offset:#x}, register {rap}"),
        }
    }

    fn read(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize) -> u32 {
        let [a, b, c, d, e, f] = board.address();
        match (offset, bytes, self.double_word) {
            (0x18, 4, true) | (0x14, 2, false) => {
                self.reset(board);
                0
            }
            (0x18, 4, false) | (0x14, 2, true) => u32::MAX,
            (0, 4, true) => u32::from_le_bytes([a, b, c, d]),
            (4, 4, true) => u32::from_le_bytes([e, f, 0, 0]),
            (0x10, 4, true) => match self.rap {
                0 => self.csr0,
                112 => self.missed,
                other => panic!("a read of CSR{other}"),
            },
            (0x1c, 4, true) if self.rap == 4 => 0xc0 | u32::from(board.link) << 15,
            _ => panic!("a read of {bytes} bytes at {offset:#x}"),
        }
    }

    fn receive(&mut self, board: &mut Board<'_>, frame: &[u8]) {
        if self.mode & LOOP == 0 {
            self.take(board, frame);
        }
    }

    fn link_changed(&mut self) {}

    fn interrupts(&self) -> bool {
        self.csr0 & IENA != 0 && self.csr0 & CAUSES & !self.masks != 0
    }

    fn is_running(&self) -> bool {
        self.csr0 & (TXON | RXON) != 0
    }

    fn owned(&self, board: &Board<'_>) -> Vec<(BusAddr, usize)> {
        let buffers = self.owned_by(board, &self.rx, RXON, 2048);
        let frames = self.owned_by(board, &self.tx, TXON, 60);
        [buffers, frames].concat()
    }
}

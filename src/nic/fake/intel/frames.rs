//! Frames in and out, by the descriptors of either family.

use super::{
    super::played::{Board, Fault},
    EN, Intel, Kind, OVERRUN, RECEIVED, SENT,
};
use crate::{
    addr::{BusAddr, to_usize},
    nic::TxFailure,
};
use alloc::vec::Vec;

impl Intel {
    fn accepts(&self, board: &Board<'_>, frame: &[u8]) -> bool {
        let (all, broadcast) = (self.rctl & 1 << 3, self.rctl & 1 << 15);
        let is_broadcast = frame.starts_with(&[0xff; 6]);
        frame.starts_with(&board.mac) || all != 0 || broadcast != 0 && is_broadcast
    }

    /// Puts a frame into the next buffer if it is one to receive.
    pub(super) fn take(&mut self, board: &mut Board<'_>, frame: &[u8]) {
        // A chip with queues hears nothing without a link, not even itself.
        let deaf = self.kind.has_queues() && !self.linked(board);
        if self.rctl & EN == 0 || deaf || !self.accepts(board, frame) {
            return;
        }
        assert_ne!(self.rctl & 1 << 26, 0, "frames come with their checksums");
        let Some(at) = self.rx.next() else {
            self.missed += 1;
            self.cause(OVERRUN);
            return;
        };
        self.assert_masters();
        let [address, word] = board.descriptor(at);
        assert_eq!(word, 0, "a descriptor that was used before");
        let length = board.fill_stripped(BusAddr(address), frame);
        let length = u16::try_from(length).expect("a frame");
        self.write_back(board, at, length);
        self.rx.advance();
        self.cause(RECEIVED);
    }

    /// Reports a frame in a receive descriptor.
    fn write_back(&self, board: &mut Board<'_>, at: BusAddr, length: u16) {
        let [l0, l1] = length.to_le_bytes();
        let (flags, bad) = match board.fault {
            Fault::Part => (1, false),
            Fault::Bad => (3, true),
            _ => (3, false),
        };
        if !self.kind.has_queues() {
            return board.write(BusAddr(at.0 + 8), &[l0, l1, 0, 0, flags, bad.into(), 0, 0]);
        }
        // The address is gone.
        board.write(at, &[0xa5; 8]);
        let errors = if bad { 0x80 } else { 0 };
        board.write(BusAddr(at.0 + 8), &[flags, 0, 0, errors, l0, l1, 0, 0]);
    }

    pub(super) fn send_all(&mut self, board: &mut Board<'_>) {
        while board.fault != Fault::NeverSend
            && let Some(at) = self.tx.next()
        {
            self.assert_masters();
            let [address, word] = board.descriptor(at);
            let len = to_usize(word & 0xffff);
            let whole = match self.kind {
                Kind::I82540 | Kind::I82574 => 0x0b << 24,
                Kind::Igb | Kind::Igc => 0x2b30_0000 | (len as u64) << 46,
            };
            assert_eq!(word, whole | len as u64, "a whole frame, with a checksum, reported");
            assert!((60..=1514).contains(&len), "a frame of {len} bytes");
            let frame = board.read(BusAddr(address), len);
            // Only a legacy descriptor says how it ended.
            let status = match (self.kind.has_queues(), board.fault) {
                (false, Fault::SendFails(TxFailure::Aborted)) => 3,
                (false, Fault::SendFails(TxFailure::LateCollision)) => 5,
                _ => 1,
            };
            if status == 1 {
                self.carry(board, frame);
            }
            if self.kind.has_queues() {
                board.write(at, &[0xa5; 12]);
                board.write(BusAddr(at.0 + 12), &[status, 0, 0, 0]);
            } else {
                board.write(BusAddr(at.0 + 12), &[status]);
            }
            self.tx.advance();
            self.cause(SENT);
        }
    }

    /// A frame goes to the wire, or round in PHY or MAC.
    fn carry(&mut self, board: &mut Board<'_>, frame: Vec<u8>) {
        if !self.looped() {
            if self.linked(board) {
                board.send(frame);
            }
            return;
        }
        let forced = 1 << 11 | 1 << 12 | 1 << 9 | 1;
        assert_eq!(self.ctrl & forced, forced, "a loop at another speed than the PHY's");
        match board.fault {
            Fault::SlowLoop(lost @ 1..) => board.fault = Fault::SlowLoop(lost - 1),
            _ => self.take(board, &frame),
        }
    }

    fn assert_masters(&self) {
        assert_eq!(self.ctrl & 1 << 2, 0, "memory is used while that is disabled");
    }
}

//! Frames in and out, by the descriptors of either family.

use super::{EN, FakeIntel, Fault, Kind, OVERRUN, RECEIVED, SENT, State};
use crate::addr::{BusAddr, to_usize};
use alloc::vec::Vec;

impl FakeIntel<'_> {
    pub(super) fn peek(&self, at: BusAddr) -> [u64; 2] {
        let mut bytes = [0; 16];
        assert!(self.machine.bus_read(at, &mut bytes), "no memory at {at}");
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
    }

    fn dma_write(&self, state: &mut State, bus: BusAddr, bytes: &[u8]) {
        assert_eq!(state.ctrl & 1 << 2, 0, "memory is used while that is disabled");
        state.touched.push((bus, bytes.len()));
        assert!(self.machine.bus_write(bus, bytes), "no memory at {bus}");
    }

    fn descriptor(&self, state: &mut State, at: BusAddr) -> [u64; 2] {
        state.touched.push((at, 16));
        self.peek(at)
    }

    /// Puts a frame into the next buffer if it is one to receive.
    pub(super) fn receive(&self, state: &mut State, frame: &[u8]) {
        let deaf = state.kind.has_queues() && !state.linked();
        if state.rctl & EN == 0 || deaf || !state.accepts(frame) {
            return;
        }
        assert_ne!(state.rctl & 1 << 26, 0, "frames come with their checksums");
        let Some(at) = state.rx.next() else {
            state.missed += 1;
            state.cause(OVERRUN);
            return;
        };
        let [address, word] = self.descriptor(state, at);
        assert_eq!(word, 0, "a descriptor that was used before");
        let (mut bytes, mut written) = (frame.to_vec(), frame.len().max(60));
        bytes.resize(written, 0);
        let (mut length, mut status) = (u16::try_from(written).expect("a frame"), [3, 0]);
        match state.fault {
            Fault::CorruptByte(at) => bytes[at] ^= 0x10,
            Fault::Length(other) => length = other,
            Fault::Status(flags, errors) => status = [flags, errors],
            Fault::Unwritten(most) => written = written.min(most),
            Fault::Underrun => self.dma_write(state, BusAddr(address - 1), &[0x5a]),
            _ => {}
        }
        self.dma_write(state, BusAddr(address), &bytes[..written]);
        self.write_back(state, at, length, status);
        state.rx.advance();
        state.cause(RECEIVED);
    }

    /// Reports a frame in a receive descriptor.
    fn write_back(&self, state: &mut State, at: BusAddr, length: u16, [flags, errors]: [u8; 2]) {
        let [l0, l1] = length.to_le_bytes();
        if !state.kind.has_queues() {
            return self.dma_write(state, BusAddr(at.0 + 8), &[l0, l1, 0, 0, flags, errors, 0, 0]);
        }
        // The address is gone; of the errors only that of the frame itself counts.
        self.dma_write(state, at, &[0xa5; 8]);
        let spoiled = if errors == 0 { 0 } else { 0x80 };
        self.dma_write(state, BusAddr(at.0 + 8), &[flags, 0, 0, spoiled, l0, l1, 0, 0]);
    }

    pub(super) fn send_all(&self, state: &mut State) {
        while state.fault != Fault::NeverSend
            && let Some(at) = state.tx.next()
        {
            let [address, word] = self.descriptor(state, at);
            let len = to_usize(word & 0xffff);
            let whole = match state.kind {
                Kind::I82540 | Kind::I82574 => 0x0b << 24,
                Kind::Igb | Kind::Igc => 0x2b30_0000 | (len as u64) << 46,
            };
            assert_eq!(word, whole | len as u64, "a whole frame, with a checksum, reported");
            assert!((60..=1514).contains(&len), "a frame of {len} bytes");
            let mut frame = alloc::vec![0; len];
            state.touched.push((BusAddr(address), len));
            assert!(
                self.machine.bus_read(BusAddr(address), &mut frame),
                "no memory at {address:#x}"
            );
            let status = if let Fault::SendStatus(status) = state.fault { status } else { 1 };
            if status == 1 {
                self.carry(state, frame);
            }
            match state.kind {
                Kind::Igb | Kind::Igc => {
                    self.dma_write(state, at, &[0xa5; 12]);
                    self.dma_write(state, BusAddr(at.0 + 12), &[status, 0, 0, 0]);
                }
                _ => self.dma_write(state, BusAddr(at.0 + 12), &[status]),
            }
            state.tx.advance();
            state.cause(SENT);
        }
    }

    /// A frame goes to the wire, or round in PHY or MAC.
    fn carry(&self, state: &mut State, frame: Vec<u8>) {
        if !state.looped() {
            if state.linked() {
                state.sent.push(frame);
            }
            return;
        }
        let forced = 1 << 11 | 1 << 12 | 1 << 9 | 1;
        assert_eq!(state.ctrl & forced, forced, "a loop at another speed than the PHY's");
        match state.fault {
            Fault::SlowLoop(lost @ 1..) => state.fault = Fault::SlowLoop(lost - 1),
            _ => self.receive(state, &frame),
        }
    }
}

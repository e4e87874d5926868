//! The register file: which register is how wide, and what a write does once it arrives.

use super::{FakeRtl8139, Fault, State};
use crate::device::Registers;

impl FakeRtl8139<'_> {
    /// One access more; `None` if nobody answers it.
    fn access(&self) -> Option<core::cell::RefMut<'_, State>> {
        let mut state = self.state.borrow_mut();
        state.accesses += 1;
        if state.vanishes_at.is_some_and(|last| state.accesses > last) {
            state.fault = Fault::Gone;
        }
        if state.fault == Fault::Gone {
            state.posted.clear();
            return None;
        }
        Some(state)
    }

    /// A read, ahead of which every write before it arrives.
    fn read<T>(&self, ones: T, read: impl FnOnce(&State) -> T) -> T {
        match self.access() {
            Some(state) => drop(state),
            None => return ones,
        }
        read(&self.settled())
    }

    fn post(&self, offset: usize, bytes: usize, value: u32) {
        if let Some(mut state) = self.access() {
            state.posted.push_back((offset, bytes, value));
        }
    }

    /// A write takes effect.
    pub(super) fn arrive(&self, state: &mut State, offset: usize, bytes: usize, value: u32) {
        let [b0, b1, ..] = value.to_le_bytes();
        let half = u16::from_le_bytes([b0, b1]);
        match (offset, bytes) {
            (0x37, 1) => Self::command(state, b0),
            (0x38, 2) => self.make_room(state, half),
            (0x3c, 2) => state.imr = half,
            (0x3e, 2) => state.isr &= !half,
            (0x10 | 0x14 | 0x18 | 0x1c, 4) => {
                self.ring_doorbell(state, (offset - 0x10) / 4, value);
            }
            (0x20 | 0x24 | 0x28 | 0x2c, 4) => {
                assert_eq!(value % 4, 0, "slot address {value:#x}");
                state.address[(offset - 0x20) / 4] = value;
            }
            (0x30, 4) => {
                assert_eq!(state.command & 8, 0, "the ring moved under the receiver");
                state.buffer = value;
            }
            (0x40, 4) => {
                assert_ne!(state.command & 4, 0, "TCR takes no effect with the transmitter off");
                assert_eq!(value >> 24 & 3, 3, "other gaps between frames break IEEE 802.3");
                state.tcr = value & !1;
                if value & 1 != 0 {
                    self.go_on(state);
                }
            }
            (0x44, 4) => {
                assert_eq!(value >> 11 & 3, 2, "a ring of 32 KiB");
                assert_ne!(value & 1 << 7, 0, "frames that run on behind the ring");
                (state.rcr, state.read, state.write) = (value, 0, 0);
            }
            (0x4c, 4) => state.missed = 0,
            _ => panic!("a write of {bytes} bytes to {offset:#x}"),
        }
    }
}

impl Registers for &FakeRtl8139<'_> {
    fn size(&self) -> usize {
        0x100
    }

    fn read_u8(&self, offset: usize) -> u8 {
        self.read(u8::MAX, |state| match offset {
            0..6 => state.mac[offset],
            0x37 => state.command | u8::from(state.read == state.write),
            0x58 => 0xd0 | u8::from(!state.link) << 2,
            _ => panic!("8-bit read of {offset:#x}"),
        })
    }

    fn read_u16(&self, offset: usize) -> u16 {
        self.read(u16::MAX, |state| match (offset, state.fault) {
            (0x3a, Fault::Position(position)) => position,
            (0x3a, _) => u16::try_from(state.write).expect("inside the ring"),
            (0x3c, _) => state.imr,
            (0x3e, _) => state.isr,
            _ => panic!("16-bit read of {offset:#x}"),
        })
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.read(u32::MAX, |state| match offset {
            0x10 | 0x14 | 0x18 | 0x1c => state.status[(offset - 0x10) / 4],
            0x4c => state.missed,
            _ => panic!("32-bit read of {offset:#x}"),
        })
    }

    fn write_u8(&self, offset: usize, value: u8) {
        self.post(offset, 1, value.into());
    }

    fn write_u16(&self, offset: usize, value: u16) {
        self.post(offset, 2, value.into());
    }

    fn write_u32(&self, offset: usize, value: u32) {
        self.post(offset, 4, value);
    }
}

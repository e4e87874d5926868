//! The register file: what a read answers, and what a write does once it arrives.

use super::{FakeE1000, Fault, Ring, State};
use crate::device::Registers;

const CTRL: usize = 0x0000;
const STATUS: usize = 0x0008;
const MDIC: usize = 0x0020;
const ICR: usize = 0x00c0;
const ITR: usize = 0x00c4;
const IMS: usize = 0x00d0;
const IMC: usize = 0x00d8;
const EIAC: usize = 0x00dc;
const IVAR: usize = 0x00e4;
const EITR0: usize = 0x00e8;
const RCTL: usize = 0x0100;
const TCTL: usize = 0x0400;
const TIPG: usize = 0x0410;
const RECEIVE_RING: usize = 0x2800;
const RDTR: usize = 0x2820;
const TRANSMIT_RING: usize = 0x3800;
const TXDCTL: usize = 0x3828;
const MPC: usize = 0x4010;
const RXCSUM: usize = 0x5000;
const RFCTL: usize = 0x5008;
const MTA: usize = 0x5200;
const RAL0: usize = 0x5400;
const RAH0: usize = 0x5404;
const MRQC: usize = 0x5818;

const MASTER_DISABLE: u32 = 1 << 2;
const RST: u32 = 1 << 26;
const AUTONEG: u16 = 1 << 12;
pub(super) const EN: u32 = 2;

impl FakeE1000<'_> {
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

    /// A write takes effect.
    pub(super) fn arrive(&self, state: &mut State, offset: usize, value: u32) {
        match offset {
            CTRL => state.control(value),
            MDIC => state.phy_access(value),
            ICR => state.icr &= !value,
            IMS => state.ims |= value,
            IMC => state.ims &= !value,
            RCTL => state.receive_control(value),
            TCTL => {
                assert!(value & EN == 0 || state.was_reset, "sends before it was reset");
                assert!(value & EN == 0 || value >> 12 & 0x3ff == 64, "collision distance");
                state.tctl = value;
            }
            0x2800..=0x2818 => {
                let runs = state.rctl & EN != 0;
                state.rx.write(offset - RECEIVE_RING, value, runs);
            }
            0x3800..=0x3818 => {
                let runs = state.tctl & EN != 0;
                state.tx.write(offset - TRANSMIT_RING, value, runs);
                if offset == TRANSMIT_RING + Ring::TAIL && runs {
                    self.send_all(state);
                }
            }
            ITR | RDTR | RXCSUM => assert_eq!(value, 0, "delays or offloads, by {offset:#x}"),
            RFCTL | MRQC | TXDCTL => assert!(state.express, "{offset:#x} is none of the 82540EM's"),
            EIAC | EITR0 => assert!(state.express && value == 0, "no message clears or waits"),
            IVAR => {
                assert!(state.express, "the 82540EM has no table");
                state.vectors = value;
            }
            TIPG => assert_ne!(value & 0x3ff, 0, "no gap"),
            MTA..RAL0 => assert_eq!(value, 0, "multicast"),
            _ => panic!("a write to {offset:#x}"),
        }
    }
}

impl State {
    fn control(&mut self, value: u32) {
        assert_eq!(value & 1 << 30, 0, "VLAN tags are not to be touched");
        if value & RST == 0 {
            self.ctrl = value;
            return;
        }
        assert!(!self.express || self.ctrl & MASTER_DISABLE != 0, "reset in mid-access");
        self.resets += 1;
        self.was_reset = true;
        (self.icr, self.ims) = (0, 0);
        self.ctrl =
            if self.fault == Fault::NeverReset { value } else { value & !(RST | MASTER_DISABLE) };
        if self.fault != Fault::StaysOn {
            (self.rctl, self.tctl) = (0, 0);
        }
    }

    /// The PHY at address 1 has a control register and no other.
    fn phy_access(&mut self, value: u32) {
        let [low, high, ..] = value.to_le_bytes();
        let data = u16::from_le_bytes([low, high]);
        assert_eq!((value >> 16 & 31, value >> 21 & 31), (0, 1), "PHY register and address");
        self.mdic = match value >> 26 & 3 {
            1 => {
                assert!(data & 1 << 14 == 0 || data & AUTONEG == 0, "a loop does not negotiate");
                self.phy = data;
                value
            }
            2 => value & !0xffff | u32::from(self.phy),
            operation => panic!("MDI operation {operation}"),
        };
        if self.fault != Fault::DeafPhy {
            self.mdic |= 1 << 28;
        }
    }

    fn receive_control(&mut self, value: u32) {
        // EN, UPE, MPE, BAM, SECRC; all else would be another buffer size, or frames with errors.
        assert_eq!(value & !0x0400_801a, 0, "RCTL {value:#x}");
        assert!(value & EN == 0 || self.was_reset, "receives before it was reset");
        assert!(value & EN == 0 || self.rx.len != 0, "no ring");
        self.rctl = if self.fault == Fault::StaysOn { value | EN } else { value };
    }

    fn status(&self) -> u32 {
        let mastering = if self.ctrl & MASTER_DISABLE == 0 { 1 << 19 } else { 0 };
        u32::from(self.link) << 1 | if self.express { mastering } else { 0 }
    }

    /// Reading clears; the 82574L only what has interrupted, or with all causes masked.
    fn read_causes(&mut self) -> u32 {
        let causes = self.icr;
        if !self.express || self.ims == 0 {
            self.icr = 0;
        }
        causes
    }
}

impl Ring {
    pub(super) const TAIL: usize = 0x18;

    fn write(&mut self, register: usize, value: u32, runs: bool) {
        assert!(!runs || register == Self::TAIL, "a ring is moved while it is in use");
        match register {
            0x00 => {
                assert_eq!(value % 16, 0, "a ring at {value:#x}");
                self.base = self.base & !0xffff_ffff | u64::from(value);
            }
            0x04 => self.base = self.base & 0xffff_ffff | u64::from(value) << 32,
            0x08 => {
                assert!(value != 0 && value.is_multiple_of(128), "a ring of {value} bytes");
                self.len = value / 16;
            }
            0x10 => {
                assert_eq!(value, 0, "heads start at 0");
                self.head = 0;
            }
            Self::TAIL => {
                assert!(value < self.len, "tail {value} of {}", self.len);
                self.tail = value;
            }
            _ => panic!("ring register {register:#x}"),
        }
    }
}

impl Registers for &FakeE1000<'_> {
    fn size(&self) -> usize {
        0x2_0000
    }

    /// Ahead of a read every write before it arrives.
    fn read_u32(&self, offset: usize) -> u32 {
        match self.access() {
            Some(state) => drop(state),
            None => return u32::MAX,
        }
        let mut state = self.settled();
        let [a, b, c, d, e, f] = state.mac;
        match offset {
            CTRL => state.ctrl,
            STATUS => state.status(),
            MDIC => state.mdic,
            ICR => state.read_causes(),
            RCTL => state.rctl,
            TCTL => state.tctl,
            MPC => {
                let missed = state.missed;
                state.missed = if state.fault == Fault::CountKept { missed } else { 0 };
                missed
            }
            RAL0 => u32::from_le_bytes([a, b, c, d]),
            RAH0 => u32::from_le_bytes([
                e,
                f,
                0,
                if state.fault == Fault::NoAddress { 0 } else { 0x80 },
            ]),
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn write_u32(&self, offset: usize, value: u32) {
        if let Some(mut state) = self.access() {
            state.posted.push_back((offset, value));
        }
    }

    fn read_u8(&self, offset: usize) -> u8 {
        panic!("8-bit read of {offset:#x}")
    }

    fn read_u16(&self, offset: usize) -> u16 {
        panic!("16-bit read of {offset:#x}")
    }

    fn write_u8(&self, offset: usize, _: u8) {
        panic!("8-bit write to {offset:#x}")
    }

    fn write_u16(&self, offset: usize, _: u16) {
        panic!("16-bit write to {offset:#x}")
    }
}

//! The register file: what a read answers, and what a write does once it arrives.

use super::{
    super::played::{Board, Fault},
    EN, FLOW, Intel, Kind, OPEN, Ring,
};

const CTRL: usize = 0x0000;
const STATUS: usize = 0x0008;
const EEC: usize = 0x0010;
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
const VT_CTL: usize = 0x581c;
const RAL0: usize = 0x5400;
const RAH0: usize = 0x5404;
const MRQC: usize = 0x5818;

const MASTER_DISABLE: u32 = 1 << 2;
const RST: u32 = 1 << 26;
const AUTONEG: u16 = 1 << 12;
const AUTO_READ_DONE: u32 = 1 << 9;

/// What only a chip with queues has, by offsets of their own.
const IAM: usize = 0x1510;
const GPIE: usize = 0x1514;
const EITR0_OF_IGB: usize = 0x1680;
const SRRCTL: usize = 0xc00c;
const RXDCTL: usize = 0xc028;
const TXDCTL_OF_IGB: usize = 0xe028;
const TDWBAL: usize = 0xe038;

/// Where the 82574L has what a chip with queues has here; such a chip has nothing at the old places.
fn place(kind: Kind, offset: usize) -> usize {
    match (kind, offset) {
        (Kind::Igc, 0x1500) => ICR,
        (Kind::Igc, 0x1508) => IMS,
        (Kind::Igc, 0x150c) => IMC,
        (Kind::Igc, ICR | IMS | IMC) => panic!("none at {offset:#x}"),
        (Kind::I82540 | Kind::I82574, _) | (_, ICR | IMS | IMC) => offset,
        (_, 0xc000 | 0xc004 | 0xc008 | 0xc010 | 0xc018) => offset - 0xc000 + RECEIVE_RING,
        (_, 0xe000 | 0xe004 | 0xe008 | 0xe010 | 0xe018) => offset - 0xe000 + TRANSMIT_RING,
        (_, 0x00c0..=0xff | TIPG | 0x2800..0x4000) => panic!("none at {offset:#x}"),
        _ => offset,
    }
}

impl Intel {
    /// A write takes effect.
    pub(super) fn set(&mut self, board: &mut Board<'_>, offset: usize, value: u32) {
        let kind = self.kind;
        match place(kind, offset) {
            CTRL => self.control(board, value),
            MDIC => self.phy_access(board, value),
            ICR => self.icr &= !value,
            IMS => self.ims |= value,
            IMC => self.ims &= !value,
            RCTL => self.receive_control(board, value),
            TCTL => {
                assert!(value & EN == 0 || self.was_reset, "sends before it was reset");
                assert!(value & EN == 0 || value >> 12 & 0x3ff == 64, "collision distance");
                self.tctl = value;
            }
            place @ 0x2800..=0x2818 => {
                self.rx.write(kind, place - RECEIVE_RING, value, self.rctl & EN != 0);
            }
            place @ 0x3800..=0x3818 => {
                let (register, runs) = (place - TRANSMIT_RING, self.tctl & EN != 0);
                self.tx.write(kind, register, value, runs);
                if register == Ring::TAIL && runs {
                    self.send_all(board);
                }
            }
            ITR | RDTR | RXCSUM => assert_eq!(value, 0, "delays or offloads, by {offset:#x}"),
            RFCTL | MRQC => assert!(kind.is_express() && value == 0, "offloads, by {offset:#x}"),
            TXDCTL => assert_eq!(kind, Kind::I82574, "{offset:#x} is none of its"),
            EIAC | EITR0 => assert!(kind.is_express() && value == 0, "no message clears or waits"),
            _ if kind.has_queues() => self.set_queues(offset, value),
            IVAR => {
                assert!(kind.is_express(), "the 82540EM has no table");
                self.vectors = value;
            }
            TIPG => assert_ne!(value & 0x3ff, 0, "no gap"),
            MTA..RAL0 => assert_eq!(value, 0, "multicast"),
            _ => panic!("a write to {offset:#x}"),
        }
    }

    /// What a read answers.
    pub(super) fn get(&mut self, board: &Board<'_>, offset: usize) -> u32 {
        let [a, b, c, d, e, f] = board.address();
        match place(self.kind, offset) {
            CTRL => self.ctrl,
            EEC if self.kind.has_queues() => AUTO_READ_DONE,
            RXDCTL | TXDCTL_OF_IGB if self.kind.has_queues() => {
                let ring = if offset == RXDCTL { &mut self.rx } else { &mut self.tx };
                ring.ask_control(board.fault)
            }
            STATUS => self.status(board),
            MDIC => self.mdic,
            ICR => self.read_causes(),
            RCTL => self.rctl,
            TCTL => self.tctl,
            MPC => {
                let missed = self.missed;
                self.missed = if board.fault == Fault::CountKept { missed } else { 0 };
                missed
            }
            RAL0 => u32::from_le_bytes([a, b, c, d]),
            RAH0 => {
                // What is not said to be an address may be anything.
                let [more, valid] =
                    if board.fault == Fault::NoAddress { [1, 0] } else { [0, 0x80] };
                u32::from_le_bytes([e | more, f, 0, valid])
            }
            _ => panic!("a read of {offset:#x}"),
        }
    }

    /// What only a chip with queues has.
    fn set_queues(&mut self, offset: usize, value: u32) {
        match offset {
            // One vector, one pool, no delay, no head written to memory.
            IAM | GPIE | EITR0_OF_IGB | VT_CTL | TDWBAL => assert_eq!(value, 0, "{offset:#x}"),
            SRRCTL => assert_eq!(value, 1 << 25 | 2, "advanced descriptors, 2 KiB each"),
            RXDCTL | TXDCTL_OF_IGB => {
                let ring = if offset == RXDCTL { &mut self.rx } else { &mut self.tx };
                assert!(value & OPEN == 0 || ring.len != 0, "a queue without a ring is opened");
                (ring.control, ring.asked) = (value, 0);
            }
            MTA..RAL0 => assert_eq!(value, 0, "multicast"),
            _ => panic!("a write to {offset:#x}"),
        }
    }

    fn control(&mut self, board: &mut Board<'_>, value: u32) {
        assert_eq!(value & 1 << 30, 0, "VLAN tags are not to be touched");
        assert_eq!(value & FLOW, self.ctrl & FLOW, "flow control is not to be touched");
        if value & RST == 0 {
            self.ctrl = value;
            return;
        }
        assert!(!self.kind.is_express() || self.ctrl & MASTER_DISABLE != 0, "reset in mid-access");
        board.resets += 1;
        self.was_reset = true;
        (self.icr, self.ims) = (0, 0);
        self.ctrl =
            if board.fault == Fault::NeverReset { value } else { value & !(RST | MASTER_DISABLE) };
        if board.fault != Fault::StaysOn {
            (self.rctl, self.tctl) = (0, 0);
        }
        // Queue 0 is open from the start.
        (self.rx.control, self.tx.control) = (OPEN, OPEN);
        self.negotiated = false;
    }

    /// The PHY at address 1 has a control register and no other.
    fn phy_access(&mut self, board: &Board<'_>, value: u32) {
        let [low, high, ..] = value.to_le_bytes();
        let data = u16::from_le_bytes([low, high]);
        assert_eq!((value >> 16 & 31, value >> 21 & 31), (0, 1), "PHY register and address");
        self.mdic = match value >> 26 & 3 {
            1 if self.kind.has_queues() => {
                assert_eq!(data, AUTONEG | 1 << 9, "a link is negotiated");
                self.negotiated = true;
                value
            }
            1 => {
                assert!(data & 1 << 14 == 0 || data & AUTONEG == 0, "a loop does not negotiate");
                self.phy = data;
                value
            }
            2 => value & !0xffff | u32::from(self.phy),
            operation => panic!("MDI operation {operation}"),
        };
        if board.fault != Fault::NeverReady {
            self.mdic |= 1 << 28;
        }
    }

    fn receive_control(&mut self, board: &Board<'_>, value: u32) {
        // EN, UPE, MPE, BAM, SECRC; all else would be another buffer size, or frames with errors.
        let loops = if self.kind.has_queues() { 1 << 6 } else { 0 };
        assert_eq!(value & !(0x0400_801a | loops), 0, "RCTL {value:#x}");
        assert!(value & EN == 0 || self.was_reset, "receives before it was reset");
        assert!(value & EN == 0 || self.rx.len != 0, "no ring");
        self.rctl = if board.fault == Fault::StaysOn { value | EN } else { value };
    }

    fn status(&self, board: &Board<'_>) -> u32 {
        let mastering = if self.ctrl & MASTER_DISABLE == 0 { 1 << 19 } else { 0 };
        u32::from(self.linked(board)) << 1 | if self.kind.is_express() { mastering } else { 0 }
    }

    /// Reading clears; the 82574L only what has interrupted, or with all causes masked.
    fn read_causes(&mut self) -> u32 {
        let causes = self.icr;
        if !self.kind.is_express() || self.ims == 0 {
            self.icr = 0;
        }
        causes
    }
}

impl Ring {
    pub(super) const TAIL: usize = 0x18;

    /// A queue opens after it was asked twice.
    fn ask_control(&mut self, fault: Fault) -> u32 {
        self.asked += 1;
        let late = self.asked < 3 || fault == Fault::NeverReady;
        if late { self.control & !OPEN } else { self.control }
    }

    fn write(&mut self, kind: Kind, register: usize, value: u32, runs: bool) {
        let open = kind.has_queues() && self.control & OPEN != 0;
        assert!(!(runs || open) || register == Self::TAIL, "a ring is moved while it is in use");
        assert!(!open || self.asked > 2, "a tail for a queue that has not said that it is open");
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

//! An RTL8139 as QEMU models it, but stricter: whatever no driver should do is a panic.
//!
//! It reaches memory by bus address only, and remembers each. Register offsets are spelled out here anew,
//! from the datasheet, so that a slip in the driver's own list is not repeated. Frames that find no room are
//! held back as QEMU does, or lost as on the wire while the overflow interrupt is enabled.

use crate::{addr::BusAddr, dma::fake::FakeMachine, nic::mmio::Registers};
use alloc::{collections::VecDeque, vec::Vec};
use core::cell::RefCell;

const RING: usize = 32 << 10;
const ROK: u16 = 1;
const TOK: u16 = 4;
const TER: u16 = 8;
const RXOVW: u16 = 16;
const LINK: u16 = 32;

/// What the chip does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// This byte of each received frame arrives with a bit flipped.
    CorruptByte(usize),
    /// Received frames have this length in their header.
    Length(u16),
    /// Received frames have this status in their header.
    Status(u16),
    /// The write position reads as this.
    Position(u16),
    /// Frames are never sent.
    NeverSend,
    /// Frames are given up with this status.
    SendStatus(u32),
    /// A reset never ends.
    NeverReset,
    /// A byte is written just before the receive buffer with each frame.
    Underrun,
    /// Nothing answers: all bits read as ones.
    Gone,
}

#[derive(Debug)]
struct State {
    mac: [u8; 6],
    fault: Fault,
    link: bool,
    command: u8,
    isr: u16,
    imr: u16,
    tcr: u32,
    rcr: u32,
    buffer: u32,
    read: usize,
    write: usize,
    missed: u32,
    status: [u32; 4],
    address: [u32; 4],
    next: usize,
    sent: Vec<Vec<u8>>,
    held_back: VecDeque<Vec<u8>>,
    /// A frame found no room, and CAPR was not written since.
    stalled: bool,
    touched: Vec<(BusAddr, usize)>,
    resets: usize,
    accesses: usize,
}

/// The chip, to be shared by a driver and the test that plays its surroundings.
#[derive(Debug)]
pub struct FakeRtl8139<'a> {
    machine: &'a FakeMachine,
    state: RefCell<State>,
}

impl<'a> FakeRtl8139<'a> {
    /// A chip after power-on with its link up.
    pub const fn new(machine: &'a FakeMachine, mac: [u8; 6]) -> Self {
        let state = State {
            mac,
            fault: Fault::None,
            link: true,
            command: 0,
            isr: 0,
            imr: 0,
            tcr: 0,
            rcr: 0,
            buffer: 0,
            read: 0,
            write: 0,
            missed: 0,
            status: [1 << 13; 4],
            address: [0; 4],
            next: 0,
            sent: Vec::new(),
            held_back: VecDeque::new(),
            stalled: false,
            touched: Vec::new(),
            resets: 0,
            accesses: 0,
        };
        Self { machine, state: RefCell::new(state) }
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state.borrow_mut().fault = fault;
    }

    /// Plugs the cable in or out.
    pub fn set_link(&self, up: bool) {
        let mut state = self.state.borrow_mut();
        state.link = up;
        state.isr |= LINK;
    }

    /// Whether the interrupt line is asserted.
    pub fn interrupts(&self) -> bool {
        let state = self.state.borrow();
        state.isr & state.imr != 0
    }

    /// The frames sent to the wire since last asked.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.state.borrow_mut().sent)
    }

    /// A frame arrives from the wire.
    pub fn deliver(&self, frame: &[u8]) {
        let mut state = self.state.borrow_mut();
        if !state.link {
            return;
        }
        let lossy = state.imr & RXOVW != 0;
        let held_back = !lossy && (state.stalled || !state.has_room());
        if held_back || !self.receive(&mut state, frame) && !lossy {
            state.held_back.push_back(frame.to_vec());
        }
    }

    /// Every address used and how many bytes of it.
    pub fn touched(&self) -> Vec<(BusAddr, usize)> {
        self.state.borrow().touched.clone()
    }

    /// How often the chip was reset.
    pub fn resets(&self) -> usize {
        self.state.borrow().resets
    }

    /// Register accesses so far: each one is an exit to an emulator.
    pub fn accesses(&self) -> usize {
        self.state.borrow().accesses
    }

    /// Whether any direction is enabled.
    pub fn is_running(&self) -> bool {
        self.state.borrow().command & 0x0c != 0
    }

    /// Puts a frame into the ring if it is one to receive; `false` if there is no room.
    fn receive(&self, state: &mut State, frame: &[u8]) -> bool {
        if state.command & 8 == 0 || !state.accepts(frame) {
            return true;
        }
        let len = frame.len().max(60);
        let room = (RING + state.read - state.write) % RING;
        if room != 0 && (len + 8).next_multiple_of(4) >= room {
            state.isr |= RXOVW;
            state.missed += 1;
            state.stalled = true;
            return false;
        }
        let bytes = state.fault.in_ring(frame, len);
        let at = BusAddr(u64::from(state.buffer) + state.write as u64);
        self.dma_write(state, at, &bytes);
        if state.fault == Fault::Underrun {
            let before = BusAddr(u64::from(state.buffer) - 1);
            self.dma_write(state, before, &[0x5a]);
        }
        state.write = (state.write + bytes.len().next_multiple_of(4)) % RING;
        state.isr |= ROK;
        true
    }

    fn dma_write(&self, state: &mut State, bus: BusAddr, bytes: &[u8]) {
        state.touched.push((bus, bytes.len()));
        assert!(self.machine.bus_write(bus, bytes), "no memory at {bus}");
    }

    /// A write to TSD: sends at once, as QEMU does.
    fn send(&self, state: &mut State, slot: usize, value: u32) {
        assert_eq!(slot, state.next, "slots are used in turn");
        assert_ne!(state.status[slot] & 1 << 13, 0, "the device still has slot {slot}");
        assert_ne!(state.command & 4, 0, "sent with the transmitter off");
        let len = value as usize & 0x1fff;
        assert!((60..=1514).contains(&len), "a frame of {len} bytes");
        state.status[slot] = value & !(1 << 13);
        state.next = (slot + 1) % 4;
        if state.fault == Fault::NeverSend {
            return;
        }
        let mut frame = alloc::vec![0; len];
        let bus = BusAddr(u64::from(state.address[slot]));
        state.touched.push((bus, len));
        assert!(self.machine.bus_read(bus, &mut frame), "no memory at {bus}");
        if let Fault::SendStatus(status) = state.fault {
            state.status[slot] = status;
            state.isr |= TER;
            return;
        }
        if state.tcr & 3 << 17 == 3 << 17 {
            self.receive(state, &frame);
        } else if state.link {
            state.sent.push(frame);
        }
        state.status[slot] |= 1 << 13 | 1 << 15;
        state.isr |= TOK;
    }

    /// A write to CAPR: room for frames held back.
    fn make_room(&self, state: &mut State, value: u16) {
        state.read = usize::from(value.wrapping_add(16)) % RING;
        state.stalled = false;
        while !state.stalled
            && state.has_room()
            && let Some(frame) = state.held_back.pop_front()
        {
            if !self.receive(state, &frame) {
                state.held_back.push_front(frame);
            }
        }
    }

    fn command(state: &mut State, value: u8) {
        if value & 0x10 != 0 {
            state.resets += 1;
            (state.isr, state.imr, state.rcr, state.tcr) = (0, 0, 0, 0);
            (state.read, state.write, state.next) = (0, 0, 0);
            state.status = [1 << 13; 4];
        }
        let stuck = state.fault == Fault::NeverReset;
        state.command = if stuck { value } else { value & !0x10 };
    }

    fn access(&self) -> core::cell::RefMut<'_, State> {
        let mut state = self.state.borrow_mut();
        state.accesses += 1;
        state
    }
}

impl Fault {
    /// A frame as it lies in the ring: header, frame, checksum.
    fn in_ring(self, frame: &[u8], len: usize) -> Vec<u8> {
        let length = match self {
            Self::Length(length) => length,
            _ => u16::try_from(len + 4).expect("a frame fits the ring"),
        };
        let status = if let Self::Status(status) = self { status } else { ROK };
        let mut bytes = [status.to_le_bytes(), length.to_le_bytes()].concat();
        bytes.extend_from_slice(frame);
        bytes.resize(4 + len, 0);
        if let Self::CorruptByte(at) = self {
            bytes[4 + at % len] ^= 0x10;
        }
        bytes.extend_from_slice(&crc32fast::hash(frame).to_le_bytes());
        bytes
    }
}

impl State {
    const fn has_room(&self) -> bool {
        let room = (RING + self.read - self.write) % RING;
        room == 0 || room >= 1514
    }

    fn accepts(&self, frame: &[u8]) -> bool {
        let (all, own, broadcast) = (self.rcr & 1, self.rcr & 2, self.rcr & 8);
        all != 0
            || own != 0 && frame.starts_with(&self.mac)
            || broadcast != 0 && frame.starts_with(&[0xff; 6])
    }
}

impl Registers for &FakeRtl8139<'_> {
    fn len(&self) -> usize {
        0x100
    }

    fn read_u8(&self, offset: usize) -> u8 {
        let state = self.access();
        match offset {
            _ if state.fault == Fault::Gone => u8::MAX,
            0..6 => state.mac[offset],
            0x37 => state.command | u8::from(state.read == state.write),
            0x58 => 0xd0 | u8::from(!state.link) << 2,
            _ => panic!("8-bit read of {offset:#x}"),
        }
    }

    fn read_u16(&self, offset: usize) -> u16 {
        let state = self.access();
        match (offset, state.fault) {
            (_, Fault::Gone) => u16::MAX,
            (0x3a, Fault::Position(position)) => position,
            (0x3a, _) => u16::try_from(state.write).expect("inside the ring"),
            (0x3c, _) => state.imr,
            (0x3e, _) => state.isr,
            _ => panic!("16-bit read of {offset:#x}"),
        }
    }

    fn read_u32(&self, offset: usize) -> u32 {
        let state = self.access();
        match offset {
            _ if state.fault == Fault::Gone => u32::MAX,
            0x10 | 0x14 | 0x18 | 0x1c => state.status[(offset - 0x10) / 4],
            0x4c => state.missed,
            _ => panic!("32-bit read of {offset:#x}"),
        }
    }

    fn write_u8(&self, offset: usize, value: u8) {
        let mut state = self.access();
        assert_eq!(offset, 0x37, "8-bit write");
        FakeRtl8139::command(&mut state, value);
    }

    fn write_u16(&self, offset: usize, value: u16) {
        let mut state = self.access();
        match offset {
            0x38 => self.make_room(&mut state, value),
            0x3c => state.imr = value,
            0x3e => state.isr &= !value,
            _ => panic!("16-bit write of {offset:#x}"),
        }
    }

    fn write_u32(&self, offset: usize, value: u32) {
        let mut state = self.access();
        match offset {
            0x10 | 0x14 | 0x18 | 0x1c => self.send(&mut state, (offset - 0x10) / 4, value),
            0x20 | 0x24 | 0x28 | 0x2c => {
                assert_eq!(value % 4, 0, "slot address {value:#x}");
                state.address[(offset - 0x20) / 4] = value;
            }
            0x30 => {
                assert_eq!(state.command & 8, 0, "the ring moved under the receiver");
                state.buffer = value;
            }
            0x40 => {
                assert_ne!(state.command & 4, 0, "TCR takes no effect with the transmitter off");
                state.tcr = value;
            }
            0x44 => {
                assert_eq!(value >> 11 & 3, 2, "a ring of 32 KiB");
                assert_ne!(value & 1 << 7, 0, "frames that run on behind the ring");
                (state.rcr, state.read, state.write) = (value, 0, 0);
            }
            0x4c => state.missed = 0,
            _ => panic!("32-bit write of {offset:#x}"),
        }
    }
}

//! An RTL8139 as QEMU models it, but stricter: whatever no driver should do is a panic.
//!
//! It reaches memory by bus address only, and remembers each. Register offsets are spelled out here anew,
//! from the datasheet, so that a slip in the driver's own list is not repeated. Frames that find no room are
//! held back as QEMU does, or lost as on the wire while the overflow interrupt is enabled.
//!
//! As on hardware, and unlike QEMU, a register write arrives only with the next read, and the transmitter halts
//! after an abort until it is told to go on.

mod registers;

use crate::{addr::BusAddr, dma::fake::FakeMachine};
use alloc::{collections::VecDeque, vec::Vec};
use core::cell::{RefCell, RefMut};

const RING: usize = 32 << 10;
const ROK: u16 = 1;
const TOK: u16 = 4;
const TER: u16 = 8;
const RXOVW: u16 = 16;
const LINK: u16 = 32;
const OWN: u32 = 1 << 13;
const TABT: u32 = 1 << 30;

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
    /// Of a received frame with its header and checksum only this much is written, and all of it reported.
    Unwritten(usize),
    /// The write position reads as this.
    Position(u16),
    /// Frames are never sent.
    NeverSend,
    /// Frames are given up with this status; an abort halts the transmitter.
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
    /// The slot to be written next.
    next: usize,
    /// The slot to be sent next.
    sending: usize,
    /// A frame was aborted, and CLRABT was not written since.
    halted: bool,
    /// Writes under way: offset, bytes, value.
    posted: VecDeque<(usize, usize, u32)>,
    /// The access from which on nothing answers.
    vanishes_at: Option<usize>,
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
            status: [OWN; 4],
            address: [0; 4],
            next: 0,
            sending: 0,
            halted: false,
            posted: VecDeque::new(),
            vanishes_at: None,
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
        state.isr |= LINK;
    }

    /// Whether the interrupt line is asserted, with no regard to writes that are still under way.
    pub fn interrupts(&self) -> bool {
        let state = self.state.borrow();
        state.isr & state.imr != 0
    }

    /// The frames sent to the wire since last asked.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.settled().sent)
    }

    /// A frame arrives from the wire.
    pub fn deliver(&self, frame: &[u8]) {
        let mut state = self.settled();
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
        self.settled().touched.clone()
    }

    /// How often the chip was reset.
    pub fn resets(&self) -> usize {
        self.settled().resets
    }

    /// The memory that it was told of and may still use: its ring, and frames it did not report as done.
    pub fn owned(&self) -> Vec<(BusAddr, usize)> {
        let state = self.state.borrow();
        let receives = state.command & 8 != 0;
        let ring = receives.then(|| (BusAddr(u64::from(state.buffer)), RING + 16 + 2048));
        let undone = (0..4).filter(|&slot| state.status[slot] & OWN == 0);
        let frames = undone.map(|slot| {
            let len = state.status[slot] as usize & 0x1fff;
            (BusAddr(u64::from(state.address[slot])), len)
        });
        ring.into_iter().chain(frames).collect()
    }

    /// Register accesses so far: each one is an exit to an emulator.
    pub fn accesses(&self) -> usize {
        self.state.borrow().accesses
    }

    /// Whether any direction is enabled.
    pub fn is_running(&self) -> bool {
        self.settled().command & 0x0c != 0
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
        let written = if let Fault::Unwritten(most) = state.fault { most } else { usize::MAX };
        self.dma_write(state, at, &bytes[..bytes.len().min(written)]);
        if state.fault == Fault::Underrun {
            self.machine.bus_flip(BusAddr(u64::from(state.buffer) - 1));
        }
        state.write = (state.write + bytes.len().next_multiple_of(4)) % RING;
        state.isr |= ROK;
        true
    }

    fn dma_write(&self, state: &mut State, bus: BusAddr, bytes: &[u8]) {
        state.touched.push((bus, bytes.len()));
        assert!(self.machine.bus_write(bus, bytes), "no memory at {bus}");
    }

    /// A write to TSD: sends at once, as QEMU does, unless the transmitter is halted.
    fn ring_doorbell(&self, state: &mut State, slot: usize, value: u32) {
        assert_eq!(slot, state.next, "slots are used in turn");
        assert_ne!(state.status[slot] & OWN, 0, "the device still has slot {slot}");
        assert_ne!(state.command & 4, 0, "sent with the transmitter off");
        let len = value as usize & 0x1fff;
        assert!((60..=1514).contains(&len), "a frame of {len} bytes");
        state.status[slot] = value & !OWN;
        state.next = (slot + 1) % 4;
        self.send_all(state);
    }

    /// A write of CLRABT: the aborted frame is sent again, and whatever waits behind it.
    fn go_on(&self, state: &mut State) {
        assert!(state.halted, "CLRABT without an abort");
        state.halted = false;
        self.send(state, state.sending);
        self.send_all(state);
    }

    fn send_all(&self, state: &mut State) {
        while !state.halted && state.status[state.sending] & OWN == 0 {
            if state.fault == Fault::NeverSend {
                return;
            }
            self.send(state, state.sending);
        }
    }

    fn send(&self, state: &mut State, slot: usize) {
        let mut frame = alloc::vec![0; state.status[slot] as usize & 0x1fff];
        let bus = BusAddr(u64::from(state.address[slot]));
        state.touched.push((bus, frame.len()));
        assert!(self.machine.bus_read(bus, &mut frame), "no memory at {bus}");
        if let Fault::SendStatus(status) = state.fault {
            state.status[slot] = status | state.status[slot] & 0x1fff;
            state.isr |= TER;
            state.halted = status & TABT != 0;
            state.sending = (slot + usize::from(!state.halted)) % 4;
            return;
        }
        if state.tcr & 3 << 17 == 3 << 17 {
            self.receive(state, &frame);
        } else if state.link {
            state.sent.push(frame);
        }
        state.status[slot] |= OWN | 1 << 15;
        state.isr |= TOK;
        state.sending = (slot + 1) % 4;
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
            (state.read, state.write, state.next, state.sending) = (0, 0, 0, 0);
            state.halted = false;
            state.status = [OWN; 4];
        }
        let stuck = state.fault == Fault::NeverReset;
        state.command = if stuck { value } else { value & !0x10 };
    }

    /// The chip once all writes have arrived.
    fn settled(&self) -> RefMut<'_, State> {
        let mut state = self.state.borrow_mut();
        while let Some((offset, bytes, value)) = state.posted.pop_front() {
            self.arrive(&mut state, offset, bytes, value);
        }
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

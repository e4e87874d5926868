//! A chip that a test plays, whatever its family: what is the same about all of them, around what one does.
//!
//! It reaches memory by bus address only, and remembers each. As on hardware, and unlike QEMU, a register write arrives
//! only with the next read, the next frame, or when the test lets it.

use crate::{addr::BusAddr, device::Registers, dma::fake::FakeMachine, nic::TxFailure};
use alloc::{collections::VecDeque, vec::Vec};
use core::{
    cell::{RefCell, RefMut},
    fmt,
};

/// What a chip does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// This byte of each received frame arrives with a bit flipped.
    CorruptByte(usize),
    /// Received frames are reported with this length.
    Length(u16),
    /// Received frames are reported with an error.
    Bad,
    /// Of received frames it is reported that they go on.
    Part,
    /// With a received frame more are reported than there is room for.
    TooMany,
    /// Of a received frame only this much is written, and all of it reported.
    Unwritten(usize),
    /// Frames are never sent.
    NeverSend,
    /// Frames are done with, and were not sent.
    SendFails(TxFailure),
    /// A reset never ends.
    NeverReset,
    /// A reset ends, and receiving goes on.
    StaysOn,
    /// There is no valid address.
    NoAddress,
    /// The address is one of a group.
    GroupAddress,
    /// The loop carries so many frames less: they are lost.
    SlowLoop(usize),
    /// What makes the loop, or a queue, never says that it is ready.
    NeverReady,
    /// The count of missed frames is not cleared when it is read.
    CountKept,
    /// Features that are offered are not agreed to.
    NoFeatures,
    /// There is no room for a vector: of the queue with this number, or after the last of the configuration.
    NoVector(usize),
    /// A byte is written just before the buffer with each frame.
    Underrun,
    /// Nothing answers: all bits read as ones.
    Gone,
}

/// What one family does.
pub trait Logic: fmt::Debug {
    /// Bytes of registers.
    const SIZE: usize;

    /// A write of so many bytes takes effect.
    fn write(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize, value: u32);

    /// A read of so many bytes.
    fn read(&mut self, board: &mut Board<'_>, offset: usize, bytes: usize) -> u32;

    /// A frame arrives, from the wire or round the loop.
    fn receive(&mut self, board: &mut Board<'_>, frame: &[u8]);

    /// The link came or went.
    fn link_changed(&mut self);

    /// Whether the interrupt line is asserted.
    fn interrupts(&self) -> bool;

    /// Whether any direction is enabled.
    fn is_running(&self) -> bool;

    /// The memory that it was told of and may still use.
    fn owned(&self, board: &Board<'_>) -> Vec<(BusAddr, usize)>;
}

/// What is around a chip.
#[derive(Debug)]
pub struct Board<'a> {
    machine: &'a FakeMachine,
    /// The address that frames for the card have.
    pub mac: [u8; 6],
    /// What goes wrong.
    pub fault: Fault,
    /// Whether there is a link.
    pub link: bool,
    /// How often the chip was reset.
    pub resets: usize,
    sent: Vec<Vec<u8>>,
    touched: Vec<(BusAddr, usize)>,
}

impl Board<'_> {
    /// The address that the card says is its own.
    pub const fn address(&self) -> [u8; 6] {
        match self.fault {
            Fault::NoAddress => [0; 6],
            Fault::GroupAddress => [0xff; 6],
            _ => self.mac,
        }
    }

    /// A descriptor's two words, with nobody taking note.
    pub fn peek(&self, at: BusAddr) -> [u64; 2] {
        let mut bytes = [0; 16];
        assert!(self.machine.bus_read(at, &mut bytes), "no memory at {at}");
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
    }

    /// Reads a descriptor.
    pub fn descriptor(&mut self, at: BusAddr) -> [u64; 2] {
        self.touched.push((at, 16));
        self.peek(at)
    }

    /// Reads memory.
    pub fn read(&mut self, bus: BusAddr, len: usize) -> Vec<u8> {
        let mut bytes = alloc::vec![0; len];
        self.touched.push((bus, len));
        assert!(self.machine.bus_read(bus, &mut bytes), "no memory at {bus}");
        bytes
    }

    /// Writes memory.
    pub fn write(&mut self, bus: BusAddr, bytes: &[u8]) {
        self.touched.push((bus, bytes.len()));
        assert!(self.machine.bus_write(bus, bytes), "no memory at {bus}");
    }

    /// Changes a byte that is not its own to write.
    pub fn flip(&mut self, bus: BusAddr) {
        self.touched.push((bus, 1));
        self.machine.bus_flip(bus);
    }

    /// Puts a received frame with its checksum into a buffer; the length to be reported, with the checksum.
    pub fn fill(&mut self, bus: BusAddr, frame: &[u8]) -> usize {
        let mut bytes = padded(frame);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        self.put(bus, bytes, 4)
    }

    /// The same of a chip that keeps the checksum for itself.
    pub fn fill_stripped(&mut self, bus: BusAddr, frame: &[u8]) -> usize {
        self.put(bus, padded(frame), 0)
    }

    /// The same of one that nobody made as long as a wire wants it.
    pub fn fill_as_sent(&mut self, bus: BusAddr, frame: &[u8]) -> usize {
        self.put(bus, frame.to_vec(), 0)
    }

    fn put(&mut self, bus: BusAddr, mut bytes: Vec<u8>, checksum: usize) -> usize {
        let (mut length, mut written) = (bytes.len(), bytes.len());
        match self.fault {
            Fault::CorruptByte(at) => bytes[at] ^= 0x10,
            Fault::Length(other) => length = usize::from(other) + checksum,
            Fault::Unwritten(most) => written = written.min(most),
            Fault::Underrun => self.flip(BusAddr(bus.0 - 1)),
            _ => {}
        }
        self.write(bus, &bytes[..written]);
        length
    }

    /// A frame leaves by the wire.
    pub fn send(&mut self, frame: Vec<u8>) {
        if self.link {
            self.sent.push(frame);
        }
    }
}

/// A frame as it is on the wire, but for the checksum.
fn padded(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    bytes.resize(frame.len().max(60), 0);
    bytes
}

#[derive(Debug)]
struct State<'a, L> {
    board: Board<'a>,
    logic: L,
    /// Writes under way: offset, bytes, value.
    posted: VecDeque<(usize, usize, u32)>,
    /// The access from which on nothing answers.
    vanishes_at: Option<usize>,
    accesses: usize,
}

/// The chip, to be shared by a driver and the test that plays its surroundings.
#[derive(Debug)]
pub struct Played<'a, L> {
    state: RefCell<State<'a, L>>,
}

/// What a test does with a chip.
pub trait Player {
    /// What goes wrong from now on.
    fn set_fault(&self, fault: Fault);
    /// Lets the chip answer `accesses` more times, then never again.
    fn vanish_after(&self, accesses: usize);
    /// Whether it has vanished.
    fn is_gone(&self) -> bool;
    /// Plugs the cable in or out.
    fn set_link(&self, up: bool);
    /// Whether the interrupt line is asserted, with no regard to writes that are still under way.
    fn interrupts(&self) -> bool;
    /// Lets every write arrive.
    fn settle(&self);
    /// The frames sent to the wire since last asked.
    fn take_sent(&self) -> Vec<Vec<u8>>;
    /// A frame arrives from the wire.
    fn deliver(&self, frame: &[u8]);
    /// Every address used and how many bytes of it.
    fn touched(&self) -> Vec<(BusAddr, usize)>;
    /// How often the chip was reset.
    fn resets(&self) -> usize;
    /// Register accesses so far: each one is an exit to an emulator.
    fn accesses(&self) -> usize;
    /// Whether any direction is enabled.
    fn is_running(&self) -> bool;
    /// The memory that it was told of and may still use: rings, buffers to receive into, and frames not done with.
    fn owned(&self) -> Vec<(BusAddr, usize)>;
}

impl<'a, L: Logic> Played<'a, L> {
    /// A chip with its link up.
    pub const fn new(machine: &'a FakeMachine, mac: [u8; 6], logic: L) -> Self {
        let board = Board {
            machine,
            mac,
            fault: Fault::None,
            link: true,
            resets: 0,
            sent: Vec::new(),
            touched: Vec::new(),
        };
        let posted = VecDeque::new();
        Self { state: RefCell::new(State { board, logic, posted, vanishes_at: None, accesses: 0 }) }
    }

    /// What only its family has, once all writes have arrived.
    pub fn logic(&self) -> RefMut<'_, L> {
        RefMut::map(self.settled(), |state| &mut state.logic)
    }

    /// The chip once all writes have arrived.
    fn settled(&self) -> RefMut<'_, State<'a, L>> {
        let mut state = self.state.borrow_mut();
        while let Some((offset, bytes, value)) = state.posted.pop_front() {
            let State { board, logic, .. } = &mut *state;
            logic.write(board, offset, bytes, value);
        }
        state
    }

    /// One access more; whether anybody answers it.
    fn access(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.accesses += 1;
        if state.vanishes_at.is_some_and(|last| state.accesses > last) {
            state.board.fault = Fault::Gone;
        }
        if state.board.fault == Fault::Gone {
            state.posted.clear();
        }
        state.board.fault != Fault::Gone
    }

    /// A read, ahead of which every write before it arrives.
    fn read(&self, offset: usize, bytes: usize) -> u32 {
        if !self.access() {
            return u32::MAX;
        }
        let mut state = self.settled();
        let State { board, logic, .. } = &mut *state;
        logic.read(board, offset, bytes)
    }

    fn post(&self, offset: usize, bytes: usize, value: u32) {
        if self.access() {
            self.state.borrow_mut().posted.push_back((offset, bytes, value));
        }
    }
}

impl<L: Logic> Player for Played<'_, L> {
    fn set_fault(&self, fault: Fault) {
        self.settled().board.fault = fault;
    }

    fn vanish_after(&self, accesses: usize) {
        let mut state = self.settled();
        state.vanishes_at = Some(state.accesses + accesses);
    }

    fn is_gone(&self) -> bool {
        self.state.borrow().board.fault == Fault::Gone
    }

    fn set_link(&self, up: bool) {
        let mut state = self.settled();
        state.board.link = up;
        state.logic.link_changed();
    }

    fn interrupts(&self) -> bool {
        self.state.borrow().logic.interrupts()
    }

    fn settle(&self) {
        drop(self.settled());
    }

    fn take_sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.settled().board.sent)
    }

    fn deliver(&self, frame: &[u8]) {
        let mut state = self.settled();
        let State { board, logic, .. } = &mut *state;
        if board.link {
            logic.receive(board, frame);
        }
    }

    fn touched(&self) -> Vec<(BusAddr, usize)> {
        self.settled().board.touched.clone()
    }

    fn resets(&self) -> usize {
        self.settled().board.resets
    }

    fn accesses(&self) -> usize {
        self.state.borrow().accesses
    }

    fn is_running(&self) -> bool {
        self.settled().logic.is_running()
    }

    fn owned(&self) -> Vec<(BusAddr, usize)> {
        let state = self.state.borrow();
        state.logic.owned(&state.board)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the width of the access")]
impl<L: Logic> Registers for &Played<'_, L> {
    fn size(&self) -> usize {
        L::SIZE
    }

    fn read_u8(&self, offset: usize) -> u8 {
        self.read(offset, 1) as u8
    }

    fn read_u16(&self, offset: usize) -> u16 {
        self.read(offset, 2) as u16
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.read(offset, 4)
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

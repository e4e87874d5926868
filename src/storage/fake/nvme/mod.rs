//! An NVMe controller as the specification has it, and stricter: whatever no driver should do is a panic, above all any
//! command that is not one of the few that change nothing.
//!
//! It reaches memory by bus address only, and remembers each. Offsets and numbers are spelled out here anew, from the
//! specification, so that a slip in the driver's own list is not repeated. As on hardware a register write arrives only
//! with the next read. A command takes a few reads of CSTS.

mod commands;
mod registers;

use crate::{addr::BusAddr, device::fake::vanishing::Vanishing, dma::fake::FakeMachine};
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::cell::{RefCell, RefMut};

/// Blocks of the namespace, and bytes of each.
const BLOCKS: u64 = 2000;
const BLOCK: usize = 512;
/// Its number.
const NAMESPACE: u32 = 3;
/// Reads of CSTS that a command takes, and becoming ready.
const READS: usize = 2;

/// What the controller does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Commands are never completed.
    Halts,
    /// It never becomes ready.
    NeverReady,
    /// It never becomes not ready.
    StaysOn,
    /// It reports a fatal error.
    Fatal,
    /// I/O commands end with this status.
    Status(u16),
    /// Admin commands end with this status.
    AdminStatus(u16),
    /// Completions have this command identifier.
    Identifier(u16),
    /// Completions have this submission queue identifier.
    Queue(u16),
    /// Completions have this submission queue head.
    Head(u16),
    /// This byte of what a Read writes has a bit flipped.
    CorruptByte(usize),
    /// A Read is completed of which only so many bytes were written.
    Short(usize),
    /// A byte is written just before the memory of a Read, too.
    Underrun,
    /// What blocks are read to, and compared with, is other memory than it was told, all zeros.
    Elsewhere,
    /// No completion interrupts.
    Silent,
    /// It never says that it may lose power.
    NeverShutsDown,
    /// It grants so many I/O queues: those for completions, less one, above those for submissions, less one.
    Queues(u32),
    /// CAP reads as this.
    Capabilities(u64),
    /// Nothing answers: all bits read as ones.
    Gone,
}

/// What the controller says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Bytes of registers.
    pub registers: usize,
    /// CAP.
    pub capabilities: u64,
    /// Whether it has Compare.
    pub compares: bool,
    /// MDTS.
    pub most: u8,
    /// Bytes of metadata of each block.
    pub metadata: u8,
    /// Blocks of its namespace.
    pub blocks: u64,
    /// Whether they are all zeros.
    pub blank: bool,
}

impl Default for Kind {
    fn default() -> Self {
        // MQES 31, CQR, TO 1 s, DSTRD 0, NVM command set.
        Self {
            registers: 0x4000,
            capabilities: 31 | 1 << 16 | 2 << 24 | 1 << 37,
            compares: true,
            most: 0,
            metadata: 0,
            blocks: BLOCKS,
            blank: false,
        }
    }
}

/// A queue pair as the controller has it.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    submissions: u64,
    completions: u64,
    entries: u16,
    /// What was read of the submissions, and told of them.
    head: u16,
    tail: u16,
    /// What was written of the completions, and taken of them.
    written: u16,
    taken: u16,
    phase: bool,
    interrupts: bool,
    /// Whether it does so by MSI-X, which the controller looks at when the queue is made.
    messages: bool,
}

#[derive(Debug)]
struct State {
    kind: Kind,
    fault: Fault,
    master: bool,
    configuration: u32,
    ready: bool,
    /// Reads of CSTS until what is under way is done.
    left: usize,
    mask: u32,
    /// Whether it interrupts by MSI-X, and the messages it sent so.
    msix: bool,
    messages: usize,
    /// How often it was told that it is done with.
    shutdowns: usize,
    attributes: u32,
    bases: [u32; 4],
    queues: BTreeMap<u16, Queue>,
    /// Completion queues that have no submission queue yet.
    halves: BTreeMap<u16, Queue>,
    /// Writes under way.
    posted: VecDeque<(usize, u32)>,
    vanishes_at: Option<usize>,
    touched: Vec<(BusAddr, usize)>,
    opcodes: Vec<(u16, u8)>,
    enables: usize,
    accesses: usize,
}

/// The controller, to be shared by a driver and the test that plays its surroundings.
#[derive(Debug)]
pub struct FakeNvme<'a> {
    machine: &'a FakeMachine,
    state: RefCell<State>,
}

/// What a block of the medium holds: nothing but zeros in every fourth.
pub fn block(number: u64) -> [u8; BLOCK] {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    core::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if number.is_multiple_of(4) { 0 } else { state.to_le_bytes()[3] }
    })
}

impl<'a> FakeNvme<'a> {
    /// A controller after power-on, with bus mastering on.
    pub fn new(machine: &'a FakeMachine, kind: Kind) -> Self {
        let state = State {
            kind,
            fault: Fault::None,
            master: true,
            configuration: 0,
            ready: false,
            left: 0,
            mask: 0,
            msix: false,
            messages: 0,
            shutdowns: 0,
            attributes: 0,
            bases: [0; 4],
            queues: BTreeMap::new(),
            halves: BTreeMap::new(),
            posted: VecDeque::new(),
            vanishes_at: None,
            touched: Vec::new(),
            opcodes: Vec::new(),
            enables: 0,
            accesses: 0,
        };
        Self { machine, state: RefCell::new(state) }
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.settled().fault = fault;
    }

    /// Turns bus mastering on or off.
    pub fn set_master(&self, on: bool) {
        self.settled().master = on;
    }

    /// As its last owner left it: enabled, and ready soon.
    pub fn leave_running(&self) {
        let mut state = self.settled();
        (state.configuration, state.ready, state.left) = (0x46_0001, false, READS);
    }

    /// Whether the interrupt line is asserted, with no regard to writes that are still under way.
    pub fn interrupts(&self) -> bool {
        let state = self.state.borrow();
        let pending = |queue: &Queue| queue.interrupts && queue.written != queue.taken;
        !state.msix
            && state.mask & 1 == 0
            && state.fault != Fault::Silent
            && state.queues.values().any(pending)
    }

    /// Has it interrupt by MSI-X, as the host turned on.
    pub fn use_msix(&self) {
        self.settled().msix = true;
    }

    /// How many messages it sent.
    pub fn messages(&self) -> usize {
        self.settled().messages
    }

    /// How often it was told that it is done with.
    pub fn shutdowns(&self) -> usize {
        self.settled().shutdowns
    }

    /// Whether it is enabled.
    pub fn is_running(&self) -> bool {
        self.settled().configuration & 1 != 0
    }

    /// Every address used and how many bytes of it.
    pub fn touched(&self) -> Vec<(BusAddr, usize)> {
        self.settled().touched.clone()
    }

    /// Each command that it was given: the queue's number, and the opcode.
    pub fn opcodes(&self) -> Vec<(u16, u8)> {
        self.state.borrow().opcodes.clone()
    }

    /// How often it was enabled.
    pub fn enables(&self) -> usize {
        self.state.borrow().enables
    }

    /// Register accesses so far: each one is an exit to an emulator.
    pub fn accesses(&self) -> usize {
        self.state.borrow().accesses
    }

    fn dma_read(&self, state: &mut State, bus: BusAddr, len: usize) -> Vec<u8> {
        assert!(state.master, "a read of {bus} without bus mastering");
        state.touched.push((bus, len));
        let mut bytes = alloc::vec![0; len];
        assert!(self.machine.bus_read(bus, &mut bytes), "no memory at {bus}");
        bytes
    }

    fn dma_write(&self, state: &mut State, bus: BusAddr, bytes: &[u8]) {
        assert!(state.master, "a write to {bus} without bus mastering");
        state.touched.push((bus, bytes.len()));
        assert!(self.machine.bus_write(bus, bytes), "no memory at {bus}");
    }

    /// The controller once all writes have arrived.
    fn settled(&self) -> RefMut<'_, State> {
        let mut state = self.state.borrow_mut();
        while let Some((offset, value)) = state.posted.pop_front() {
            state.arrive(offset, value);
        }
        state
    }
}

impl Vanishing for FakeNvme<'_> {
    fn vanish_after(&self, accesses: usize) {
        let mut state = self.settled();
        state.vanishes_at = Some(state.accesses + accesses);
    }

    fn is_gone(&self) -> bool {
        self.state.borrow().fault == Fault::Gone
    }

    fn owned(&self) -> Vec<(BusAddr, usize)> {
        let state = self.state.borrow();
        let mut owned = Vec::new();
        for queue in state.queues.values().filter(|_| state.configuration & 1 != 0) {
            let entries = usize::from(queue.entries);
            owned.push((BusAddr(queue.submissions), entries * 64));
            owned.push((BusAddr(queue.completions), entries * 16));
            let (mut pointer, command) = ([0; 8], queue.submissions + u64::from(queue.head) * 64);
            if queue.head != queue.tail
                && self.machine.bus_read(BusAddr(command + 24), &mut pointer)
            {
                let first = BusAddr(u64::from_le_bytes(pointer));
                let here = BLOCK.min(4096 - first.page_offset());
                let data = (first.0 != 0).then_some((first, here));
                owned.extend(data);
            }
        }
        owned
    }
}

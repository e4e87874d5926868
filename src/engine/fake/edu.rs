//! An `edu` as QEMU models it, but stricter: whatever no driver should do is a panic.
//!
//! It reaches memory by bus address only, and remembers each. Register offsets are spelled out here anew, from the
//! specification, so that a slip in the driver's own list is not repeated. As on hardware, and unlike QEMU, a register
//! write arrives only with the next read. A transfer takes a few reads of the command register.

use crate::{
    addr::BusAddr,
    device::{Registers, fake::vanishing::Vanishing},
    dma::fake::FakeMachine,
};
use alloc::{collections::VecDeque, vec, vec::Vec};
use core::cell::{RefCell, RefMut};

const START: u32 = 1;
const TO_MEMORY: u32 = 2;
const INTERRUPT: u32 = 4;
const BUFFER: u32 = 0x4_0000;
const BUFFER_LEN: usize = 4096;
/// Reads of the command register that a transfer takes.
const READS: usize = 3;

/// What the device does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// A transfer never ends.
    Halts,
    /// This byte of what it writes to memory has a bit flipped.
    CorruptByte(usize),
    /// A transfer reads as done before its bytes have moved, and they never do.
    DoneEarly,
    /// Only so many bytes are written to memory.
    Short(usize),
    /// A byte is written just before the memory it was told of, too.
    Underrun,
    /// The command register reads as this once a transfer is done.
    Command(u32),
    /// No transfer interrupts.
    Silent,
    /// It identifies itself like this.
    Identification(u32),
    /// Its liveness check reads as this.
    Liveness(u32),
    /// Nothing answers: all bits read as ones.
    Gone,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    master: bool,
    liveness: u32,
    status: u32,
    pending: u32,
    source: u32,
    destination: u32,
    count: u32,
    command: u32,
    /// Reads of the command register until the transfer is done.
    left: usize,
    buffer: Vec<u8>,
    /// Writes under way.
    posted: VecDeque<(usize, u32)>,
    /// The access from which on nothing answers.
    vanishes_at: Option<usize>,
    touched: Vec<(BusAddr, usize)>,
    accesses: usize,
}

/// The device, to be shared by a driver and the test that plays its surroundings.
#[derive(Debug)]
pub struct FakeEdu<'a> {
    machine: &'a FakeMachine,
    state: RefCell<State>,
}

impl<'a> FakeEdu<'a> {
    /// A device after power-on, with bus mastering on.
    pub fn new(machine: &'a FakeMachine) -> Self {
        let state = State {
            fault: Fault::None,
            master: true,
            liveness: 0,
            status: 0,
            pending: 0,
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            left: 0,
            buffer: vec![0; BUFFER_LEN],
            posted: VecDeque::new(),
            vanishes_at: None,
            touched: Vec::new(),
            accesses: 0,
        };
        Self { machine, state: RefCell::new(state) }
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.settled().fault = fault;
    }

    /// Turns bus mastering on or off. Without it the device reaches no memory, and does not notice.
    pub fn set_master(&self, on: bool) {
        self.settled().master = on;
    }

    /// As its last owner left it: it writes its buffer to `bus`, has an interrupt pending, and computes.
    pub fn leave_running(&self, bus: u32) {
        let mut state = self.settled();
        (state.source, state.destination, state.count) = (BUFFER, bus, 4096);
        (state.command, state.left) = (START | TO_MEMORY | INTERRUPT, READS);
        (state.pending, state.status) = (0x1, 0x80);
    }

    /// Whether the interrupt line is asserted, with no regard to writes that are still under way.
    pub fn interrupts(&self) -> bool {
        self.state.borrow().pending != 0
    }

    /// Whether a transfer is under way.
    pub fn is_running(&self) -> bool {
        self.settled().command & START != 0
    }

    /// Sets bits of the interrupt status.
    pub fn raise(&self, bits: u32) {
        self.settled().pending |= bits;
    }

    /// Every address used and how many bytes of it.
    pub fn touched(&self) -> Vec<(BusAddr, usize)> {
        self.settled().touched.clone()
    }

    /// Register accesses so far: each one is an exit to an emulator.
    pub fn accesses(&self) -> usize {
        self.state.borrow().accesses
    }

    /// The device once all writes have arrived.
    fn settled(&self) -> RefMut<'_, State> {
        let mut state = self.state.borrow_mut();
        while let Some((offset, value)) = state.posted.pop_front() {
            state.arrive(offset, value);
        }
        state
    }

    /// One access more; `None` if nobody answers it.
    fn access(&self) -> Option<RefMut<'_, State>> {
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

    /// A read of the command register: the transfer goes on.
    fn command(&self, state: &mut State) -> u32 {
        if state.command & START == 0 || state.fault == Fault::Halts {
            return state.command;
        }
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            self.transfer(state);
        }
        state.command
    }

    fn transfer(&self, state: &mut State) {
        if state.master && state.fault != Fault::DoneEarly {
            self.copy(state);
        }
        state.command &= !START;
        if state.command & INTERRUPT != 0 && state.fault != Fault::Silent {
            state.pending |= 0x100;
        }
        if let Fault::Command(value) = state.fault {
            state.command = value;
        }
    }

    fn copy(&self, state: &mut State) {
        let (bus, len) = state.target();
        state.touched.push((bus, len));
        if state.command & TO_MEMORY == 0 {
            let mut bytes = vec![0; len];
            assert!(self.machine.bus_read(bus, &mut bytes), "no memory at {bus}");
            state.buffer[..len].copy_from_slice(&bytes);
            return;
        }
        let mut bytes = state.buffer[..len].to_vec();
        match state.fault {
            Fault::CorruptByte(at) => bytes[at % len] ^= 0x10,
            Fault::Short(most) => bytes.truncate(most),
            Fault::Underrun => self.machine.bus_flip(BusAddr(bus.0 - 1)),
            _ => {}
        }
        assert!(self.machine.bus_write(bus, &bytes), "no memory at {bus}");
    }
}

impl State {
    /// The memory of the transfer that the registers describe.
    fn target(&self) -> (BusAddr, usize) {
        let memory = if self.command & TO_MEMORY == 0 { self.source } else { self.destination };
        (BusAddr(memory.into()), self.count as usize)
    }

    /// A write takes effect.
    fn arrive(&mut self, offset: usize, value: u32) {
        let idle = self.command & START == 0;
        match offset {
            0x04 => self.liveness = !value,
            0x20 => self.status = value,
            0x60 => self.pending |= value,
            0x64 => self.pending &= !value,
            0x80 if idle => self.source = value,
            0x88 if idle => self.destination = value,
            0x90 if idle => self.count = value,
            0x98 if idle => self.begin(value),
            0x80..=0x98 => panic!("a write to {offset:#x} during a transfer"),
            _ => panic!("a write of {value:#x} to {offset:#x}"),
        }
    }

    fn begin(&mut self, command: u32) {
        assert_eq!(command & START, START, "a command that starts nothing");
        assert_eq!(command & !(START | TO_MEMORY | INTERRUPT), 0, "command {command:#x}");
        assert!(self.master, "a transfer without bus mastering");
        (self.command, self.left) = (command, READS);
        let (bus, len) = self.target();
        let inside = if command & TO_MEMORY == 0 { self.destination } else { self.source };
        assert_eq!(inside, BUFFER, "the buffer");
        assert!((1..=BUFFER_LEN).contains(&len), "{len} bytes");
        assert!(bus.0 + len as u64 <= 1 << 28, "{len} bytes at {bus}");
    }
}

impl Registers for &FakeEdu<'_> {
    fn size(&self) -> usize {
        1 << 20
    }

    fn read_u8(&self, offset: usize) -> u8 {
        panic!("8-bit read of {offset:#x}")
    }

    fn read_u16(&self, offset: usize) -> u16 {
        panic!("16-bit read of {offset:#x}")
    }

    fn read_u32(&self, offset: usize) -> u32 {
        match self.access() {
            Some(state) => drop(state),
            None => return u32::MAX,
        }
        let mut state = self.settled();
        match (offset, state.fault) {
            (0x00, Fault::Identification(value)) | (0x04, Fault::Liveness(value)) => value,
            (0x00, _) => 0x0100_00ed,
            (0x04, _) => state.liveness,
            (0x20, _) => state.status,
            (0x24, _) => state.pending,
            (0x98, _) => self.command(&mut state),
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn write_u8(&self, offset: usize, _value: u8) {
        panic!("8-bit write to {offset:#x}")
    }

    fn write_u16(&self, offset: usize, _value: u16) {
        panic!("16-bit write to {offset:#x}")
    }

    fn write_u32(&self, offset: usize, value: u32) {
        if let Some(mut state) = self.access() {
            state.posted.push_back((offset, value));
        }
    }
}

impl Vanishing for FakeEdu<'_> {
    fn vanish_after(&self, accesses: usize) {
        let mut state = self.settled();
        state.vanishes_at = Some(state.accesses + accesses);
    }

    fn is_gone(&self) -> bool {
        self.state.borrow().fault == Fault::Gone
    }

    fn owned(&self) -> Vec<(BusAddr, usize)> {
        let state = self.state.borrow();
        let running = state.command & START != 0;
        running.then(|| state.target()).into_iter().collect()
    }
}

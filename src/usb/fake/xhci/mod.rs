//! An xHCI controller as the specification has it, and stricter: whatever no driver should do is a panic, above all any
//! command that is not one of the two that do nothing, any doorbell but the command ring's, and any access to a port. The
//! firmware has it at first, and one of its ports has a device.
//!
//! It reaches memory by bus address only, and remembers each. Offsets and numbers are spelled out here anew, from the
//! specification, so that a slip in the driver's own list is not repeated. As on hardware a register write arrives only
//! with the next read. What takes time takes a few reads.

mod registers;
mod rings;

use crate::{
    addr::BusAddr,
    arch::time::Instant,
    device::fake::{TickingClock, vanishing::Vanishing},
    dma::fake::FakeMachine,
};
use alloc::{collections::VecDeque, vec::Vec};
use core::cell::{RefCell, RefMut};

/// Reads that something takes.
const READS: usize = 2;
/// Where its operational and runtime registers, doorbells and extended capabilities begin, unless a test has them elsewhere.
const PLACES: [usize; 4] = [0x40, 0x600, 0x800, 0x500];
/// Slots of the controller.
const SLOTS: u32 = 40;
/// Its ports.
const PORTS: u32 = 5;

/// What the controller does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XhciFault {
    /// Nothing.
    #[default]
    None,
    /// The firmware does not let go of it.
    Firmware,
    /// It never becomes ready.
    NotReady,
    /// Commands are never done.
    Halts,
    /// It never halts.
    StaysOn,
    /// It does not run.
    StaysOff,
    /// Its reset never ends.
    ResetsOn,
    /// It meets a host system error.
    HostError,
    /// It runs on with these bits in its status.
    Status(u32),
    /// All commands end with this completion code.
    Code(u8),
    /// This byte of all that is written to the event ring has a bit flipped.
    CorruptByte(usize),
    /// The bytes of this command, as it reads them, are those of the command before.
    ReadsTwice(usize),
    /// This event is not written.
    Skips(usize),
    /// An event more than there is a command.
    OneMore,
    /// A byte is written so many bytes from the event ring's first, too.
    Stray(isize),
    /// A port's state changes so many times.
    Ports(usize),
    /// It never interrupts.
    Silent,
    /// A capability register reads as this.
    Capability(usize, u32),
    /// PAGESIZE reads as this.
    PageSize(u32),
    /// Nothing answers: all bits read as ones.
    Gone,
}

#[derive(Debug, Default)]
struct State {
    fault: XhciFault,
    narrow: bool,
    master: bool,
    /// Whether answers have the slot's number.
    echoes: bool,
    scratchpads: usize,
    places: [usize; 4],
    /// USBLEGSUP and USBLEGCTLSTS.
    legacy: [u32; 2],
    /// Reads until the firmware lets go of it, it is ready, it has halted, and it runs.
    firmware_left: usize,
    ready_left: usize,
    halt_left: usize,
    run_left: usize,
    reset_at: Option<Instant>,
    command: u32,
    running: bool,
    error: bool,
    config: u32,
    contexts: u64,
    ring: u64,
    iman: u32,
    /// The least between two interrupts, in units of 250 ns.
    imod: u32,
    table_size: u32,
    table: u64,
    dequeue: u64,
    /// The event ring segment: its first byte, its blocks, and how many were written to.
    segment: (u64, usize),
    written: usize,
    /// Whether ERSTBA was written since it was last halted.
    has_table: bool,
    /// The next command, while there may be one.
    next: Option<u64>,
    done: usize,
    /// Ports whose change was not told yet.
    changed: usize,
    messages: Option<usize>,
    posted: VecDeque<(usize, u32, Instant)>,
    vanishes_at: Option<usize>,
    accesses: usize,
    touched: Vec<(BusAddr, usize)>,
    commands: usize,
    resets: usize,
}

/// The controller, to be shared by a driver and the test that plays its surroundings.
#[derive(Debug)]
pub struct FakeXhci<'a> {
    machine: &'a FakeMachine,
    clock: &'a TickingClock,
    state: RefCell<State>,
}

impl<'a> FakeXhci<'a> {
    /// A controller after power-on, with bus mastering on.
    pub fn new(machine: &'a FakeMachine, clock: &'a TickingClock) -> Self {
        let state = State {
            master: true,
            scratchpads: 3,
            places: PLACES,
            legacy: [1 << 16 | 1, 0xe006_e011],
            firmware_left: READS,
            ready_left: READS,
            ..State::default()
        };
        Self { machine, clock, state: RefCell::new(state) }
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: XhciFault) {
        self.settled().fault = fault;
    }

    /// Turns bus mastering on or off.
    pub fn set_master(&self, on: bool) {
        self.settled().master = on;
    }

    /// Has it reach no more than 32 bits.
    pub fn set_narrow(&self) {
        self.settled().narrow = true;
    }

    /// Has its answers name the slot.
    pub fn set_echoes(&self) {
        self.settled().echoes = true;
    }

    /// Has it ask for so many scratchpads.
    pub fn set_scratchpads(&self, count: usize) {
        self.settled().scratchpads = count;
    }

    /// Has its operational and runtime registers, doorbells and extended capabilities begin elsewhere.
    pub fn set_places(&self, places: [usize; 4]) {
        self.settled().places = places;
    }

    /// As firmware has it that never used it.
    pub fn let_go(&self) {
        self.settled().legacy = [1, 0x0006_0000];
    }

    /// Changes the state of so many ports.
    pub fn plug(&self, count: usize) {
        self.settled().changed = count;
    }

    /// Has it send messages instead of asserting its line.
    pub fn set_messages(&self) {
        self.settled().messages = Some(0);
    }

    /// Messages sent, with no regard to writes that are still under way.
    pub fn messages(&self) -> usize {
        self.state.borrow().messages.unwrap_or(0)
    }

    /// As its last owner left it: running.
    pub fn leave_running(&self) {
        let mut state = self.settled();
        (state.command, state.running, state.ready_left) = (5, true, 0);
    }

    /// Whether the interrupt line is asserted, with no regard to writes that are still under way.
    pub fn interrupts(&self) -> bool {
        let state = self.state.borrow();
        state.messages.is_none() && state.asserts()
    }

    /// Whether it may use memory.
    pub fn is_running(&self) -> bool {
        self.settled().running
    }

    /// Whether the firmware may still interrupt the machine for it.
    pub fn has_firmware(&self) -> bool {
        let state = self.settled();
        state.legacy[0] & 1 << 16 != 0 || state.legacy[1] & 0xe000_e011 != 0
    }

    /// How often it was reset.
    pub fn resets(&self) -> usize {
        self.settled().resets
    }

    /// Commands done.
    pub fn commands(&self) -> usize {
        self.settled().commands
    }

    /// Every address used and how many bytes of it.
    pub fn touched(&self) -> Vec<(BusAddr, usize)> {
        self.settled().touched.clone()
    }

    fn dma_read<const N: usize>(&self, state: &mut State, bus: u64) -> [u8; N] {
        assert!(state.master, "a read of {bus:#x} without bus mastering");
        assert!(!state.narrow || bus >> 32 == 0, "beyond 32 bits");
        let bus = BusAddr(bus);
        state.touched.push((bus, N));
        let mut bytes = [0; N];
        assert!(self.machine.bus_read(bus, &mut bytes), "no memory at {bus}");
        bytes
    }

    fn dma_write(&self, state: &mut State, bus: u64, bytes: &[u8]) {
        assert!(state.master, "a write to {bus:#x} without bus mastering");
        assert!(!state.narrow || bus >> 32 == 0, "beyond 32 bits");
        let bus = BusAddr(bus);
        state.touched.push((bus, bytes.len()));
        assert!(self.machine.bus_write(bus, bytes), "no memory at {bus}");
    }

    fn address_at(&self, state: &mut State, bus: u64) -> u64 {
        u64::from_le_bytes(self.dma_read(state, bus))
    }

    /// The pages that it has for itself, and the array of their addresses.
    fn scratchpads(&self, state: &mut State) -> Vec<(u64, usize)> {
        if state.contexts == 0 || state.scratchpads == 0 {
            return Vec::new();
        }
        let array = self.address_at(state, state.contexts);
        assert!(array != 0 && array.is_multiple_of(64), "scratchpads at {array:#x}");
        let each =
            (0..state.scratchpads as u64).map(|n| (self.address_at(state, array + 8 * n), 4096));
        let each: Vec<_> = each.collect();
        each.into_iter().chain([(array, 8 * state.scratchpads)]).collect()
    }

    /// The controller once all writes have arrived.
    fn settled(&self) -> RefMut<'_, State> {
        let mut state = self.state.borrow_mut();
        while let Some((offset, value, sent)) = state.posted.pop_front() {
            self.arrive(&mut state, offset, value, sent);
        }
        state
    }
}

impl Vanishing for FakeXhci<'_> {
    fn vanish_after(&self, accesses: usize) {
        let mut state = self.settled();
        state.vanishes_at = Some(state.accesses + accesses);
    }

    fn is_gone(&self) -> bool {
        self.state.borrow().fault == XhciFault::Gone
    }

    fn owned(&self) -> Vec<(BusAddr, usize)> {
        let state = &mut *self.state.borrow_mut();
        let mut owned = self.scratchpads(state);
        if state.contexts != 0 {
            owned.push((state.contexts, 4096));
        }
        if state.running {
            owned.push((state.segment.0, 16 * state.segment.1));
            owned.extend(state.next.map(|next| (next, 16)));
        }
        owned.into_iter().map(|(bus, len)| (BusAddr(bus), len)).collect()
    }
}

//! An AHCI controller as the specification has it, and stricter: whatever no driver should do is a panic, above all any
//! command that is not one of the two that change nothing. It has an empty port, a CD drive and a disk.
//!
//! It reaches memory by bus address only, and remembers each. Offsets and numbers are spelled out here anew, from the
//! specification, so that a slip in the driver's own list is not repeated. As on hardware a register write arrives only
//! with the next read. What takes time takes a few reads.

mod registers;

use super::nvme::block;
use crate::{
    addr::BusAddr,
    arch::time::{Clock, Instant},
    device::fake::{TickingClock, vanishing::Vanishing},
    dma::fake::FakeMachine,
};
use alloc::{collections::VecDeque, vec, vec::Vec};
use core::{
    cell::{RefCell, RefMut},
    time::Duration,
};

/// Blocks of the disk.
const BLOCKS: u64 = 2000;
/// Reads that something takes.
const READS: usize = 2;
/// The ports: none, a CD drive, none, a disk, an empty one, each with its signature.
const PORTS: [Option<u32>; 5] = [Some(0), Some(0xeb14_0101), None, Some(0x101), Some(0)];

/// What the controller does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AhciFault {
    /// Nothing.
    #[default]
    None,
    /// The firmware does not let go of it, and says to be busy.
    FirmwareBusy,
    /// The firmware does not answer.
    FirmwareSilent,
    /// Commands are never done.
    Halts,
    /// Its reset never ends.
    StaysOn,
    /// A port never stops.
    PortStaysOn,
    /// No port has a link.
    NoLink,
    /// This port's link does not come back after a COMRESET.
    LosesLink(usize),
    /// The disk never becomes ready.
    Busy,
    /// Commands end with this ATA error.
    TaskFile(u8),
    /// Commands end with a host bus fatal error.
    HostBus,
    /// This byte of what a command writes has a bit flipped.
    CorruptByte(usize),
    /// Only so many bytes are written, and said to be.
    Short(usize),
    /// Only so many bytes are written, and all said to be.
    Lies(usize),
    /// A byte is written just before a command's memory, too.
    Underrun,
    /// Nothing interrupts.
    Silent,
    /// IDENTIFY's bytes don't add up.
    BadSum,
    /// PI reads as this.
    Ports(u32),
    /// It has so many bytes of registers.
    Size(usize),
    /// It knows of no firmware: there is no BOHC.
    NoHandoff,
    /// Nothing answers: all bits read as ones.
    Gone,
}

#[derive(Clone, Copy, Debug, Default)]
struct Port {
    list: u64,
    received: u64,
    is: u32,
    ie: u32,
    command: u32,
    control: u32,
    error: u32,
    /// Whether a link came up since the last reset.
    linked: bool,
    busy: bool,
    status: u8,
    ata_error: u8,
    issued: u32,
    /// Reads until what is under way is done.
    left: usize,
    reset_at: Option<Instant>,
}

impl Port {
    const fn starts(&self) -> bool {
        self.command & 1 != 0
    }

    const fn receives(&self) -> bool {
        self.command & 1 << 4 != 0
    }
}

#[derive(Debug)]
struct State {
    fault: AhciFault,
    wide: bool,
    master: bool,
    control: u32,
    /// IS: ports that interrupt.
    is: u32,
    left: usize,
    /// BOHC, and since when the firmware is asked.
    handoff: u32,
    asked: Option<Instant>,
    ports: [Port; PORTS.len()],
    posted: VecDeque<(usize, u32)>,
    vanishes_at: Option<usize>,
    accesses: usize,
    touched: Vec<(BusAddr, usize)>,
    opcodes: Vec<u8>,
    resets: usize,
    stopped_in_order: bool,
}

/// The controller, to be shared by a driver and the test that plays its surroundings.
#[derive(Debug)]
pub struct FakeAhci<'a> {
    machine: &'a FakeMachine,
    clock: &'a TickingClock,
    state: RefCell<State>,
}

impl<'a> FakeAhci<'a> {
    /// A controller after power-on, with bus mastering on.
    pub fn new(machine: &'a FakeMachine, clock: &'a TickingClock) -> Self {
        let state = State {
            fault: AhciFault::None,
            wide: true,
            master: true,
            control: 0,
            is: 0,
            left: 0,
            handoff: 13,
            asked: None,
            ports: [Port::default(); PORTS.len()],
            posted: VecDeque::new(),
            vanishes_at: None,
            accesses: 0,
            touched: Vec::new(),
            opcodes: Vec::new(),
            resets: 0,
            stopped_in_order: false,
        };
        Self { machine, clock, state: RefCell::new(state) }
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: AhciFault) {
        self.settled().fault = fault;
    }

    /// Turns bus mastering on or off.
    pub fn set_master(&self, on: bool) {
        self.settled().master = on;
    }

    /// Has it reach no more than 32 bits.
    pub fn set_narrow(&self) {
        self.settled().wide = false;
    }

    /// As its last owner left it: a port that is running.
    pub fn leave_running(&self) {
        let mut state = self.settled();
        state.control = 1 << 31 | 2;
        state.ports[3].command = 0xc017;
    }

    /// Whether the interrupt line is asserted, with no regard to writes that are still under way.
    pub fn interrupts(&self) -> bool {
        let state = self.state.borrow();
        state.control & 2 != 0 && state.fault != AhciFault::Silent && state.is != 0
    }

    /// Whether a port of it may use memory.
    pub fn is_running(&self) -> bool {
        self.settled().ports.iter().any(|port| port.starts() || port.receives())
    }

    /// Whether its ports had been stopped when it was last reset.
    pub fn was_stopped_in_order(&self) -> bool {
        self.settled().stopped_in_order
    }

    /// How often it was reset.
    pub fn resets(&self) -> usize {
        self.settled().resets
    }

    /// Every address used and how many bytes of it.
    pub fn touched(&self) -> Vec<(BusAddr, usize)> {
        self.settled().touched.clone()
    }

    /// Each command that it was given.
    pub fn opcodes(&self) -> Vec<u8> {
        self.state.borrow().opcodes.clone()
    }

    fn peek(&self, bus: BusAddr) -> u64 {
        let mut bytes = [0; 8];
        assert!(self.machine.bus_read(bus, &mut bytes), "no memory at {bus}");
        u64::from_le_bytes(bytes)
    }

    fn dma_read(&self, state: &mut State, bus: BusAddr, len: usize) -> Vec<u8> {
        assert!(state.master, "a read of {bus} without bus mastering");
        state.touched.push((bus, len));
        let mut bytes = vec![0; len];
        assert!(self.machine.bus_read(bus, &mut bytes), "no memory at {bus}");
        bytes
    }

    fn dma_write(&self, state: &mut State, bus: BusAddr, bytes: &[u8]) {
        assert!(state.master, "a write to {bus} without bus mastering");
        state.touched.push((bus, bytes.len()));
        assert!(self.machine.bus_write(bus, bytes), "no memory at {bus}");
    }

    fn words(&self, state: &mut State, bus: BusAddr, count: usize) -> Vec<u32> {
        let bytes = self.dma_read(state, bus, 4 * count);
        bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    /// The controller once all writes have arrived.
    fn settled(&self) -> RefMut<'_, State> {
        let mut state = self.state.borrow_mut();
        while let Some((offset, value)) = state.posted.pop_front() {
            state.arrive(offset, value, self.clock.now());
            state.latch();
        }
        state
    }

    /// One access more; whether somebody answers it.
    fn answers(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.accesses += 1;
        if state.vanishes_at.is_some_and(|last| state.accesses > last) {
            state.fault = AhciFault::Gone;
        }
        if state.fault == AhciFault::Gone {
            state.posted.clear();
        }
        if matches!(
            state.fault,
            AhciFault::Halts
                | AhciFault::StaysOn
                | AhciFault::PortStaysOn
                | AhciFault::NoLink
                | AhciFault::LosesLink(_)
                | AhciFault::FirmwareBusy
                | AhciFault::FirmwareSilent
                | AhciFault::Busy
        ) {
            // Whoever waits for that waits in vain: no need to take long over it.
            self.clock.advance(Duration::from_millis(1));
        }
        state.fault != AhciFault::Gone
    }

    /// Does the command of a port, if there is one.
    fn work(&self, state: &mut State, number: usize) {
        let port = state.ports[number];
        let waits = matches!(state.fault, AhciFault::Halts) || port.left > 0;
        if port.issued == 0 || waits || port.command & 1 << 15 == 0 {
            return;
        }
        let header = self.words(state, BusAddr(port.list), 4);
        assert_eq!(header[0] & 0xffff, 5, "a FIS of five doublewords, towards memory");
        let table = u64::from(header[3]) << 32 | u64::from(header[2]);
        assert_eq!(table % 128, 0, "a table at {table:#x}");
        let fis = self.words(state, BusAddr(table), 5);
        let bytes = Self::answer(state, &fis);
        let mut written = 0;
        let most = match state.fault {
            AhciFault::Short(most) | AhciFault::Lies(most) => most,
            AhciFault::TaskFile(_) | AhciFault::HostBus => 0,
            _ => bytes.len(),
        };
        let count = (header[0] >> 16) as usize;
        let mut room = 0;
        for n in 0..count {
            let region = self.words(state, BusAddr(table + 0x80 + 16 * n as u64), 4);
            let bus = BusAddr(u64::from(region[1]) << 32 | u64::from(region[0]));
            let len = (region[3] & 0x3f_ffff) as usize + 1;
            assert!(bus.0.is_multiple_of(2) && len.is_multiple_of(2));
            assert_eq!((region[2], region[3] >> 22), (0, 0), "reserved, and no interrupt");
            assert!(state.wide || region[1] == 0, "beyond 32 bits");
            room += len;
            let here = &bytes[written.min(most)..(written + len).min(most)];
            self.dma_write(state, bus, here);
            if state.fault == AhciFault::Underrun && n == 0 {
                self.machine.bus_flip(BusAddr(bus.0 - 1));
            }
            written += len;
        }
        assert_eq!(room, bytes.len(), "room for what was asked for");
        let said = if let AhciFault::Short(most) = state.fault { most.min(room) } else { room };
        let said = u32::try_from(said).expect("64 KiB").to_le_bytes();
        self.dma_write(state, BusAddr(port.list + 4), &said);
        self.dma_write(state, BusAddr(port.received + 0x40), &[0x34]);
        state.end(number, fis[0] >> 16 & 0xff);
    }

    /// What a command writes to memory.
    fn answer(state: &mut State, fis: &[u32]) -> Vec<u8> {
        assert_eq!(fis[0] & 0xffff, 0x8027, "a command in a register FIS");
        let [.., opcode, features] = fis[0].to_le_bytes();
        assert_eq!(features, 0);
        state.opcodes.push(opcode);
        let mut bytes = match opcode {
            0xec => identity(state.fault == AhciFault::BadSum),
            0x25 => {
                assert_eq!(fis[1] >> 24, 0x40, "a block address");
                let first = u64::from(fis[2] & 0xff_ffff) << 24 | u64::from(fis[1] & 0xff_ffff);
                let count = u64::from(fis[3]);
                assert!(count > 0 && first + count <= BLOCKS, "{count} blocks from {first}");
                (first..first + count).flat_map(block).collect()
            }
            other => panic!("command {other:#x}"),
        };
        if let AhciFault::CorruptByte(at) = state.fault {
            bytes[at] ^= 0x10;
        }
        bytes
    }
}

/// What IDENTIFY DEVICE returns.
fn identity(bad: bool) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut put =
        |n: usize, word: u16| bytes[2 * n..2 * n + 2].copy_from_slice(&word.to_le_bytes());
    put(10, 0x534e);
    put(27, 0x4661);
    put(28, 0x6b65);
    put(49, 0x0300);
    put(83, 0x4400);
    put(100, u16::try_from(BLOCKS).expect("few"));
    bytes[510] = 0xa5;
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[511] = sum.wrapping_neg().wrapping_add(u8::from(bad));
    bytes
}

impl Vanishing for FakeAhci<'_> {
    fn vanish_after(&self, accesses: usize) {
        let mut state = self.settled();
        state.vanishes_at = Some(state.accesses + accesses);
    }

    fn is_gone(&self) -> bool {
        self.state.borrow().fault == AhciFault::Gone
    }

    fn owned(&self) -> Vec<(BusAddr, usize)> {
        let state = self.state.borrow();
        let mut owned = Vec::new();
        for port in &state.ports {
            if port.receives() {
                owned.push((BusAddr(port.received), 256));
            }
            if port.starts() {
                owned.push((BusAddr(port.list), 1024));
            }
            if port.issued != 0 {
                let table = self.peek(BusAddr(port.list + 8));
                owned.push((BusAddr(self.peek(BusAddr(table + 0x80))), 512));
            }
        }
        owned
    }
}

//! The registers, and what a write does once it arrives.

use super::{FakeXhci, PLACES, PORTS, READS, SLOTS, State, XhciFault};
use crate::{
    arch::time::{Clock, Instant},
    device::Registers,
};
use core::time::Duration;

const OPERATIONAL: usize = PLACES[0];
const RUNTIME: usize = PLACES[1];
const DOORBELLS: usize = PLACES[2];
const EXTENDED: usize = PLACES[3];
const LEGACY: usize = EXTENDED + 0x10;
/// Bytes of what begins at each of those places.
const LENGTHS: [usize; 4] = [0x40, 0x40, 4, LEGACY + 8 - EXTENDED];

/// What is reserved and stays as it is, of each register that is written, and bits of it that happen to be set.
const PRESERVED: [(usize, u32, u32); 6] = [
    (OPERATIONAL, 0xfffe_1070, 0x0080_1010),
    (0x58, 0x30, 0x20),
    (0x78, 0xffff_fc00, 0x0001_0000),
    (0x620, 0xffff_fffc, 0x80),
    (0x628, 0xffff_0000, 0x0003_0000),
    (0x630, 0x3f, 0x11),
];

/// A value without what stays as it is in that register, which it has to have.
fn without_preserved(offset: usize, value: u32) -> u32 {
    match PRESERVED.into_iter().find(|(at, ..)| *at == offset) {
        Some((_, mask, set)) => {
            assert_eq!(value & mask, set, "reserved bits of {offset:#x}");
            value & !mask
        }
        None => value,
    }
}

/// A register of 64 bits, one half of which is written.
fn half(old: u64, value: u32, high: bool) -> u64 {
    let value = u64::from(value);
    if high { old & 0xffff_ffff | value << 32 } else { old >> 32 << 32 | value }
}

impl State {
    fn reset(&mut self) {
        self.resets += 1;
        let kept = core::mem::take(self);
        *self = Self {
            fault: kept.fault,
            narrow: kept.narrow,
            master: kept.master,
            echoes: kept.echoes,
            scratchpads: kept.scratchpads,
            places: kept.places,
            legacy: kept.legacy,
            messages: kept.messages,
            vanishes_at: kept.vanishes_at,
            accesses: kept.accesses,
            touched: kept.touched,
            commands: kept.commands,
            resets: kept.resets,
            posted: kept.posted,
            command: 2,
            halt_left: READS,
            ready_left: READS + 1,
            changed: 1,
            imod: 4000,
            ..Self::default()
        };
    }

    /// What the controller says of itself.
    fn capability(&self, offset: usize) -> u32 {
        let scratchpads = u32::try_from(self.scratchpads).expect("few");
        let [operational, runtime, doorbells, extended] =
            self.places.map(|at| u32::try_from(at).expect("a page"));
        match offset {
            0x00 => 0x0110_0000 | operational,
            0x04 => PORTS << 24 | 8 << 8 | SLOTS,
            0x08 => (scratchpads >> 5) << 21 | (scratchpads & 0x1f) << 27 | 0x24,
            0x10 => extended << 14 | 4 | u32::from(!self.narrow),
            0x14 => doorbells,
            0x18 => runtime,
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn is_ready(&self) -> bool {
        self.ready_left == 0 && self.fault != XhciFault::NotReady
    }

    pub(super) fn asserts(&self) -> bool {
        self.command & 4 != 0 && self.iman == 3 && self.fault != XhciFault::Silent
    }

    /// Sends the message that is due, if there is one.
    pub(super) fn send_message(&mut self) {
        if let (true, Some(messages)) = (self.asserts(), &mut self.messages) {
            *messages += 1;
            self.iman &= !1;
        }
    }

    fn arrive_in_runtime(&mut self, register: usize, value: u32) {
        assert!(
            register == 0x20 || register >= 0x38 || !self.running,
            "{register:#x} while it runs"
        );
        match register {
            0x20 => {
                self.iman = value & 2 | self.iman & !value & 1;
            }
            0x24 => self.imod = value,
            0x28 => self.table_size = value,
            0x30 => (self.table, self.has_table) = (half(self.table, value, false), false),
            0x34 => (self.table, self.has_table) = (half(self.table, value, true), true),
            0x38 => {
                assert!(value & 8 != 0 || !self.running, "EHB is what ends an interrupt");
                let busy = if value & 8 == 0 { self.dequeue & 8 } else { 0 };
                self.dequeue = half(self.dequeue, value, false) & !8 | busy;
            }
            0x3c => {
                self.dequeue = half(self.dequeue, value, true);
                let (first, blocks) = self.segment;
                let next = first + 16 * self.written as u64;
                assert!(
                    !self.running || (first..first + 16 * blocks as u64).contains(&self.dequeue)
                );
                if self.running && self.dequeue & 8 == 0 && self.dequeue != next {
                    // Events are left.
                    (self.dequeue, self.iman) = (self.dequeue | 8, self.iman | 1);
                    self.send_message();
                }
            }
            _ => panic!("runtime register {register:#x} written"),
        }
    }
}

impl FakeXhci<'_> {
    /// A write takes effect.
    pub(super) fn arrive(&self, state: &mut State, offset: usize, value: u32, sent: Instant) {
        if offset == LEGACY {
            assert!(state.legacy[0] & 1 << 16 != 0, "the firmware does not have it");
            assert_eq!(value, state.legacy[0] | 1 << 24);
            state.legacy[0] = value;
            return;
        }
        if offset == LEGACY + 4 {
            assert!(state.legacy[0] & 1 << 16 == 0, "the firmware has it");
            assert_eq!(value, 0xe006_0000, "no SMI, and reserved bits stay");
            // What caused an SMI is cleared by a one.
            let events = state.legacy[1] & !value & 0xe000_0000;
            state.legacy[1] = value & !0xe000_0000 | events;
            return;
        }
        assert!(
            state.legacy[0] & 1 << 16 == 0 && state.legacy[1] & 0xe000_e011 == 0,
            "the firmware has it"
        );
        assert!(state.is_ready(), "{offset:#x} written before it is ready");
        let value = without_preserved(offset, value);
        let in_reset = state.command & 2 != 0;
        assert!(!in_reset || state.fault == XhciFault::ResetsOn, "{offset:#x} during its reset");
        match offset {
            OPERATIONAL => self.set_command(state, value, sent),
            0x58 | 0x5c => {
                assert!(!state.running, "CRCR of a ring that runs");
                state.ring = half(state.ring, value, offset == 0x5c);
            }
            0x70 | 0x74 => {
                assert!(!state.running, "DCBAAP of a controller that runs");
                state.contexts = half(state.contexts, value, offset == 0x74);
            }
            0x78 => {
                assert!(!state.running && value > 0 && value <= SLOTS, "CONFIG {value:#x}");
                state.config = value;
            }
            DOORBELLS => {
                assert!(state.running && value == 0 && state.next.is_none(), "a doorbell");
                state.next = Some(state.ring & !63);
            }
            RUNTIME.. => state.arrive_in_runtime(offset - RUNTIME, value),
            _ => panic!("a write of {value:#x} to {offset:#x}"),
        }
    }

    fn set_command(&self, state: &mut State, value: u32, sent: Instant) {
        assert_eq!(value & !7, 0, "USBCMD {value:#x}");
        if value & 2 != 0 {
            assert!(!state.running && value == 2, "a reset of a controller that is not halted");
            state.reset();
            state.reset_at = Some(sent);
            return;
        }
        let was = state.command;
        state.command = value;
        match (was & 1, value & 1) {
            (0, 1) => {
                assert!(!state.running, "run before it has halted");
                state.run_left = READS;
                self.run(state);
            }
            (1, 0) => state.halt_left = READS,
            _ => {}
        }
        state.send_message();
    }

    /// One access more; whether somebody answers it.
    fn answers(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.accesses += 1;
        if state.vanishes_at.is_some_and(|last| state.accesses > last) {
            state.fault = XhciFault::Gone;
        }
        if state.fault == XhciFault::Gone {
            state.posted.clear();
            return false;
        }
        let waited_for_in_vain = matches!(
            state.fault,
            XhciFault::Firmware
                | XhciFault::NotReady
                | XhciFault::Halts
                | XhciFault::StaysOn
                | XhciFault::StaysOff
                | XhciFault::ResetsOn
                | XhciFault::Skips(_)
        );
        if waited_for_in_vain {
            self.clock.advance(Duration::from_millis(1));
        }
        true
    }

    /// Where a register that is at this offset would be, were it where it usually is.
    fn usual(&self, offset: usize) -> usize {
        assert!(offset + 4 <= self.size(), "{offset:#x} is none of its registers");
        let places = self.state.borrow().places;
        let all = places.into_iter().zip(PLACES).zip(LENGTHS);
        let mut found = all.filter(|((at, _), len)| (*at..at + len).contains(&offset));
        match found.next() {
            Some(((at, usual), _)) => offset - at + usual,
            None => offset,
        }
    }

    fn status(&self, state: &mut State) -> u32 {
        state.ready_left = state.ready_left.saturating_sub(1);
        if !state.is_ready() {
            return 1 << 11 | u32::from(!state.running);
        }
        if state.fault == XhciFault::HostError && state.running {
            (state.running, state.error) = (false, true);
        }
        if state.command & 1 == 0 && state.fault != XhciFault::StaysOn {
            state.halt_left = state.halt_left.saturating_sub(1);
            // What it began before it was told to halt.
            self.tell_of_ports(state);
            if state.halt_left == 0 {
                (state.running, state.next) = (false, None);
            }
        }
        if state.command & 1 != 0 {
            state.run_left = state.run_left.saturating_sub(1);
            self.work(state);
        }
        let runs = state.running && (state.run_left == 0 || state.command & 1 == 0);
        let runs = runs && state.fault != XhciFault::StaysOff;
        let more = if let XhciFault::Status(bits) = state.fault { bits } else { 0 };
        let changed = u32::from(state.changed == 0) << 4;
        u32::from(!runs) | u32::from(state.error) << 2 | changed | more
    }
}

impl Registers for &FakeXhci<'_> {
    fn size(&self) -> usize {
        0x1000
    }

    fn read_u32(&self, offset: usize) -> u32 {
        if !self.answers() {
            return u32::MAX;
        }
        let offset = self.usual(offset);
        let mut state = self.settled();
        if let XhciFault::Capability(at, value) = state.fault
            && at == offset
        {
            return value;
        }
        if let Some(at) = state.reset_at {
            let rested = self.clock.now().since(at);
            assert!(rested.as_micros() >= 1000, "looked at {rested:?} after its reset began");
            state.reset_at = None;
        }
        match offset {
            ..0x20 => state.capability(offset),
            OPERATIONAL => {
                let reset = state.command & 2 != 0 && state.fault != XhciFault::ResetsOn;
                state.halt_left = state.halt_left.saturating_sub(usize::from(reset));
                if reset && state.halt_left == 0 {
                    state.command = 0;
                }
                state.command | PRESERVED[0].2
            }
            0x58 | 0x78 | 0x620 | 0x628 | 0x630 if !state.is_ready() => {
                panic!("a read of {offset:#x} before it is ready")
            }
            // A pointer reads as zero.
            0x58 => PRESERVED[1].2,
            0x78 => PRESERVED[2].2 | state.config,
            0x620 => PRESERVED[3].2 | state.iman,
            0x628 => PRESERVED[4].2 | state.table_size,
            0x630 => PRESERVED[5].2,
            0x44 => self.status(&mut state),
            0x48 if !state.is_ready() => panic!("a read of {offset:#x} before it is ready"),
            0x48 => {
                if let XhciFault::PageSize(size) = state.fault {
                    size
                } else {
                    1
                }
            }
            EXTENDED => 0x0300_0402,
            LEGACY => {
                state.firmware_left = state.firmware_left.saturating_sub(1);
                let lets_go = state.firmware_left == 0 && state.fault != XhciFault::Firmware;
                if state.legacy[0] & 1 << 24 != 0 && lets_go {
                    state.legacy[0] &= !(1 << 16);
                }
                state.legacy[0]
            }
            0x514 => state.legacy[1],
            0x638 => u32::try_from(state.dequeue & 0xffff_ffff).expect("the lower half"),
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn write_u32(&self, offset: usize, value: u32) {
        if self.answers() {
            let offset = self.usual(offset);
            self.state.borrow_mut().posted.push_back((offset, value, self.clock.now()));
        }
    }

    fn read_u8(&self, offset: usize) -> u8 {
        panic!("8-bit read of {offset:#x}")
    }

    fn read_u16(&self, offset: usize) -> u16 {
        panic!("16-bit read of {offset:#x}")
    }

    fn write_u8(&self, offset: usize, _value: u8) {
        panic!("8-bit write to {offset:#x}")
    }

    fn write_u16(&self, offset: usize, _value: u16) {
        panic!("16-bit write to {offset:#x}")
    }
}

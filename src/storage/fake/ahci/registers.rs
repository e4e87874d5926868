//! The registers, and what a write does once it arrives.

use super::{AhciFault, FakeAhci, PORTS, Port, READS, State};
use crate::{arch::time::Instant, device::Registers};

impl State {
    pub(super) fn end(&mut self, number: usize, opcode: u32) {
        let fault = self.fault;
        let port = &mut self.ports[number];
        match fault {
            AhciFault::TaskFile(error) => {
                (port.status, port.ata_error, port.is) = (0x51, error, port.is | 1 << 30);
            }
            AhciFault::HostBus => port.is |= 1 << 29,
            _ => {
                (port.status, port.issued) = (0x50, 0);
                port.is |= if opcode == 0xec { 2 } else { 1 };
            }
        }
    }

    /// A port that interrupts shows in IS until that is cleared there, too.
    pub(super) fn latch(&mut self) {
        let interrupts =
            |(number, port): (usize, &Port)| u32::from(port.is & port.ie != 0) << number;
        self.is |= self.ports.iter().enumerate().map(interrupts).sum::<u32>();
    }

    fn reset(&mut self) {
        self.resets += 1;
        self.stopped_in_order = self.ports.iter().all(|port| port.command & 0xc011 == 0);
        let stays = self.fault == AhciFault::PortStaysOn;
        let running = |port: &Port| if stays { port.command & 0xc000 } else { 0 };
        self.ports = self.ports.map(|port| Port {
            command: running(&port),
            linked: false,
            left: READS,
            ..Port::default()
        });
        (self.control, self.is, self.left) = (1 << 31 | 1, 0, READS);
    }

    /// A write takes effect.
    pub(super) fn arrive(&mut self, offset: usize, value: u32, now: Instant) {
        if offset == 0x28 {
            assert!(self.handoff & 1 != 0, "the firmware does not have it");
            assert_eq!(value, self.handoff & !8 | 2, "what is the firmware's stays");
            let silent = self.fault == AhciFault::FirmwareSilent;
            self.handoff |= 2 | if silent { 0 } else { 1 << 4 };
            (self.asked, self.left) = (Some(now), READS);
            return;
        }
        let waited = self.asked.is_some_and(|since| now.since(since).as_millis() >= 25);
        let silent = self.fault == AhciFault::FirmwareSilent && waited;
        let enables = offset == 0x04 && value == 1 << 31 && self.control >> 31 == 0;
        let none = self.fault == AhciFault::NoHandoff || self.handoff & 1 == 0;
        assert!(none || silent || enables, "the firmware has it");
        if offset == 0x04 {
            assert!(value >> 31 == 1 && value & !(1 << 31 | 3) == 0, "GHC {value:#x}");
            assert!(self.control & 1 == 0 || self.fault == AhciFault::StaysOn, "during its reset");
            self.control = value;
            if value & 1 != 0 {
                assert_eq!(value & 2, 0, "interrupts are off during a reset");
                self.reset();
            }
            return;
        }
        assert!(self.control >> 31 == 1, "{offset:#x} written before AHCI is enabled");
        if offset == 0x08 {
            self.is &= !value;
            return;
        }
        let (number, register) = ((offset - 0x100) / 0x80, (offset - 0x100) % 0x80);
        assert!(PORTS[number].is_some(), "port {number} is none");
        let port = &mut self.ports[number];
        let half = |old: u64, high: bool| {
            let value = u64::from(value);
            if high { old & 0xffff_ffff | value << 32 } else { old >> 32 << 32 | value }
        };
        match register {
            0x00 | 0x04 => {
                assert!(port.command & 0x8001 == 0, "the list of a port that is running");
                port.list = half(port.list, register == 0x04);
            }
            0x08 | 0x0c => {
                assert!(port.command & 0x4010 == 0, "the FISes of a port that is running");
                port.received = half(port.received, register == 0x0c);
            }
            0x10 => port.is &= !value,
            0x14 => port.ie = value,
            0x18 => port.command(value, self.fault == AhciFault::PortStaysOn),
            0x2c => port.comreset(value, now),
            0x30 => port.error = 0,
            0x38 => {
                assert!(value == 1 && port.issued == 0 && port.starts(), "one command at a time");
                assert_eq!(PORTS[number], Some(0x101), "a command for a disk");
                (port.issued, port.left) = (1, READS);
            }
            _ => panic!("a write of {value:#x} to {offset:#x}"),
        }
    }

    /// A read of a port: whatever is under way goes on.
    fn go_on(&mut self, number: usize) {
        let Some(signature) = PORTS[number] else {
            panic!("port {number} is none");
        };
        let fault = self.fault;
        let port = &mut self.ports[number];
        port.left = port.left.saturating_sub(1);
        if port.left > 0 {
            return;
        }
        let lost = port.control == 0x300 && fault == AhciFault::LosesLink(number);
        let held = port.control & 0xf == 1 || lost;
        if !held && !port.linked && signature != 0 && fault != AhciFault::NoLink {
            (port.linked, port.busy, port.left, port.error) = (true, true, READS, 1 << 26);
            return;
        }
        if port.linked && port.busy && port.receives() && port.error == 0 {
            port.busy = fault == AhciFault::Busy;
            port.status = 0x50;
        }
        // The engines follow their switches.
        let on = (port.command & 1) << 15 | (port.command & 1 << 4) << 10;
        port.command = port.command & !0xc000
            | if fault == AhciFault::PortStaysOn { port.command & 0xc000 | on } else { on };
    }
}

impl Port {
    fn command(&mut self, value: u32, stays: bool) {
        assert_eq!(value & !0x17, 0, "PxCMD {value:#x}");
        let (starts, receives) = (value & 1 != 0, value & 1 << 4 != 0);
        if receives && !self.receives() {
            assert!(self.received != 0 && self.received.is_multiple_of(256));
        }
        if starts && !self.starts() {
            assert!(receives && self.command & 0x8000 == 0 && self.linked && !self.busy);
            assert!(self.list != 0 && self.list.is_multiple_of(1024));
        }
        let running = self.command & 0xc000 != 0 && !stays;
        assert!(receives || !running || self.command & 0x8000 == 0, "FRE before CR is over");
        if !starts {
            self.issued = 0;
        }
        self.left = READS;
        self.command = self.command & 0xc000 | value;
    }

    fn comreset(&mut self, value: u32, now: Instant) {
        assert_eq!(self.command & 0x8001, 0, "COMRESET of a port that is running");
        match value {
            0x301 => (self.linked, self.reset_at) = (false, Some(now)),
            0x300 => {
                let began = self.reset_at.take().expect("a reset that ends");
                assert!(now.since(began).as_micros() >= 1000, "COMRESET lasts a millisecond");
                self.left = READS;
            }
            _ => panic!("PxSCTL {value:#x}"),
        }
        self.control = value;
    }
}

impl Registers for &FakeAhci<'_> {
    fn size(&self) -> usize {
        if let AhciFault::Size(size) = self.state.borrow().fault { size } else { 0x1000 }
    }

    fn read_u32(&self, offset: usize) -> u32 {
        if !self.answers() {
            return u32::MAX;
        }
        assert!(offset + 4 <= self.size(), "a read of {offset:#x}");
        let mut state = self.settled();
        match offset {
            0x00 => return u32::from(state.wide) << 31 | 0x1f04,
            0x04 => {
                state.left = state.left.saturating_sub(1);
                if state.left == 0 && state.fault != AhciFault::StaysOn {
                    state.control &= !1;
                }
                return state.control;
            }
            0x24 => return u32::from(state.fault != AhciFault::NoHandoff),
            0x28 => {
                assert!(state.fault != AhciFault::NoHandoff, "there is no BOHC");
                assert!(state.control >> 31 == 1, "BOHC read before AHCI is enabled");
                state.left = state.left.saturating_sub(1);
                let busy = state.fault == AhciFault::FirmwareBusy;
                if state.handoff & 1 << 4 != 0 && state.left == 0 && !busy {
                    state.handoff &= !(1 | 1 << 4);
                }
                return state.handoff;
            }
            0x0c => return if let AhciFault::Ports(ports) = state.fault { ports } else { 0b11011 },
            0x10 => return 0x1_0301,
            0x100.. => {}
            _ => panic!("a read of {offset:#x}"),
        }
        assert!(state.control >> 31 == 1, "{offset:#x} read before AHCI is enabled");
        let (number, register) = ((offset - 0x100) / 0x80, (offset - 0x100) % 0x80);
        state.go_on(number);
        self.work(&mut state, number);
        state.latch();
        let port = state.ports[number];
        match register {
            0x10 => port.is,
            0x18 => port.command,
            0x20 if port.busy || !port.linked => 0x80,
            0x20 => u32::from(port.ata_error) << 8 | u32::from(port.status),
            0x24 => PORTS[number].unwrap_or(0),
            0x28 => {
                if port.linked {
                    0x123
                } else {
                    0
                }
            }
            0x2c => port.control,
            0x38 => port.issued,
            _ => panic!("a read of {offset:#x}"),
        }
    }

    fn write_u32(&self, offset: usize, value: u32) {
        if self.answers() {
            assert!(offset + 4 <= self.size(), "a write to {offset:#x}");
            self.state.borrow_mut().posted.push_back((offset, value));
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

//! The rings: commands read, and events written.

use super::{FakeXhci, SLOTS, State, XhciFault};
use crate::addr::BusAddr;

/// Blocks done at one look.
const AT_ONCE: usize = 7;

impl FakeXhci<'_> {
    /// It begins to run.
    pub(super) fn run(&self, state: &mut State) {
        assert!(state.contexts != 0 && state.contexts.is_multiple_of(64) && state.config > 0);
        assert_eq!(state.imod, 0, "interrupts would be held up");
        assert!(state.ring & 63 == 1 && state.ring > 63, "CRCR {:#x}", state.ring);
        assert!(state.table_size == 1 && state.has_table, "a table since it was halted");
        let (table, bytes) = (state.table, 16);
        assert!(table != 0 && table.is_multiple_of(64), "ERSTBA {table:#x}");
        let entry: [u8; 16] = self.dma_read(state, table);
        let (base, rest) = entry.split_at(8);
        let first = u64::from_le_bytes(base.try_into().expect("8 bytes"));
        let blocks = u64::from_le_bytes(rest.try_into().expect("8 bytes"));
        assert!(first.is_multiple_of(64) && (16..=4096).contains(&blocks), "{first:#x}, {blocks}");
        assert_eq!(first >> 16, (first + blocks * bytes - 1) >> 16, "within 64 KiB");
        assert_eq!(state.dequeue & !8, first, "ERDP");
        let blocks = usize::try_from(blocks).expect("few");
        for n in 0..blocks as u64 {
            assert_eq!(self.dma_read(state, first + 16 * n), [0; 16], "block {n} is not zeroed");
        }
        for (page, len) in self.scratchpads(state) {
            assert!(len != 4096 || page.is_multiple_of(4096), "a scratchpad at {page:#x}");
            if len == 4096 {
                self.dma_write(state, page, &[0x5c; 4096]);
            }
        }
        (state.segment, state.written, state.done) = ((first, blocks), 0, 0);
        state.running = state.fault != XhciFault::StaysOff;
        if let XhciFault::Ports(count) = state.fault {
            state.changed = count;
        }
    }

    /// Does a few commands, if there are any; a port's change comes in between.
    pub(super) fn work(&self, state: &mut State) {
        if !state.running || state.run_left > 0 {
            return;
        }
        for _ in 0..AT_ONCE {
            if state.done == 3 || state.next.is_none() {
                self.tell_of_ports(state);
            }
            if state.next.is_some() && state.fault != XhciFault::Halts {
                self.command(state);
            }
        }
    }

    /// Tells of one port whose state changed, if there is one.
    pub(super) fn tell_of_ports(&self, state: &mut State) {
        if state.running && state.changed > 0 {
            state.changed -= 1;
            self.event(state, 3 << 24, 1, 34 << 10);
        }
    }

    fn command(&self, state: &mut State) {
        let Some(at) = state.next else { return };
        assert_eq!(at % 16, 0, "a command at {at:#x}");
        let mut trb: [u8; 16] = self.dma_read(state, at);
        if state.fault == XhciFault::ReadsTwice(state.done) {
            trb = self.dma_read(state, at - 16);
        }
        let (parameter, rest) = trb.split_at(8);
        let parameter = u64::from_le_bytes(parameter.try_into().expect("8 bytes"));
        let rest = u64::from_le_bytes(rest.try_into().expect("8 bytes"));
        assert_eq!(rest & 0xffff_ffff, 0, "reserved");
        let control = u32::try_from(rest >> 32).expect("half");
        if control & 1 == 0 {
            state.next = None;
            assert_eq!((parameter, control), (0, 0), "what is not the controller's");
            if state.fault == XhciFault::OneMore {
                self.event(state, at, 1, 33 << 10);
            }
            return;
        }
        if control >> 10 == 6 {
            assert!(parameter.is_multiple_of(64) && control & 0x3fe == 0, "a link");
            state.next = Some(parameter);
            return;
        }
        assert!(parameter == 0 && control & 0x3fe == 0, "reserved");
        let slot = control >> 24;
        let code = match control >> 10 & 0x3fff {
            23 => 1,
            10 => {
                assert!((1..=SLOTS).contains(&slot), "slot {slot}");
                11
            }
            other => panic!("command {other}"),
        };
        assert!(code == 11 || slot == 0, "a slot of no command's");
        (state.next, state.commands) = (Some(at + 16), state.commands + 1);
        let code = if let XhciFault::Code(code) = state.fault { code.into() } else { code };
        let slot = if state.echoes { slot << 24 } else { 0 };
        state.done += 1;
        if state.fault == XhciFault::Skips(state.done - 1) {
            state.written += 1;
            return;
        }
        self.event(state, at, code, slot | 33 << 10);
    }

    fn event(&self, state: &mut State, pointer: u64, code: u32, control: u32) {
        let (first, blocks) = state.segment;
        let (pointer, code, kind) = match blocks - state.written {
            0 | 1 => return,
            2 => (0, 21, 37 << 10),
            _ => (pointer, code, control),
        };
        let mut trb = [0; 16];
        trb[..8].copy_from_slice(&pointer.to_le_bytes());
        trb[8..12].copy_from_slice(&(code << 24).to_le_bytes());
        trb[12..].copy_from_slice(&(kind | 1).to_le_bytes());
        let at = 16 * state.written;
        if let XhciFault::CorruptByte(byte) = state.fault
            && (at..at + 16).contains(&byte)
        {
            trb[byte - at] ^= 0x10;
        }
        if let (XhciFault::Stray(offset), 0) = (state.fault, at) {
            self.machine.bus_flip(BusAddr(first.wrapping_add_signed(offset as i64)));
        }
        self.dma_write(state, first + at as u64, &trb);
        state.written += 1;
        let busy = state.dequeue & 8 != 0;
        if !busy {
            (state.dequeue, state.iman) = (state.dequeue | 8, state.iman | 1);
            state.send_message();
        }
    }
}

//! The properties, and what a write does once it arrives.

use super::{FakeNvme, Fault, Queue, READS, State};
use crate::device::Registers;
use core::cell::RefMut;

impl FakeNvme<'_> {
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

    /// A read of CSTS: whatever is under way goes on.
    fn status(&self, state: &mut State) -> u32 {
        state.left = state.left.saturating_sub(1);
        let enabled = state.configuration & 1 != 0;
        if state.left == 0 {
            match (enabled, state.fault) {
                (true, Fault::NeverReady) | (false, Fault::StaysOn) => {}
                _ => state.ready = enabled,
            }
            if state.ready && enabled && !matches!(state.fault, Fault::Halts | Fault::Fatal) {
                self.work(state);
            }
        }
        let shutdown = match (state.configuration & 0xc000 != 0, state.fault) {
            (false, _) => 0,
            (true, Fault::NeverShutsDown) => 1,
            (true, _) => 1 + u32::from(state.left == 0),
        };
        let fatal = u32::from(enabled && state.fault == Fault::Fatal);
        u32::from(state.ready) | fatal << 1 | shutdown << 2
    }
}

impl State {
    /// A write takes effect.
    pub(super) fn arrive(&mut self, offset: usize, value: u32) {
        let enabled = self.configuration & 1 != 0;
        match offset {
            0x0c | 0x10 => {
                assert!(!self.msix, "the mask belongs to lines and MSI");
                self.mask = if offset == 0x0c { self.mask | value } else { self.mask & !value };
            }
            0x14 => self.configure(value),
            0x24 if !enabled => self.attributes = value,
            0x28 | 0x2c | 0x30 | 0x34 if !enabled => self.bases[(offset - 0x28) / 4] = value,
            0x1000.. => self.doorbell(offset - 0x1000, value),
            _ => panic!("a write of {value:#x} to {offset:#x}, enabled: {enabled}"),
        }
    }

    fn configure(&mut self, value: u32) {
        let (was, is) = (self.configuration & 1 != 0, value & 1 != 0);
        let never = matches!(self.fault, Fault::NeverReady | Fault::Fatal);
        assert!(!was || self.ready || never, "CC written on the way to ready");
        assert!(was || !self.ready || !is, "enabled on the way to not ready");
        assert!(self.configuration & 0xc000 == 0 || !is, "used after its shutdown");
        self.configuration = value;
        self.left = READS;
        if !is {
            // Disabled, it uses no memory at once; CSTS.RDY tells later.
            self.queues.clear();
            self.halves.clear();
            return;
        }
        if was {
            assert_eq!(value, 0x46_4001, "a normal shutdown, and nothing else");
            let idle = |queue: &Queue| queue.head == queue.tail;
            assert!(self.queues.values().all(idle), "commands under way");
            self.shutdowns += 1;
            return;
        }
        assert_eq!(value, 0x46_0001, "entries of 64 and 16 bytes, pages of 4 KiB, NVM commands");
        self.enables += 1;
        self.mask = 0;
        let [low, high] = [self.attributes & 0xfff, self.attributes >> 16 & 0xfff];
        assert!(low == high && low > 0, "AQA {:#x}", self.attributes);
        let base = |at: usize| u64::from(self.bases[at + 1]) << 32 | u64::from(self.bases[at]);
        let (submissions, completions) = (base(0), base(2));
        assert_eq!((submissions | completions) & 0xfff, 0, "queues start at pages");
        let entries = u16::try_from(low + 1).expect("12 bits");
        let interrupts = true;
        let queue = Queue {
            submissions,
            completions,
            entries,
            phase: true,
            interrupts,
            messages: self.msix,
            ..Queue::default()
        };
        self.queues.insert(0, queue);
    }

    fn doorbell(&mut self, offset: usize, value: u32) {
        assert!(self.ready && self.configuration & 0xc001 == 1, "a doorbell, and not ready");
        let stride = 4 << (self.kind.capabilities >> 32 & 0xf);
        assert_eq!(offset % stride, 0, "between doorbells");
        let number = u16::try_from(offset / stride).expect("a doorbell");
        let queue = self.queues.get_mut(&(number / 2)).expect("a queue that there is");
        let value = u16::try_from(value).expect("16 bits");
        assert!(value < queue.entries, "{value} of {}", queue.entries);
        if number.is_multiple_of(2) {
            assert_eq!(queue.head, queue.tail, "one command at a time");
            assert_eq!(value, (queue.tail + 1) % queue.entries, "commands follow one another");
            queue.tail = value;
            self.left = READS;
        } else {
            let there = (queue.written + queue.entries - queue.taken) % queue.entries;
            let taken = (value + queue.entries - queue.taken) % queue.entries;
            assert!(0 < taken && taken <= there, "{taken} taken of {there}");
            queue.taken = value;
        }
    }
}

impl Registers for &FakeNvme<'_> {
    fn size(&self) -> usize {
        self.state.borrow().kind.registers
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
        let capabilities = match state.fault {
            Fault::Capabilities(value) => value,
            _ => state.kind.capabilities,
        };
        let [a, b, c, d, e, f, g, h] = capabilities.to_le_bytes();
        match offset {
            0x00 => u32::from_le_bytes([a, b, c, d]),
            0x04 => u32::from_le_bytes([e, f, g, h]),
            0x08 => 0x1_0400,
            0x14 => state.configuration,
            0x1c => self.status(&mut state),
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

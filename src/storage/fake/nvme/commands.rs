//! What the controller does with its commands.

use super::{BLOCK, FakeNvme, Fault, NAMESPACE, Queue, State, block};
use crate::addr::BusAddr;
use alloc::{vec, vec::Vec};

const COMPARE_FAILURE: u16 = 0x285;

/// A command's words.
type Words = [u32; 16];

fn wide(words: &Words, at: usize) -> u64 {
    u64::from(words[at + 1]) << 32 | u64::from(words[at])
}

impl FakeNvme<'_> {
    /// Does what is in the queues, one command each.
    pub(super) fn work(&self, state: &mut State) {
        let numbers: Vec<u16> = state.queues.keys().copied().collect();
        for number in numbers {
            let queue = state.queues[&number];
            if queue.head == queue.tail {
                continue;
            }
            let at = BusAddr(queue.submissions + u64::from(queue.head) * 64);
            let bytes = self.dma_read(state, at, 64);
            let words: Words = core::array::from_fn(|n| {
                u32::from_le_bytes(core::array::from_fn(|byte| bytes[4 * n + byte]))
            });
            let [opcode, flags, ..] = words[0].to_le_bytes();
            assert_eq!(flags, 0, "PRPs, and not fused");
            assert_eq!((&words[2..6], &words[13..]), (&[0; 4][..], &[0; 3][..]), "what none has");
            state.opcodes.push((number, opcode));
            let mut result = 0;
            let status = match (number, opcode) {
                (0, 0x06) => self.identify(state, &words),
                (0, 0x09) => {
                    assert_eq!((words[10], words[11]), (7, 0x1_0001), "two queues of each kind");
                    result = state.granted();
                    0
                }
                (0, 0x0a) => {
                    assert_eq!((words[10], words[11]), (7, 0), "Number of Queues");
                    0
                }
                (0, 0x05) => state.make_completions(&words),
                (0, 0x01) => state.make_submissions(&words),
                (1.., 0x02) => self.read(state, &words),
                (1.., 0x05) => self.compare(state, &words),
                _ => panic!("command {opcode:#x} in queue {number}"),
            };
            let status = match (state.fault, number) {
                (Fault::AdminStatus(status), 0) | (Fault::Status(status), 1..) => status,
                _ => status,
            };
            self.complete(state, number, words[0] >> 16, status, result);
        }
    }

    fn complete(&self, state: &mut State, number: u16, identifier: u32, status: u16, result: u32) {
        let fault = state.fault;
        let queue = state.queues.get_mut(&number).expect("the command's queue");
        state.messages += usize::from(queue.messages && fault != Fault::Silent);
        queue.head = (queue.head + 1) % queue.entries;
        let at = BusAddr(queue.completions + u64::from(queue.written) * 16);
        let last = (u32::from(status) << 1 | u32::from(queue.phase)) << 16;
        queue.written = (queue.written + 1) % queue.entries;
        queue.phase ^= queue.written == 0;
        assert_ne!(queue.written, queue.taken, "completions are taken before there is no room");
        let (mut identifier, mut number, mut head) = (identifier, number, queue.head);
        match fault {
            Fault::Identifier(other) => identifier = other.into(),
            Fault::Queue(other) => number = other,
            Fault::Head(other) => head = other,
            _ => {}
        }
        let words = [result, 0, u32::from(number) << 16 | u32::from(head), last | identifier];
        self.dma_write(state, at, &words.map(u32::to_le_bytes).concat());
    }

    /// The pieces of memory that a command's PRPs name.
    fn pieces(&self, state: &mut State, words: &Words, len: usize) -> Vec<(BusAddr, usize)> {
        let (first, second) = (wide(words, 6), wide(words, 8));
        assert_eq!(first % 4, 0, "PRP1 {first:#x}");
        let here = len.min(4096 - BusAddr(first).page_offset());
        let mut pieces = vec![(BusAddr(first), here)];
        let left = len - here;
        let behind = if left > 4096 {
            assert_eq!(second % 8, 0, "a list at {second:#x}");
            let list = self.dma_read(state, BusAddr(second), left.div_ceil(4096) * 8);
            list.as_chunks::<8>().0.iter().map(|entry| u64::from_le_bytes(*entry)).collect()
        } else if left > 0 {
            vec![second]
        } else {
            assert_eq!(second, 0, "PRP2 without need");
            vec![]
        };
        for (page, start) in behind.into_iter().zip((0..left).step_by(4096)) {
            assert_eq!(page % 4096, 0, "PRP {page:#x}");
            pieces.push((BusAddr(page), (left - start).min(4096)));
        }
        pieces
    }

    fn blocks(state: &State, words: &Words) -> Vec<u8> {
        assert_eq!(words[1], NAMESPACE, "the namespace");
        let (first, count) = (wide(words, 10), u64::from(words[12] & 0xffff) + 1);
        assert_eq!(words[12] >> 16, 0, "no flags");
        assert!(first + count <= state.kind.blocks, "{count} blocks from {first}");
        let mut all: Vec<u8> = (first..first + count).flat_map(block).collect();
        if state.kind.blank {
            all.fill(0);
        }
        let most = if state.kind.most == 0 { usize::MAX } else { 4096 << state.kind.most };
        assert!(all.len() <= most, "{} bytes", all.len());
        all
    }

    fn read(&self, state: &mut State, words: &Words) -> u16 {
        let mut bytes = Self::blocks(state, words);
        let pieces = self.pieces(state, words, bytes.len());
        let mut most = bytes.len();
        match state.fault {
            Fault::CorruptByte(at) => bytes[at] ^= 0x10,
            Fault::Short(written) => most = written,
            Fault::Underrun => self.machine.bus_flip(BusAddr(pieces[0].0.0 - 1)),
            // A command that fails moved nothing.
            Fault::Status(_) | Fault::Elsewhere => most = 0,
            _ => {}
        }
        self.scatter(state, &pieces, &bytes[..most]);
        0
    }

    fn scatter(&self, state: &mut State, pieces: &[(BusAddr, usize)], mut bytes: &[u8]) {
        for &(bus, len) in pieces {
            let (here, rest) = bytes.split_at(len.min(bytes.len()));
            if !here.is_empty() {
                self.dma_write(state, bus, here);
            }
            bytes = rest;
        }
    }

    fn compare(&self, state: &mut State, words: &Words) -> u16 {
        assert!(state.kind.compares, "it has no Compare");
        let bytes = Self::blocks(state, words);
        let pieces = self.pieces(state, words, bytes.len());
        let mut read = Vec::new();
        for (bus, len) in pieces {
            read.extend(self.dma_read(state, bus, len));
        }
        match state.fault {
            Fault::CorruptByte(at) => read[at] ^= 0x10,
            Fault::Elsewhere => read.fill(0),
            _ => {}
        }
        if read == bytes { 0 } else { COMPARE_FAILURE }
    }

    fn identify(&self, state: &mut State, words: &Words) -> u16 {
        let mut bytes = vec![0; 4096];
        match (words[10], words[1]) {
            (1, 0) => {
                bytes[4..8].copy_from_slice(b"SN 7");
                bytes[24..28].copy_from_slice(b"Fake");
                bytes[77] = state.kind.most;
                bytes[520] = state.kind.compares.into();
            }
            (2, 0) => bytes[..4].copy_from_slice(&NAMESPACE.to_le_bytes()),
            (0, NAMESPACE) => {
                bytes[..8].copy_from_slice(&state.kind.blocks.to_le_bytes());
                bytes[128] = state.kind.metadata;
                bytes[130] = BLOCK.trailing_zeros().to_le_bytes()[0];
            }
            other => panic!("Identify {other:?}"),
        }
        let pieces = self.pieces(state, words, 4096);
        self.scatter(state, &pieces, &bytes);
        0
    }
}

impl State {
    /// How many I/O queues there may be, less one of each kind; more than asked for.
    fn granted(&self) -> u32 {
        match self.fault {
            Fault::Queues(granted) => granted,
            _ => 0x7_0001,
        }
    }

    fn make_completions(&mut self, words: &Words) -> u16 {
        assert_eq!(words[11] & !2, 1, "contiguous, vector 0");
        let (number, queue) = self.half(words);
        let (completions, interrupts) = (wide(words, 6), words[11] & 2 != 0);
        let messages = interrupts && self.msix;
        self.halves.insert(number, Queue { completions, interrupts, messages, ..queue });
        0
    }

    fn make_submissions(&mut self, words: &Words) -> u16 {
        let (number, queue) = self.half(words);
        assert_eq!(words[11], u32::from(number) << 16 | 1, "contiguous, for its own completions");
        let completions = self.halves.remove(&number).expect("its completion queue");
        assert_eq!(completions.entries, queue.entries);
        let whole = Queue { submissions: wide(words, 6), ..completions };
        self.queues.insert(number, whole);
        0
    }

    fn half(&self, words: &Words) -> (u16, Queue) {
        let [low, high, entries_low, entries_high] = words[10].to_le_bytes();
        let number = u16::from_le_bytes([low, high]);
        let last = u16::from_le_bytes([entries_low, entries_high]);
        assert!(number > 0 && !self.queues.contains_key(&number), "queue {number}");
        let most = self.kind.capabilities & 0xffff;
        assert!(last > 0 && u64::from(last) <= most, "{last} of {most}");
        assert_eq!((wide(words, 6) & 0xfff, wide(words, 8)), (0, 0), "a page");
        (number, Queue { entries: last + 1, phase: true, ..Queue::default() })
    }
}

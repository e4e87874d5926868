//! A submission queue and its completion queue in memory shared with the controller (NVM Express Base Specification 2.0,
//! sections 3.3.1 and 3.3.3). One command is under way at a time.
//!
//! What the controller writes is not believed: a completion that is not that of the command under way is an error.

use super::{
    command::{COMMAND, Command, Opcode},
    error::{NvmeError, Status},
    regs::PAGE,
};
use crate::{
    addr::BusAddr,
    arch::volatile,
    dma::{Coherent, DeviceStopped},
};

/// The admin queue.
pub(super) const ADMIN: usize = 0;
/// The queue whose completions never interrupt, for commands that are waited for.
pub(super) const POLLED: usize = 1;
/// The queue whose completions interrupt.
pub(super) const INTERRUPTING: usize = 2;
/// How many there are.
pub(super) const QUEUES: usize = 3;

/// Bytes of a completion.
const COMPLETION: usize = 16;
/// Entries of a queue, where the controller takes as many: enough that one is full only after many turns.
const ENTRIES: u16 = 16;

/// Bytes of both queues: a page each.
pub(super) const BYTES: usize = 2 * PAGE;

/// A queue pair; the memory it lies in is handed to each call.
#[derive(Debug)]
pub(super) struct Queue {
    /// Where the submission queue starts in that memory; the completion queue is in the page behind.
    base: usize,
    /// Its number; 0 is the admin queue.
    pub(super) id: u16,
    /// Entries of either.
    pub(super) entries: u16,
    tail: u16,
    head: u16,
    /// The phase tag of what the controller writes in this turn.
    phase: bool,
    identifier: u16,
    under_way: Option<Opcode>,
}

impl Queue {
    /// A queue pair of as many entries as a controller takes.
    pub(super) fn new(base: usize, id: u16, most_entries: u32) -> Self {
        let entries = u16::try_from(most_entries).map_or(ENTRIES, |most| most.min(ENTRIES));
        Self { base, id, entries, tail: 0, head: 0, phase: true, identifier: 0, under_way: None }
    }

    /// Starts anew: the controller was disabled since.
    pub(super) fn reset(&mut self, memory: &Coherent<'_>, _: &DeviceStopped) {
        for at in (self.base..self.base + BYTES).step_by(8) {
            memory.write_u64(at, 0);
        }
        (self.tail, self.head, self.phase, self.under_way) = (0, 0, true, None);
    }

    /// Where the submission queue is.
    pub(super) const fn submissions(&self, memory: &Coherent<'_>) -> BusAddr {
        BusAddr(memory.bus().0 + self.base as u64)
    }

    /// Where the completion queue is.
    pub(super) const fn completions(&self, memory: &Coherent<'_>) -> BusAddr {
        BusAddr(self.submissions(memory).0 + PAGE as u64)
    }

    /// Puts a command into the queue; the new tail, for the doorbell.
    pub(super) fn submit(&mut self, memory: &Coherent<'_>, command: &Command) -> u16 {
        self.identifier = self.identifier.wrapping_add(1);
        let at = self.base + usize::from(self.tail) * COMMAND;
        for (word, at) in command.words(self.identifier).into_iter().zip((at..).step_by(4)) {
            memory.write_u32(at, word);
        }
        // The doorbell that follows must not overtake the command.
        volatile::write_barrier();
        self.tail = (self.tail + 1) % self.entries;
        self.under_way = Some(command.opcode);
        self.tail
    }

    /// Looks once for the completion of the command under way.
    ///
    /// It is taken out of the queue, of which the controller knows once it is told the new [`Queue::head`].
    pub(super) fn poll(&mut self, memory: &Coherent<'_>) -> Result<Option<Done>, NvmeError> {
        let Some(opcode) = self.under_way else {
            return Ok(None);
        };
        let at = self.base + PAGE + usize::from(self.head) * COMPLETION;
        let last = memory.read_u32(at + 12);
        if (last >> 16 & 1 != 0) != self.phase {
            return Ok(None);
        }
        // The other words are there once the phase tag is.
        volatile::read_barrier();
        let [head_low, head_high, id_low, id_high] = memory.read_u32(at + 8).to_le_bytes();
        let [low, high, ..] = last.to_le_bytes();
        self.head = (self.head + 1) % self.entries;
        self.phase ^= self.head == 0;
        self.under_way = None;
        for (what, found, expected) in [
            ("command identifier", u16::from_le_bytes([low, high]), self.identifier),
            ("submission queue identifier", u16::from_le_bytes([id_low, id_high]), self.id),
            // With one command under way the controller has read all there are.
            ("submission queue head", u16::from_le_bytes([head_low, head_high]), self.tail),
        ] {
            if found != expected {
                return Err(NvmeError::Completion { what, found, expected });
            }
        }
        let [.., status_low, status_high] = last.to_le_bytes();
        // Bit 0 is the phase tag; CRD, M and DNR above say what else there is to know.
        let status = Status(u16::from_le_bytes([status_low, status_high]) >> 1 & 0x7ff);
        Ok(Some(Done { opcode, status, result: memory.read_u32(at) }))
    }

    /// How far completions were taken out, for the doorbell.
    pub(super) const fn head(&self) -> u16 {
        self.head
    }
}

/// A command that was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) opcode: Opcode,
    pub(super) status: Status,
    /// Doubleword 0: what the command returned.
    pub(super) result: u32,
}

impl Done {
    /// What it returned; an error unless it was successful.
    pub(super) fn check(self) -> Result<u32, NvmeError> {
        let Self { opcode, status, result } = self;
        if status == Status::SUCCESS {
            Ok(result)
        } else {
            Err(NvmeError::Ended { opcode, status })
        }
    }
}

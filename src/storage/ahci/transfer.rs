//! Blocks, as transfers: what [`Mover::fill`](crate::device::Mover::fill) read from the medium is read to where the bytes
//! lie, and once more to elsewhere.

use super::{
    Ahci,
    command::{self, Blocks, Command},
    error::AhciError,
    identify::{BYTES, Identity},
};
use crate::{
    arch::wait::Deadline,
    device::{Arrival, Cause, Ended, Registers, Sent, StartError, life::Life},
    dma::{DeviceStopped, FinishError, FromDevice, Lent, Mapping, OwnedSlice, buffer::Buffer},
    storage::place::{TRIES, first_block, spoil, unlike, varied},
};
use alloc::{vec, vec::Vec};
use core::time::Duration;

/// How long a command may take; a disk that tries again and again needs seconds.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

impl<'m, R: Registers> Ahci<'m, R> {
    /// Passes a result on, after a reset of a controller that did not do as told.
    fn settle<T>(&mut self, result: Result<T, AhciError>) -> Result<T, AhciError> {
        match result {
            Err(AhciError::Lost(error)) => Err(self.life.lose(error).into()),
            Err(error) => Err(self.give_up(error)),
            done => done,
        }
    }

    fn give_up(&mut self, error: AhciError) -> AhciError {
        match self.hba.reset() {
            Ok(stopped) => {
                self.traffic.resets += 1;
                // What it did to memory of a transfer that failed matters less than why it failed.
                let _ = self.reclaim(&stopped);
                self.life = Life::Down(stopped);
                error
            }
            Err(error) => self.life.lose(error).into(),
        }
    }

    /// Takes what was to be moved back.
    pub(super) fn reclaim(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.inside = false;
        let placed = self.placing.take().map(|memory| memory.reclaim(stopped).end(0));
        let arrived = self.arriving.take().map(|memory| memory.reclaim(stopped).end(0));
        self.traffic.lost += u64::from(placed.is_some()) + u64::from(arrived.is_some());
        placed.transpose()?;
        arrived.transpose().map(drop)
    }

    /// Readies the port, unless that was done.
    pub(super) fn bring_up(&mut self) -> Result<(), AhciError> {
        self.life.check::<AhciError>()?;
        let (Some(stopped), Some(memory)) = (self.life.start(), self.shared.as_deref()) else {
            return Ok(());
        };
        let up = self.hba.enable(memory, stopped);
        self.settle(up)?;
        self.hba.set_mask(self.unmasked);
        Ok(())
    }

    /// Which disk is at the port.
    pub(super) fn identify(&mut self) -> Result<Identity, StartError> {
        let mapping = self.dma.map::<FromDevice, _>(vec![0; BYTES]).map_err(AhciError::Map)?;
        self.arriving = Some(self.begin(Command::IDENTIFY, mapping, false)?);
        self.wait_for()?;
        let bytes = self.take_arrived()?.try_into();
        Identity::read(&bytes.map_err(|_| AhciError::NotFilled)?)
    }

    /// Gives the disk a command about a mapping.
    fn begin<B: Buffer<FromDevice>>(
        &mut self,
        command: Command,
        mapping: Mapping<'m, FromDevice, B>,
        interrupts: bool,
    ) -> Result<Lent<Mapping<'m, FromDevice, B>>, AhciError> {
        let Some(memory) = self.shared.as_deref() else {
            mapping.abandon();
            return Err(Ended.into());
        };
        command.put(memory, mapping.bus(), mapping.len());
        self.ranges.add(&mapping);
        let lent = Lent::new(mapping);
        self.under_way = command.opcode;
        self.hba.issue(interrupts);
        Ok(lent)
    }

    /// Waits for the command under way.
    fn wait_for(&mut self) -> Result<(), AhciError> {
        let deadline = Deadline::new(self.hba.clock, COMMAND_LIMIT);
        let done = deadline.until("the disk to do a command", || self.hba.is_done(self.under_way));
        self.settle(done)
    }

    /// Bytes that the controller reports to have written, of a command that is done.
    fn moved(&self, len: usize) -> Result<usize, AhciError> {
        let moved = command::moved(self.shared.as_deref().ok_or(Ended)?);
        let all = usize::try_from(moved) == Ok(len);
        if all { Ok(len) } else { Err(AhciError::Moved { len, moved }) }
    }

    /// What arrived, once the command for it is done.
    fn take_arrived(&mut self) -> Result<Vec<u8>, AhciError> {
        let memory = self.arriving.take().ok_or(Ended)?.reported_done();
        let moved = self.moved(memory.len());
        let bytes = memory.end(moved.unwrap_or(0))?;
        moved.map(|_| bytes)
    }

    /// The blocks for bytes of a seed, and a try.
    fn place(&self, len: usize, seed: usize, nth: u64) -> Result<Blocks, AhciError> {
        let lengths = self.lengths_of_a_command();
        let (block, max) = (lengths.step, lengths.max);
        let wrong = AhciError::Length { len, block, max };
        if len == 0 || len > max || !len.is_multiple_of(block) {
            return Err(wrong);
        }
        let count = u16::try_from(len / block).map_err(|_| wrong)?;
        Ok(Blocks { first: first_block(self.identity.blocks, count.into(), seed, nth), count })
    }

    /// Readies the controller for commands that are waited for.
    fn begin_anew(&mut self) -> Result<(), AhciError> {
        self.bring_up()?;
        if self.arriving.is_some() {
            // Bytes that nobody asks for any more.
            self.wait_for()?;
            self.take_arrived()?;
            self.traffic.lost += 1;
        }
        Ok(())
    }

    /// Reads what is in a place of the medium, in a place that has something to tell apart if there is one.
    pub(super) fn read_some(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), AhciError> {
        (self.chosen, self.inside) = (None, false);
        self.begin_anew()?;
        (0..TRIES).try_for_each(|nth| self.try_place(bytes, seed, nth))
    }

    /// Reads the `nth` place, unless the one chosen already has bytes that differ.
    fn try_place(&mut self, bytes: &mut [u8], seed: usize, nth: u64) -> Result<(), AhciError> {
        if self.chosen.is_some() && varied(bytes) {
            return Ok(());
        }
        let blocks = self.place(bytes.len(), seed, nth)?;
        self.begin_read(blocks, vec![0; bytes.len()], false)?;
        self.wait_for()?;
        bytes.copy_from_slice(&self.take_arrived()?);
        self.traffic.received += 1;
        self.chosen = Some(blocks);
        Ok(())
    }

    fn begin_read(
        &mut self,
        blocks: Blocks,
        memory: Vec<u8>,
        interrupts: bool,
    ) -> Result<(), AhciError> {
        let mapping = self.dma.map::<FromDevice, _>(memory)?;
        self.arriving = Some(self.begin(Command::read(blocks), mapping, interrupts)?);
        Ok(())
    }

    /// Has the disk's blocks read to where the bytes lie that were read from them before.
    pub(super) fn read_in_place(
        &mut self,
        mut bytes: OwnedSlice,
    ) -> Result<(Sent, OwnedSlice), AhciError> {
        self.begin_anew()?;
        let len = bytes.len();
        let blocks =
            self.chosen.filter(|blocks| usize::from(blocks.count) * self.identity.block == len);
        let blocks = blocks.ok_or(AhciError::NotFilled)?;
        spoil(&mut bytes);
        let mapping = self.dma.map::<FromDevice, _>(bytes)?;
        let record = Sent::of(&mapping);
        self.placing = Some(self.begin(Command::read(blocks), mapping, false)?);
        self.wait_for()?;
        let memory = self.placing.take().ok_or(Ended)?.reported_done();
        let moved = self.moved(record.len);
        let bytes = memory.end(moved.unwrap_or(0))?;
        moved?;
        self.traffic.received += 1;
        self.inside = true;
        Ok((record, bytes))
    }

    /// Looks for what came, or has it read.
    pub(super) fn fetch_blocks(
        &mut self,
        sent: &[u8],
        back: &mut Vec<u8>,
    ) -> Result<Arrival, AhciError> {
        self.life.check::<AhciError>()?;
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.arriving.is_none() {
            if let (true, Some(blocks)) = (self.inside, self.chosen) {
                self.inside = false;
                let memory = unlike(sent, usize::from(blocks.count) * self.identity.block);
                self.begin_read(blocks, memory, true)?;
            }
            return Ok(Arrival::Nothing);
        }
        let done = self.hba.is_done(self.under_way);
        if !self.settle(done)? {
            return Ok(Arrival::Nothing);
        }
        let bytes = self.take_arrived()?;
        self.traffic.received += 1;
        Ok(Arrival::of(&bytes, back))
    }

    /// Takes what the port interrupts for.
    pub(super) fn take_interrupts(&mut self) -> Cause {
        if !self.life.is_running() {
            return match self.hba.check() {
                Ok(()) => Cause::empty(),
                Err(_) => Cause::GONE,
            };
        }
        // What went wrong is to be known before it is cleared.
        let failed =
            if self.arriving.is_some() { self.hba.is_done(self.under_way).err() } else { None };
        match self.hba.take_interrupts() {
            Err(_) => Cause::GONE,
            Ok(_) if failed.is_some() => {
                self.failed =
                    failed.map(|error| self.settle::<()>(Err(error)).err().unwrap_or(error));
                Cause::ERROR
            }
            Ok(happened) if happened.contains(super::regs::Interrupt::DHRS) => Cause::RECEIVED,
            Ok(_) => Cause::empty(),
        }
    }
}

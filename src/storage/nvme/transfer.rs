//! Blocks, as transfers: what [`Mover::fill`](crate::device::Mover::fill) read from the medium is compared by the
//! controller and read once more.

use super::{
    Nvme,
    command::{Blocks, Command},
    error::{NvmeError, Status},
    prp::Prps,
    queue::POLLED,
};
use crate::{
    device::{Arrival, Ended, Registers, Sent},
    dma::{FromDevice, Lent, OwnedSlice, Source, ToDevice},
    storage::place::{TRIES, first_block, spoil, unlike, varied},
};
use alloc::{vec, vec::Vec};

impl<R: Registers> Nvme<'_, R> {
    /// The blocks for bytes of a seed, and a try.
    fn place(&self, len: usize, seed: usize, nth: u64) -> Result<Blocks, NvmeError> {
        let lengths = self.lengths_of_a_command();
        let (block, max) = (lengths.step, lengths.max);
        if len == 0 || len > max || !len.is_multiple_of(block) {
            return Err(NvmeError::Length { len, block, max });
        }
        let count = (len / block) as u64;
        let first = first_block(self.namespace.blocks, count, seed, nth);
        // No command has more blocks than 65536.
        let count = u32::try_from(count).map_err(|_| NvmeError::Length { len, block, max })?;
        Ok(Blocks { namespace: self.namespace.number, first, count })
    }

    /// Readies the controller for commands that are waited for.
    fn begin_anew(&mut self) -> Result<(), NvmeError> {
        self.bring_up()?;
        self.end_arriving()
    }

    /// Waits for bytes that nobody asks for any more.
    pub(super) fn end_arriving(&mut self) -> Result<(), NvmeError> {
        if self.arriving.is_none() {
            return Ok(());
        }
        let waited = match self.done.take() {
            Some(done) => done.check().map(drop),
            None => self.wait_for(self.inbound),
        };
        self.ended(waited)?;
        self.traffic.lost += 1;
        Ok(())
    }

    /// Reads what is in a place of the medium, in a place that has something to tell apart if there is one.
    pub(super) fn read_some(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), NvmeError> {
        (self.chosen, self.inside) = (None, false);
        self.begin_anew()?;
        (0..TRIES).try_for_each(|nth| self.try_place(bytes, seed, nth))
    }

    /// Reads the `nth` place, unless the one chosen already has bytes that differ.
    fn try_place(&mut self, bytes: &mut [u8], seed: usize, nth: u64) -> Result<(), NvmeError> {
        if self.chosen.is_some() && varied(bytes) {
            return Ok(());
        }
        let blocks = self.place(bytes.len(), seed, nth)?;
        bytes.copy_from_slice(&self.read_blocks(blocks, bytes.len())?);
        self.chosen = Some(blocks);
        Ok(())
    }

    fn read_blocks(&mut self, blocks: Blocks, len: usize) -> Result<Vec<u8>, NvmeError> {
        self.begin_read(POLLED, blocks, vec![0; len])?;
        let waited = self.wait_for(POLLED);
        let bytes = self.ended(waited)?;
        self.traffic.received += 1;
        Ok(bytes)
    }

    fn begin_read(
        &mut self,
        queue: usize,
        blocks: Blocks,
        memory: Vec<u8>,
    ) -> Result<(), NvmeError> {
        let mapping = self.dma.map::<FromDevice, _>(memory)?;
        self.inbound = queue;
        self.arriving = Some(self.begin(queue, mapping, &|data| Command::read(blocks, data))?);
        Ok(())
    }

    /// Has the controller compare bytes with the blocks that they were read from; where it can't, has it read those
    /// blocks to where the bytes lie.
    pub(super) fn send_blocks(&mut self, bytes: Source) -> Result<(Sent, Source), NvmeError> {
        let blocks = self
            .chosen
            .filter(|blocks| blocks.count as usize * self.namespace.block == bytes.len());
        let blocks = blocks.ok_or(NvmeError::NotFilled)?;
        self.begin_anew()?;
        let sent = match (self.identity.compares, bytes) {
            (true, bytes) => self.compare(blocks, bytes)?,
            (false, Source::Bytes(bytes)) => {
                let (record, bytes) = self.read_in_place(blocks, bytes)?;
                (record, bytes.into())
            }
            (false, Source::Probe(_)) => return Err(NvmeError::NotFilled),
        };
        self.inside = true;
        Ok(sent)
    }

    /// Bytes that are all the same lie in many places: if the controller read one of those, it would find no difference.
    /// So their opposites have to make one, first.
    fn compare(&mut self, blocks: Blocks, bytes: Source) -> Result<(Sent, Source), NvmeError> {
        let bytes = match bytes {
            Source::Bytes(bytes) if !varied(&bytes) => self.differ(blocks, bytes)?,
            bytes => bytes,
        };
        let (record, bytes, same) = self.compare_once(blocks, bytes)?;
        if !same {
            let (len, dma, first) = (record.len, record.dma, blocks.first);
            return Err(NvmeError::Differs { len, dma, first });
        }
        self.traffic.sent += 1;
        self.traffic.sent_bounced += u64::from(record.bounced.is_some());
        Ok((record, bytes))
    }

    /// Has the controller find that the opposites of these bytes are not what its medium has.
    fn differ(&mut self, blocks: Blocks, mut bytes: OwnedSlice) -> Result<Source, NvmeError> {
        spoil(&mut bytes);
        let (record, mut bytes, same) = self.compare_once(blocks, bytes.into())?;
        if same {
            let (len, dma, first) = (record.len, record.dma, blocks.first);
            return Err(NvmeError::Blind { len, dma, first });
        }
        if let Source::Bytes(bytes) = &mut bytes {
            spoil(bytes);
        }
        Ok(bytes)
    }

    /// Whether the controller says that the bytes are what its medium has.
    fn compare_once(
        &mut self,
        blocks: Blocks,
        bytes: Source,
    ) -> Result<(Sent, Source, bool), NvmeError> {
        let mapping = self.dma.map::<ToDevice, _>(bytes)?;
        let record = Sent::of(&mapping);
        let command = |data: Prps| Command::compare(blocks, data);
        self.reading = Some(self.begin(POLLED, mapping, &command)?);
        let waited = self.wait_for(POLLED);
        let through = matches!(waited, Ok(()) | Err(NvmeError::Ended { .. }));
        let memory = if through { self.reading.take().map(Lent::reported_done) } else { None };
        let bytes = memory.map(|memory| memory.end(0)).transpose()?;
        let same = match waited {
            Err(NvmeError::Ended { status: Status::COMPARE_FAILURE, .. }) => false,
            waited => waited.map(|()| true)?,
        };
        Ok((record, bytes.ok_or(Ended)?, same))
    }

    fn read_in_place(
        &mut self,
        blocks: Blocks,
        mut bytes: OwnedSlice,
    ) -> Result<(Sent, OwnedSlice), NvmeError> {
        spoil(&mut bytes);
        let mapping = self.dma.map::<FromDevice, _>(bytes)?;
        let record = Sent::of(&mapping);
        let command = |data: Prps| Command::read(blocks, data);
        self.placing = Some(self.begin(POLLED, mapping, &command)?);
        let waited = self.wait_for(POLLED);
        let through = matches!(waited, Ok(()) | Err(NvmeError::Ended { .. }));
        let memory = if through { self.placing.take().map(Lent::reported_done) } else { None };
        let written = if waited.is_ok() { record.len } else { 0 };
        let bytes = memory.map(|memory| memory.end(written)).transpose()?;
        waited?;
        self.traffic.received += 1;
        Ok((record, bytes.ok_or(Ended)?))
    }

    /// Looks for what came, or has it read.
    pub(super) fn fetch_blocks(
        &mut self,
        sent: &[u8],
        back: &mut Vec<u8>,
    ) -> Result<Arrival, NvmeError> {
        self.life.check::<NvmeError>()?;
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.arriving.is_none() {
            if let (true, Some(blocks)) = (self.inside, self.chosen) {
                self.inside = false;
                let memory = unlike(sent, blocks.count as usize * self.namespace.block);
                self.begin_read(self.queue_for_arriving(), blocks, memory)?;
            }
            return Ok(Arrival::Nothing);
        }
        self.look()?;
        self.ring()?;
        let Some(done) = self.done.take() else {
            return Ok(Arrival::Nothing);
        };
        let bytes = self.ended(done.check().map(drop))?;
        self.traffic.received += 1;
        Ok(Arrival::of(&bytes, back))
    }
}

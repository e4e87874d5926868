//! Frames into the transmit slots.

use super::{
    super::{
        FRAME_MAX, FRAME_MIN, HEADER,
        error::{TransmitError, Unsent},
        evidence::TxRecord,
        mmio::Registers,
    },
    Rtl8139,
    ring::{Outcome, outcome},
};
use crate::dma::{Buffer, Mapping, ToDevice};
use alloc::vec::Vec;
use core::time::Duration;

/// How long a frame may take to leave; also after 16 collisions it takes less.
const SEND_LIMIT: Duration = Duration::from_millis(500);

impl<R: Registers> Rtl8139<'_, R> {
    pub(super) fn queue(&mut self, mut frame: Vec<u8>) -> Result<(), Unsent> {
        let slot = match self.slot_for(frame.len(), HEADER) {
            Ok(slot) => slot,
            Err(error) => return Err(Unsent { frame, error }),
        };
        if frame.len() < FRAME_MIN {
            frame.resize(FRAME_MIN, 0);
        }
        match self.dma.try_map::<ToDevice, _>(frame) {
            Ok(mapping) => match self.hand_over(slot, &mapping) {
                Ok(()) => {
                    self.in_flight[slot] = Some(mapping);
                    Ok(())
                }
                Err(error) => Err(Unsent { frame: mapping.abandon(), error }),
            },
            Err((error, frame)) => Err(Unsent { frame, error: error.into() }),
        }
    }

    pub(super) fn send_in_place(&mut self, frame: &[u8]) -> Result<TxRecord, TransmitError> {
        self.drain()?;
        let slot = self.slot_for(frame.len(), FRAME_MIN)?;
        let mapping = self.dma.map::<ToDevice, _>(frame)?;
        let record = TxRecord::of(&mapping);
        self.hand_over(slot, &mapping)?;
        if let Err(error) = self.wait_for(slot) {
            // The frame is only lent: the device must have let go of it before this returns.
            self.forget_all();
            return Err(error);
        }
        self.slots.give();
        mapping.finish(0)?;
        self.settle(self.chip.slot_status(slot))?;
        Ok(record)
    }

    /// The free slot for a frame of `len` bytes.
    fn slot_for(&self, len: usize, min: usize) -> Result<usize, TransmitError> {
        if self.buffer.is_none() {
            return Err(TransmitError::Stopped);
        }
        if len < min || len > FRAME_MAX {
            return Err(TransmitError::BadLength { len, min, max: FRAME_MAX });
        }
        let in_flight = self.slots.used();
        self.slots.free().ok_or(TransmitError::Full { in_flight })
    }

    /// The doorbell: from here on the device reads the mapping.
    fn hand_over<B: Buffer<ToDevice>>(
        &mut self,
        slot: usize,
        mapping: &Mapping<'_, ToDevice, B>,
    ) -> Result<(), TransmitError> {
        let record = TxRecord::of(mapping);
        let beyond = |_| TransmitError::BeyondRegisters(record.dma.0);
        let address = u32::try_from(record.dma.0).map_err(beyond)?;
        let len = u32::try_from(record.len).map_err(beyond)?;
        self.ranges.add(mapping);
        let bounced = u64::from(record.bounced.is_some());
        self.counters.tx_bounced += bounced;
        self.counters.tx_direct += 1 - bounced;
        self.counters.tx_bytes += u64::from(len);
        self.last_tx = Some(record);
        self.slots.take();
        self.chip.send(slot, address, len);
        Ok(())
    }

    /// Ends the oldest frame in flight if the device is done with it.
    pub(super) fn finish_oldest(&mut self) -> Result<Option<Vec<u8>>, TransmitError> {
        let Some(slot) = self.slots.oldest() else {
            return Ok(None);
        };
        let status = self.chip.slot_status(slot);
        if outcome(status) == Outcome::Pending {
            return Ok(None);
        }
        self.slots.give();
        let Some(mapping) = self.in_flight[slot].take() else {
            return Ok(None);
        };
        let frame = mapping.finish(0)?;
        self.settle(status)?;
        Ok(Some(frame))
    }

    /// Books what became of a frame the device is done with.
    fn settle(&mut self, status: u32) -> Result<(), TransmitError> {
        match outcome(status) {
            Outcome::Failed(failure) => {
                self.counters.tx_dropped += 1;
                Err(TransmitError::Failed { failure, status })
            }
            Outcome::Sent | Outcome::Pending => {
                self.counters.tx_frames += 1;
                Ok(())
            }
        }
    }

    /// Waits for every frame in flight; their buffers are there to reclaim.
    fn drain(&mut self) -> Result<(), TransmitError> {
        while let Some(slot) = self.slots.oldest() {
            if let Err(error) = self.wait_for(slot) {
                self.forget_all();
                return Err(error);
            }
            if let Some(frame) = self.finish_oldest()? {
                self.sent.push(frame);
            }
        }
        Ok(())
    }

    fn wait_for(&self, slot: usize) -> Result<(), TransmitError> {
        Ok(self.chip.wait("the device to send a frame", SEND_LIMIT, || {
            outcome(self.chip.slot_status(slot)) != Outcome::Pending
        })?)
    }

    /// Resets a device that holds on to frames.
    #[cold]
    fn forget_all(&mut self) {
        self.counters.resets += 1;
        // If even the reset fails, every later frame fails the same way and says so.
        let _ = self.restart();
    }
}

//! Frames into the transmit ring, a descriptor each.

use super::{
    super::{
        FRAME_MAX, FRAME_MIN, HEADER,
        error::{TransmitError, Unsent},
    },
    Card, InFlight,
    chip::{Chip, Progress},
    receive::PRESENCE,
};
use crate::{
    arch::time::TimedOut,
    device::{Sent, life::Life},
    dma::{Lent, OwnedSlice, ToDevice},
};
use alloc::vec::Vec;
use core::time::Duration;

/// How long a frame may take to leave, with a ring of others before it and the link paused for some of that time.
const SEND_LIMIT: Duration = Duration::from_millis(500);

/// Why a frame was not given to the device, and the frame unless its mapping kept it.
type Refused = (TransmitError, OwnedSlice);

impl<C: Chip> Card<'_, C> {
    pub(super) fn queue(&mut self, mut frame: Vec<u8>) -> Result<(), Unsent> {
        let index = match self.descriptor_for(frame.len(), HEADER) {
            Ok(index) => index,
            Err(error) => return Err(Unsent { frame, error }),
        };
        if frame.len() < FRAME_MIN {
            frame.resize(FRAME_MIN, 0);
        }
        self.give(index, frame.into())
            .map(drop)
            .map_err(|(error, frame)| Unsent { frame: frame.into_vec().unwrap_or_default(), error })
    }

    pub(super) fn send_in_place(
        &mut self,
        frame: OwnedSlice,
    ) -> Result<(Sent, OwnedSlice), TransmitError> {
        while self.tx.used() > 0 {
            let sent = self.finish_oldest()?;
            self.keep_for_reclaim(sent);
        }
        let index = self.descriptor_for(frame.len(), FRAME_MIN)?;
        let record = self.give(index, frame).map_err(|(error, _)| error)?;
        loop {
            if let Some(frame) = self.finish_oldest()? {
                return Ok((record, frame));
            }
            core::hint::spin_loop();
        }
    }

    /// The descriptor for a frame of `len` bytes. Looks at the oldest frame only if there is none.
    fn descriptor_for(&mut self, len: usize, min: usize) -> Result<usize, TransmitError> {
        self.check_running()?;
        if len < min || len > FRAME_MAX {
            return Err(TransmitError::BadLength { len, min, max: FRAME_MAX });
        }
        if self.tx.free().is_none() {
            let sent = self.finish_oldest()?;
            self.keep_for_reclaim(sent);
        }
        let in_flight = self.tx.used();
        self.tx.free().ok_or(TransmitError::Full { in_flight })
    }

    const fn check_running(&self) -> Result<(), TransmitError> {
        match self.life {
            Life::Running => Ok(()),
            Life::Lost(error) => Err(TransmitError::Lost(error)),
            Life::Ended => Err(TransmitError::Stopped),
        }
    }

    /// From the doorbell on the device reads the frame.
    fn give(&mut self, index: usize, frame: OwnedSlice) -> Result<Sent, Refused> {
        let Some(memory) = &self.memory else {
            return Err((TransmitError::Stopped, frame));
        };
        let mapping = self.dma.try_map::<ToDevice, _>(frame);
        let mapping = mapping.map_err(|(error, frame)| (error.into(), frame))?;
        let record = Sent::of(&mapping);
        let Ok(len) = u16::try_from(record.len) else {
            let error =
                TransmitError::BadLength { len: record.len, min: FRAME_MIN, max: FRAME_MAX };
            return Err((error, mapping.abandon()));
        };
        self.ranges.add(&mapping);
        let bounced = u64::from(record.bounced.is_some());
        self.counters.tx_bounced += bounced;
        self.counters.tx_direct += 1 - bounced;
        self.counters.tx_bytes += u64::from(len);
        self.last_tx = Some(record);
        let frame = Lent::new(mapping);
        self.in_flight.push_back(InFlight { frame, since: self.chip.now() });
        memory.send(index, self.chip.transmit_descriptor(record.dma, len));
        self.tx.take();
        self.chip.set_transmit_tail(self.tx.tail());
        Ok(record)
    }

    /// Ends the oldest frame in flight if the device is done with it; an error if it never will be.
    pub(super) fn finish_oldest(&mut self) -> Result<Option<OwnedSlice>, TransmitError> {
        let (Some(index), Some(memory)) = (self.tx.oldest(), &self.memory) else {
            return Ok(None);
        };
        self.check_running()?;
        let word = memory.sent(index);
        let progress = self.chip.progress(word);
        if progress == Progress::Pending {
            return if self.may_wait() { Ok(None) } else { Err(self.give_up()) };
        }
        self.tx.give();
        let in_flight = self.in_flight.pop_front();
        let frame = in_flight.map(|done| done.frame.reported_done().finish(0)).transpose()?;
        if let Progress::Failed(failure) = progress {
            self.counters.tx_dropped += 1;
            self.keep_for_reclaim(frame);
            return Err(TransmitError::Failed { failure, status: status_of(word) });
        }
        self.counters.tx_frames += 1;
        Ok(frame)
    }

    /// Whether the oldest frame may still leave. Of a device that takes its time it is asked whether it is still there.
    fn may_wait(&self) -> bool {
        let Some(oldest) = self.in_flight.front() else { return false };
        let waited = self.chip.now().since(oldest.since);
        waited < PRESENCE || waited < SEND_LIMIT && self.chip.check_there().is_ok()
    }

    /// Resets a device that holds on to a frame.
    #[cold]
    fn give_up(&mut self) -> TransmitError {
        let since = self.in_flight.front().map(|oldest| oldest.since);
        let after = since.map_or(Duration::ZERO, |since| self.chip.now().since(since));
        self.counters.resets += 1;
        match self.restart() {
            Err(error) => TransmitError::Lost(error),
            Ok(()) => TransmitError::Stuck(TimedOut { what: "the device to send a frame", after }),
        }
    }
}

/// The half of a descriptor's second word that has the status.
const fn status_of(word: u64) -> u32 {
    (word >> 32) as u32
}

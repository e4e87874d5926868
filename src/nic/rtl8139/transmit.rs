//! Frames into the transmit slots.

use super::{
    super::{
        FRAME_MAX, FRAME_MIN, HEADER,
        error::{TransmitError, TxFailure, Unsent},
    },
    InFlight, Rtl8139,
    ring::{Outcome, outcome},
};
use crate::{
    arch::time::TimedOut,
    device::{Registers, Sent, life::Life},
    dma::{Lent, OwnedSlice, ToDevice},
};
use alloc::vec::Vec;
use core::time::Duration;

/// How long a frame may take to leave, with three before it; also after 16 collisions each it takes less.
const SEND_LIMIT: Duration = Duration::from_millis(500);

/// Why a frame was not given to the device, and the frame unless its mapping kept it.
type Refused = (TransmitError, OwnedSlice);

impl<R: Registers> Rtl8139<'_, R> {
    pub(super) fn queue(&mut self, mut frame: Vec<u8>) -> Result<(), Unsent> {
        let slot = match self.slot_for(frame.len(), HEADER) {
            Ok(slot) => slot,
            Err(error) => return Err(Unsent { frame, error }),
        };
        if frame.len() < FRAME_MIN {
            frame.resize(FRAME_MIN, 0);
        }
        self.give(slot, frame.into())
            .map(drop)
            .map_err(|(error, frame)| Unsent { frame: frame.into_vec().unwrap_or_default(), error })
    }

    pub(super) fn send_in_place(
        &mut self,
        frame: OwnedSlice,
    ) -> Result<(Sent, OwnedSlice), TransmitError> {
        while self.slots.used() > 0 {
            let sent = self.finish_oldest()?;
            self.keep_for_reclaim(sent);
        }
        let slot = self.slot_for(frame.len(), FRAME_MIN)?;
        let record = self.give(slot, frame).map_err(|(error, _)| error)?;
        loop {
            if let Some(frame) = self.finish_oldest()? {
                return Ok((record, frame));
            }
            core::hint::spin_loop();
        }
    }

    /// The free slot for a frame of `len` bytes. Looks at the oldest frame only if there is none.
    fn slot_for(&mut self, len: usize, min: usize) -> Result<usize, TransmitError> {
        self.check_running()?;
        if len < min || len > FRAME_MAX {
            return Err(TransmitError::BadLength { len, min, max: FRAME_MAX });
        }
        if self.slots.free().is_none() {
            let sent = self.finish_oldest()?;
            self.keep_for_reclaim(sent);
        }
        let in_flight = self.slots.used();
        self.slots.free().ok_or(TransmitError::Full { in_flight })
    }

    const fn check_running(&self) -> Result<(), TransmitError> {
        match self.life {
            Life::Running => Ok(()),
            Life::Lost(error) => Err(TransmitError::Lost(error)),
            Life::Ended => Err(TransmitError::Stopped),
        }
    }

    /// The doorbell: from here on the device reads the frame.
    fn give(&mut self, slot: usize, frame: OwnedSlice) -> Result<Sent, Refused> {
        let mapping = self.dma.try_map::<ToDevice, _>(frame);
        let mapping = mapping.map_err(|(error, frame)| (error.into(), frame))?;
        let record = Sent::of(&mapping);
        let (Ok(address), Ok(len)) = (u32::try_from(record.dma.0), u32::try_from(record.len))
        else {
            return Err((TransmitError::BeyondRegisters(record.dma.0), mapping.abandon()));
        };
        self.ranges.add(&mapping);
        let bounced = u64::from(record.bounced.is_some());
        self.counters.tx_bounced += bounced;
        self.counters.tx_direct += 1 - bounced;
        self.counters.tx_bytes += u64::from(len);
        self.last_tx = Some(record);
        let frame = Lent::new(mapping);
        self.in_flight[slot] = Some(InFlight { frame, since: self.chip.now(), retried: false });
        self.slots.take();
        self.chip.send(slot, address, len);
        Ok(record)
    }

    /// Ends the oldest frame in flight if the device is done with it; an error if it never will be.
    pub(super) fn finish_oldest(&mut self) -> Result<Option<OwnedSlice>, TransmitError> {
        let Some(slot) = self.slots.oldest() else {
            return Ok(None);
        };
        self.check_running()?;
        let status = self.chip.slot_status(slot);
        let outcome = outcome(status);
        match outcome {
            Outcome::Sent => {}
            Outcome::Pending | Outcome::Failed(TxFailure::Aborted)
                if self.may_wait(slot, outcome) =>
            {
                return Ok(None);
            }
            outcome => return Err(self.give_up(slot, outcome, status)),
        }
        self.slots.give();
        self.counters.tx_frames += 1;
        let in_flight = self.in_flight[slot].take();
        Ok(in_flight.map(|in_flight| in_flight.frame.reported_done().finish(0)).transpose()?)
    }

    /// Whether a frame may still leave. An aborted one is tried once more; its status does not tell whether it was
    /// aborted again or is being sent.
    fn may_wait(&mut self, slot: usize, outcome: Outcome) -> bool {
        let now = self.chip.now();
        let Some(in_flight) = &mut self.in_flight[slot] else {
            return false;
        };
        if outcome == Outcome::Pending || in_flight.retried {
            return now.since(in_flight.since) < SEND_LIMIT;
        }
        (in_flight.retried, in_flight.since) = (true, now);
        self.counters.tx_retries += 1;
        self.chip.clear_abort(self.loopback);
        true
    }

    /// Resets a device that holds on to a frame.
    #[cold]
    fn give_up(&mut self, slot: usize, outcome: Outcome, status: u32) -> TransmitError {
        let since = self.in_flight[slot].as_ref().map(|in_flight| in_flight.since);
        let after = since.map_or(Duration::ZERO, |since| self.chip.now().since(since));
        self.counters.resets += 1;
        match (self.restart(), outcome) {
            (Err(error), _) => TransmitError::Lost(error),
            (Ok(()), Outcome::Failed(failure)) => TransmitError::Failed { failure, status },
            (Ok(()), _) => {
                TransmitError::Stuck(TimedOut { what: "the device to send a frame", after })
            }
        }
    }
}

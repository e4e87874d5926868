//! Frames into the transmit slots.

use super::{
    super::{
        error::{TransmitError, TxFailure},
        sending::{Outgoing, Refused, Sender},
    },
    Rtl8139,
    ring::{Outcome, outcome},
};
use crate::{
    arch::time::{Instant, TimedOut},
    device::{Ended, Registers, Sent, life::Life},
    dma::Source,
};
use core::time::Duration;

/// How long a frame may take to leave, with three before it; also after 16 collisions each it takes less.
const SEND_LIMIT: Duration = Duration::from_millis(500);

impl<'m, R: Registers> Sender<'m> for Rtl8139<'m, R> {
    fn outgoing(&mut self) -> &mut Outgoing<'m> {
        &mut self.out
    }

    fn life(&self) -> &Life {
        &self.life
    }

    /// The doorbell: from here on the device reads the frame.
    fn give(&mut self, frame: Source) -> Result<Sent, Refused> {
        let Some(slot) = self.out.free() else { return Err((Ended.into(), frame)) };
        let books = (&mut self.ranges, &mut self.counters);
        let (record, len) = self.out.lend(frame, self.chip.clock.now(), books)?;
        self.chip.send(slot, record.dma, len);
        Ok(record)
    }

    fn finish_oldest(&mut self) -> Result<Option<Source>, TransmitError> {
        let Some((slot, oldest)) = self.out.oldest() else {
            return Ok(None);
        };
        self.life.check::<TransmitError>()?;
        let since = oldest.since;
        let status = self.chip.slot_status(slot);
        let outcome = outcome(status);
        match outcome {
            Outcome::Sent => {}
            Outcome::Pending | Outcome::Failed(TxFailure::Aborted)
                if self.may_wait(since, outcome) =>
            {
                return Ok(None);
            }
            outcome => return Err(self.give_up(since, outcome, status)),
        }
        self.counters.tx_frames += 1;
        self.retried = false;
        Ok(self.out.finish()?)
    }
}

impl<R: Registers> Rtl8139<'_, R> {
    /// Whether the oldest frame may still leave. An aborted one is tried once more; its status does not tell whether it
    /// was aborted again or is being sent.
    fn may_wait(&mut self, since: Instant, outcome: Outcome) -> bool {
        let now = self.chip.clock.now();
        if outcome == Outcome::Pending || self.retried {
            return now.since(since) < SEND_LIMIT;
        }
        if let Some((_, oldest)) = self.out.oldest() {
            oldest.since = now;
        }
        self.retried = true;
        self.counters.tx_retries += 1;
        self.chip.clear_abort(self.loopback);
        true
    }

    /// Resets a device that holds on to a frame.
    fn give_up(&mut self, since: Instant, outcome: Outcome, status: u32) -> TransmitError {
        let after = self.chip.clock.now().since(since);
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

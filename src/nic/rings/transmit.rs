//! Frames into the transmit ring, a descriptor each.

use super::{
    super::{
        error::TransmitError,
        sending::{Outgoing, Refused, Sender},
    },
    Card,
    chip::Progress,
    receive::PRESENCE,
};
use crate::{
    arch::time::{Instant, TimedOut},
    device::{Ended, Sent, life::Life},
    dma::Source,
};
use core::time::Duration;

/// How long a frame may take to leave, with a ring of others before it and the link paused for some of that time.
const SEND_LIMIT: Duration = Duration::from_millis(500);

impl<'m> Sender<'m> for Card<'m> {
    fn outgoing(&mut self) -> &mut Outgoing<'m> {
        &mut self.out
    }

    fn life(&self) -> &Life {
        &self.life
    }

    /// From the doorbell on the device reads the frame.
    fn give(&mut self, frame: Source) -> Result<Sent, Refused> {
        let (Some(memory), Some(index)) = (&mut self.memory, self.out.free()) else {
            return Err((Ended.into(), frame));
        };
        let books = (&mut self.ranges, &mut self.counters);
        let (record, len) = self.out.lend(frame, self.clock.now(), books)?;
        memory.send(index, self.chip.transmit_descriptor(record.dma, len));
        self.chip.set_transmit_tail(self.out.tail());
        Ok(record)
    }

    fn finish_oldest(&mut self) -> Result<Option<Source>, TransmitError> {
        let (Some((index, oldest)), Some(memory)) = (self.out.oldest(), &mut self.memory) else {
            return Ok(None);
        };
        self.life.check::<TransmitError>()?;
        let since = oldest.since;
        let progress = self.chip.progress(memory.sent(index));
        if progress == Progress::Pending {
            return self.why_stuck(since).map_or(Ok(None), |error| Err(self.give_up(error)));
        }
        let frame = self.out.finish()?;
        if let Progress::Failed { failure, status } = progress {
            self.counters.tx_dropped += 1;
            self.out.keep(frame);
            return Err(TransmitError::Failed { failure, status });
        }
        self.counters.tx_frames += 1;
        Ok(frame)
    }
}

impl Card<'_> {
    /// Why the oldest frame will not leave any more. A device that takes its time is asked how it is.
    fn why_stuck(&self, since: Instant) -> Option<TransmitError> {
        let after = self.clock.now().since(since);
        if after < PRESENCE {
            return None;
        }
        let stuck = TransmitError::Stuck(TimedOut { what: "the device to send a frame", after });
        match self.chip.needs_reset() {
            Ok(true) => Some(TransmitError::Broken),
            Ok(false) if after < SEND_LIMIT => None,
            _ => Some(stuck),
        }
    }

    /// Resets a device that holds on to a frame.
    fn give_up(&mut self, error: TransmitError) -> TransmitError {
        self.counters.resets += 1;
        self.restart().map_or_else(TransmitError::Lost, |()| error)
    }
}

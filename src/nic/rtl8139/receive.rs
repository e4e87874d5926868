//! Frames out of the receive ring.
//!
//! Where the device has nothing to say yet the ring is filled ([`crate::dma::Mapping::rearm`]), so that a frame which
//! is reported and was not written is told from one that was: no byte of an earlier frame passes for one of a later.

use super::{
    super::error::{ReceiveError, RingError},
    Rtl8139,
    ring::{CRC, HEADER, Next, RxRing},
};
use crate::{arch::wait::Deadline, device::Registers};
use alloc::vec::Vec;
use core::{hint, time::Duration};

/// How long the rest of a frame may take once its start is there: some ten frame times at 10 Mbit/s.
const FRAME_LIMIT: Duration = Duration::from_millis(12);

impl<R: Registers> Rtl8139<'_, R> {
    pub(super) fn next_frame(
        &mut self,
        frame: &mut Vec<u8>,
    ) -> Result<Option<usize>, ReceiveError> {
        self.life.check::<ReceiveError>()?;
        match self.look() {
            Ok(Some((offset, len))) => {
                self.copy_out(offset, len, frame);
                Ok(Some(len))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(self.recover(error)),
        }
    }

    /// Where the next frame lies in the buffer. Asks the device only once all it wrote before is read.
    fn look(&mut self) -> Result<Option<(usize, usize)>, RingError> {
        if self.ring.is_empty() {
            self.ring.set_written(self.chip.written())?;
            if self.ring.is_empty() {
                return Ok(None);
            }
        }
        match self.judge()? {
            Next::Frame { offset, len } => Ok(Some((offset, len))),
            Next::Unfinished(error) => self.look_again(error),
        }
    }

    /// Waits a little for the rest of a frame.
    fn look_again(
        &mut self,
        mut unfinished: RingError,
    ) -> Result<Option<(usize, usize)>, RingError> {
        let whole = Deadline::new(self.chip.clock, FRAME_LIMIT).turns(|_| {
            self.ring.set_written(self.chip.written())?;
            match self.judge()? {
                Next::Frame { offset, len } => return Ok(Some((offset, len))),
                Next::Unfinished(error) => unfinished = error,
            }
            hint::spin_loop();
            Ok(None)
        })?;
        whole.map(Some).ok_or(unfinished)
    }

    fn judge(&self) -> Result<Next, RingError> {
        let mut header = [0; HEADER];
        if let Some(buffer) = &self.buffer {
            buffer.read(self.ring.header_at(), &mut header);
        }
        let next = self.ring.next(header)?;
        if let (Next::Frame { offset, len }, Some(buffer)) = (next, &self.buffer) {
            let frame = offset - HEADER..offset + len + CRC;
            let (length, offset) = (len + CRC, frame.start);
            let written = buffer.check_written(frame);
            written.map_err(|_| RingError::Unwritten { length, offset })?;
        }
        Ok(next)
    }

    fn copy_out(&mut self, offset: usize, len: usize, frame: &mut Vec<u8>) {
        if frame.len() < len {
            frame.resize(len.max(super::super::FRAME_MAX), 0);
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.read(offset, &mut frame[..len]);
            self.counters.rx_bounced += u64::from(buffer.bounced());
            buffer.rearm(offset - HEADER..offset + len + CRC);
        }
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += len as u64;
        self.ring.advance(len);
        if let Some(capr) = self.ring.report() {
            self.chip.report_read(capr);
        }
    }

    /// Starts the ring anew: after something impossible no position in it means anything.
    fn recover(&mut self, ring: RingError) -> ReceiveError {
        self.ring = RxRing::EMPTY;
        self.counters.resets += 1;
        self.restart().map_or_else(ReceiveError::Lost, |()| ReceiveError::Ring(ring))
    }
}

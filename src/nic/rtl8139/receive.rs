//! Frames out of the receive ring.
//!
//! Wherever the device has nothing to say yet the ring holds [`FILL`], so that a frame which is reported and was not
//! written is told from one that was: no byte of an earlier frame passes for one of a later. It costs one more copy
//! of each frame received.

use super::{
    super::{
        error::{ReceiveError, RingError},
        mmio::Registers,
    },
    Life, Rtl8139,
    ring::{BUFFER, CRC, HEADER, Next, RxRing},
};
use alloc::{vec, vec::Vec};
use core::time::Duration;

/// How long the rest of a frame may take once its start is there: some ten frame times at 10 Mbit/s.
const FRAME_LIMIT: Duration = Duration::from_millis(12);

/// Four bytes, over and over, that are no header of a frame.
const WORD: [u8; 4] = [0x6e, 0xd1, 0x9b, 0xe4];
/// What the ring is filled with, from multiples of four on; more than one frame takes.
pub(super) static FILL: [u8; 2048] = {
    let mut fill = [0; 2048];
    let mut at = 0;
    while at < fill.len() {
        fill[at] = WORD[at % WORD.len()];
        at += 1;
    }
    fill
};

impl<R: Registers> Rtl8139<'_, R> {
    pub(super) fn next_frame(
        &mut self,
        frame: &mut Vec<u8>,
    ) -> Result<Option<usize>, ReceiveError> {
        match self.life {
            Life::Running => {}
            Life::Lost(error) => return Err(ReceiveError::Lost(error)),
            Life::Ended => return Err(ReceiveError::Stopped),
        }
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
            Next::Unfinished(_) => self.look_again(),
        }
    }

    /// Fills the whole ring.
    pub(super) fn fill(&mut self) {
        if let Some(buffer) = &mut self.buffer {
            for at in (0..BUFFER).step_by(FILL.len()) {
                buffer.write(at, &FILL[..FILL.len().min(BUFFER - at)]);
            }
        }
    }

    /// Whether the device wrote a frame of `len` bytes at `offset` to its end, which is its checksum.
    fn is_written(&self, offset: usize, len: usize) -> bool {
        let Some(buffer) = &self.buffer else { return false };
        let mut sum = [0; CRC];
        buffer.read(offset + len, &mut sum);
        let phase = (offset + len) % WORD.len();
        if sum != FILL[phase..][..CRC] {
            return true;
        }
        // One frame in four thousand million has these four bytes for its checksum.
        let mut frame = vec![0; len];
        buffer.read(offset, &mut frame);
        crc32fast::hash(&frame).to_le_bytes() == sum
    }

    /// Waits a little for the rest of a frame.
    #[cold]
    fn look_again(&mut self) -> Result<Option<(usize, usize)>, RingError> {
        let start = self.chip.now();
        loop {
            self.ring.set_written(self.chip.written())?;
            match self.judge()? {
                Next::Frame { offset, len } => return Ok(Some((offset, len))),
                Next::Unfinished(error) if self.chip.now().since(start) >= FRAME_LIMIT => {
                    return Err(error);
                }
                Next::Unfinished(_) => core::hint::spin_loop(),
            }
        }
    }

    fn judge(&self) -> Result<Next, RingError> {
        let mut header = [0; HEADER];
        if let Some(buffer) = &self.buffer {
            buffer.read(self.ring.header_at(), &mut header);
        }
        let next = self.ring.next(header);
        match next {
            Err(RingError::BadStatus { offset, .. }) if header == WORD => {
                Err(RingError::Unwritten { length: 0, offset })
            }
            Ok(Next::Frame { offset, len }) if !self.is_written(offset, len) => {
                Err(RingError::Unwritten { length: len + CRC, offset: offset - HEADER })
            }
            next => next,
        }
    }

    fn copy_out(&mut self, offset: usize, len: usize, frame: &mut Vec<u8>) {
        if frame.len() < len {
            frame.resize(len.max(super::super::FRAME_MAX), 0);
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.read(offset, &mut frame[..len]);
            self.counters.rx_bounced += u64::from(buffer.bounced());
            // Before the device is told that there is room.
            let taken = (HEADER + len + CRC).next_multiple_of(WORD.len());
            buffer.write(offset - HEADER, &FILL[..taken]);
        }
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += len as u64;
        self.ring.advance(len);
        if let Some(capr) = self.ring.report() {
            self.chip.report_read(capr);
        }
    }

    /// Starts the ring anew: after something impossible no position in it means anything.
    #[cold]
    fn recover(&mut self, ring: RingError) -> ReceiveError {
        self.ring = RxRing::EMPTY;
        self.counters.resets += 1;
        self.restart().map_or_else(ReceiveError::Lost, |()| ReceiveError::Ring(ring))
    }
}

//! Frames out of the receive ring.
//!
//! A buffer is filled before the device gets it ([`crate::dma::Mapping::rearm`]), so that a frame which is reported
//! and was not written is told from one that was, wherever the buffer is bounced.

use super::{
    super::{
        FRAME_MAX,
        error::{ReceiveError, RingError},
    },
    Card,
    chip::{DESCRIPTOR, RECEIVE, Received},
};
use crate::device::ResetError;
use alloc::vec::Vec;
use core::time::Duration;

/// Bytes of a VLAN tag, with which a frame may be longer than [`FRAME_MAX`].
const TAG: usize = 4;
/// The longest frame, without checksum.
const LONGEST: usize = FRAME_MAX + TAG;
/// After how many frames the device is told of the buffers that are free again: each time is an exit to an emulator.
const REPORT: usize = RECEIVE / 4;
/// How often a device that has nothing to say is asked whether it is still there.
pub(super) const PRESENCE: Duration = Duration::from_millis(1);

impl Card<'_> {
    pub(super) fn next_frame(
        &mut self,
        frame: &mut Vec<u8>,
    ) -> Result<Option<usize>, ReceiveError> {
        self.life.check::<ReceiveError>()?;
        match self.look() {
            Ok(Some((index, len))) => {
                self.copy_out(index, len, frame);
                Ok(Some(len))
            }
            Ok(None) => match self.ask_presence() {
                Ok(false) => Ok(None),
                Ok(true) => Err(self.recover(ReceiveError::Broken)),
                Err(error) => Err(self.life.lose(error).into()),
            },
            Err(error) => Err(self.recover(error.into())),
        }
    }

    /// The descriptor and length of the next frame.
    fn look(&mut self) -> Result<Option<(usize, usize)>, RingError> {
        let (Some(index), Some(memory)) = (self.rx.oldest(), &mut self.memory) else {
            return Ok(None);
        };
        let Some(received) = self.chip.received(memory.received(index)) else {
            return Ok(None);
        };
        let (Received { length, status, good }, offset) = (received, index * DESCRIPTOR);
        if !good {
            return Err(RingError::BadStatus { status, offset });
        }
        let (min, max) = (self.chip.shortest(), LONGEST);
        if length < min || length > max {
            return Err(RingError::BadLength { length, offset, min, max });
        }
        let header = memory.header();
        let written = memory.buffer(index).check_written(header..header + length);
        written.map_err(|_| RingError::Unwritten { length, offset })?;
        Ok(Some((index, length)))
    }

    fn copy_out(&mut self, index: usize, len: usize, frame: &mut Vec<u8>) {
        if frame.len() < len {
            frame.resize(len.max(FRAME_MAX), 0);
        }
        if let Some(memory) = &mut self.memory {
            let header = memory.header();
            let buffer = memory.buffer(index);
            buffer.read(header, &mut frame[..len]);
            self.counters.rx_bounced += u64::from(buffer.bounced());
            buffer.rearm(0..header + len);
        }
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += len as u64;
        self.rx.give();
        self.offer_buffers();
        self.unreported += 1;
        if self.unreported >= REPORT {
            self.report_buffers();
        }
    }

    /// Gives the device every buffer that it may have, once it is told the tail.
    pub(super) fn offer_buffers(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        while let Some(index) = self.rx.free() {
            memory.offer(&*self.chip, index);
            self.rx.take();
        }
    }

    /// Tells the device which buffers it has.
    pub(super) fn report_buffers(&mut self) {
        self.unreported = 0;
        self.chip.set_receive_tail(self.rx.tail());
    }

    /// Asks now and then, and where it said so, whether the device still answers and does not need a reset: what it writes
    /// to memory does not tell.
    fn ask_presence(&mut self) -> Result<bool, ResetError> {
        let now = self.clock.now();
        if now.since(self.asked) < PRESENCE && !self.may_be_broken {
            return Ok(false);
        }
        (self.asked, self.may_be_broken) = (now, false);
        self.chip.needs_reset()
    }

    /// Starts both rings anew: after something impossible nothing in them means anything.
    fn recover(&mut self, error: ReceiveError) -> ReceiveError {
        self.counters.resets += 1;
        self.restart().map_or_else(ReceiveError::Lost, |()| error)
    }
}

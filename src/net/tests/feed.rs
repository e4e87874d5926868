//! A card without a chip: the frames it receives come from a list, as often as they are asked for.

use super::{Duration, Instant, MAC, TickingClock, Wait};
use crate::{
    device::{Cause, DmaRange, Driver, Ended, QuiesceError, Sent, StartError, Traffic},
    dma::{DeviceStopped, FinishError, Source},
    nic::{Counters, Nic, ReceiveError, TransmitError, Unsent},
};
use alloc::{collections::VecDeque, string::String, vec::Vec};

/// What one look at the card takes.
pub(super) const LOOK: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Feed<'a> {
    clock: &'a TickingClock,
    frames: VecDeque<Vec<u8>>,
    /// Whether a frame that was received comes again.
    endless: bool,
    sent: VecDeque<Vec<u8>>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(clock: &'a TickingClock, frames: Vec<Vec<u8>>, endless: bool) -> Self {
        Self { clock, frames: frames.into(), endless, sent: VecDeque::new() }
    }
}

impl Driver for Feed<'_> {
    fn name(&self) -> &'static str {
        "feed"
    }

    fn label(&self) -> String {
        String::new()
    }

    fn acknowledge(&mut self) -> Cause {
        Cause::empty()
    }

    fn enable_interrupts(&mut self, _: Cause) {}

    fn traffic(&self) -> Traffic {
        self.counters().traffic()
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        &[]
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        Ok(())
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        Ok(())
    }

    fn take_back(&mut self, _: &DeviceStopped) -> Result<(), FinishError> {
        Ok(())
    }
}

impl Nic for Feed<'_> {
    fn mac(&self) -> [u8; 6] {
        MAC
    }

    fn link_up(&self) -> bool {
        true
    }

    fn set_loopback(&mut self, _: bool) -> Result<(), StartError> {
        Ok(())
    }

    fn transmit(&mut self, frame: Vec<u8>) -> Result<(), Unsent> {
        self.sent.push_back(frame);
        Ok(())
    }

    fn transmit_in_place(&mut self, _: Source) -> Result<(Sent, Source), TransmitError> {
        // The stack sends from buffers.
        Err(Ended.into())
    }

    fn reclaim(&mut self) -> Result<Option<Vec<u8>>, TransmitError> {
        Ok(self.sent.pop_front())
    }

    fn has_room(&self) -> bool {
        self.sent.len() < 4
    }

    fn in_flight(&self) -> usize {
        self.sent.len()
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> Result<Option<usize>, ReceiveError> {
        self.clock.advance(LOOK);
        let Some(next) = self.frames.pop_front() else {
            return Ok(None);
        };
        frame.resize(frame.len().max(next.len()), 0);
        frame[..next.len()].copy_from_slice(&next);
        let len = next.len();
        if self.endless {
            self.frames.push_back(next);
        }
        Ok(Some(len))
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn last_tx(&self) -> Option<Sent> {
        None
    }
}

/// Sleeps to the end at once.
#[derive(Debug)]
pub(super) struct Sleep<'a>(pub(super) &'a TickingClock);

impl Wait for Sleep<'_> {
    fn wait(&mut self, deadline: Instant) {
        self.0.advance_to(deadline);
    }

    fn handled(&mut self) {}
}

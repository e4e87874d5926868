//! When the controller interrupts, and how what came is acknowledged.
//!
//! Of a line and of MSI the controller has a mask (INTMS). With MSI-X that may not be touched (NVM Express Base
//! Specification 2.0, section 3.1.3.3), and the mask in the table is Xen's: there the driver plays one. While it is masked
//! commands go to the queue that never interrupts, and for what was held back the controller is given a command of the
//! admin queue, which always does, once it may interrupt again.

use super::{
    Interrupts, Nvme,
    command::Command,
    error::NvmeError,
    queue::{ADMIN, INTERRUPTING, POLLED},
};
use crate::{
    device::{Cause, Ended, Registers},
    pci::Delivery,
};

impl<R: Registers> Nvme<'_, R> {
    fn has_mask(&self) -> bool {
        self.delivery != Delivery::Msix
    }

    /// Whether nothing may interrupt, and the controller has no mask to see to it.
    fn plays_masked(&self) -> bool {
        !self.has_mask() && !self.unmasked
    }

    /// The queue for what is not waited for.
    pub(super) fn queue_for_arriving(&self) -> usize {
        if self.plays_masked() { POLLED } else { INTERRUPTING }
    }

    /// Sets the controller's own mask, if there is one.
    pub(super) fn apply_mask(&self, unmasked: bool) {
        match (self.has_mask(), unmasked) {
            (true, true) => self.controller.unmask(),
            (true, false) => self.controller.mask(),
            (false, _) => {}
        }
    }

    /// Masked or unmasked from when this returns.
    pub(super) fn set_mask(&mut self) -> Result<(), NvmeError> {
        self.apply_mask(self.unmasked);
        if !self.plays_masked() {
            return self.ring();
        }
        // Before masking, wait for the command whose completion would still send a message.
        if self.interrupts.ringing {
            self.wait_for(ADMIN)?;
            (self.interrupts.ringing, self.interrupts.held_back) = (false, true);
        }
        if self.arriving.is_some() && self.inbound == INTERRUPTING && self.done.is_none() {
            self.done = Some(self.completed(INTERRUPTING)?);
            self.interrupts.held_back = true;
        }
        self.interrupts.held_back |= self.take();
        Ok(())
    }

    /// Has the controller interrupt for what was held back, if it may.
    pub(super) fn ring(&mut self) -> Result<(), NvmeError> {
        let Interrupts { held_back, ringing, .. } = self.interrupts;
        if held_back && !ringing && self.unmasked && !self.has_mask() {
            self.submit(ADMIN, &Command::get_number_of_queues())?;
            (self.interrupts.held_back, self.interrupts.ringing) = (false, true);
        }
        Ok(())
    }

    /// Has the controller know of the completion that was seen; whether there was one.
    pub(super) fn take(&mut self) -> bool {
        let untaken = core::mem::take(&mut self.interrupts.untaken);
        if untaken {
            let queue = &self.queues[INTERRUPTING];
            self.controller.taken(queue.id, queue.head());
        }
        untaken
    }

    /// Looks once whether the command under way was completed.
    pub(super) fn look(&mut self) -> Result<(), NvmeError> {
        let Some(memory) = self.shared.as_deref() else {
            return Err(Ended.into());
        };
        let queue = &mut self.queues[self.inbound];
        let polled = queue.poll(memory);
        let (id, head) = (queue.id, queue.head());
        let found = self.settle(polled)?;
        if found.is_none() {
            let checked = self.controller.check();
            return self.settle(checked);
        }
        self.done = found;
        if self.inbound == INTERRUPTING {
            self.interrupts.untaken = true;
        } else {
            self.controller.taken(id, head);
            self.interrupts.held_back = true;
        }
        Ok(())
    }

    /// Takes what was completed, of which the controller is told: it lets go of its line.
    pub(super) fn take_completions(&mut self) -> Cause {
        if !self.life.is_running() {
            return self.cause_of(self.controller.check());
        }
        let looked = self.look().and_then(|()| self.answered());
        let cause = self.cause_of(looked);
        self.failed = self.failed.or(looked.err());
        let held_back = core::mem::take(&mut self.interrupts.held_back);
        if !self.take() {
            return if held_back { cause | Cause::RECEIVED } else { cause };
        }
        // Read back: the line is let go of before Xen is told that it is.
        let arrived = self.controller.check();
        cause | Cause::RECEIVED | self.cause_of(arrived)
    }

    /// Looks once for the completion of the command that was to interrupt.
    fn answered(&mut self) -> Result<(), NvmeError> {
        let (true, Some(memory)) = (self.interrupts.ringing, self.shared.as_deref()) else {
            return Ok(());
        };
        let polled = self.queues[ADMIN].poll(memory);
        if self.settle(polled)?.is_some() {
            self.controller.taken(self.queues[ADMIN].id, self.queues[ADMIN].head());
            (self.interrupts.ringing, self.interrupts.held_back) = (false, true);
        }
        Ok(())
    }

    const fn cause_of(&self, checked: Result<(), NvmeError>) -> Cause {
        match checked {
            Ok(()) => Cause::empty(),
            Err(NvmeError::Lost(_)) => Cause::GONE,
            Err(_) => Cause::ERROR,
        }
    }
}

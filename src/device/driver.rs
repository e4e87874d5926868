//! What every driver owes, whatever its device is for.

use super::{
    cause::Cause,
    error::{QuiesceError, ResetError, StartError},
    evidence::DmaRange,
};
use crate::{
    dma::{self, DeviceStopped, FinishError, Limits},
    pci::Delivery,
};
use alloc::string::String;
use core::fmt;

/// A device with its driver running. Dropping it stops the device; memory of a device that does not stop is kept for
/// good.
pub trait Driver: fmt::Debug {
    /// The chip.
    fn name(&self) -> &'static str;

    /// What tells this device from others of its kind, such as an address of its own.
    fn label(&self) -> String;

    /// The ways of interrupting that the driver knows to set up, the best first.
    fn deliveries(&self) -> &'static [Delivery] {
        &[Delivery::Intx]
    }

    /// Interrupts come this way from now on, as the host has just set up. Meanwhile none is enabled.
    ///
    /// For what the device itself has to be told, such as the vector of a queue. Of one that refuses no interrupt comes
    /// before it was told of another way.
    fn deliver(&mut self, _how: Delivery) -> Result<(), ResetError> {
        Ok(())
    }

    /// Takes the causes of the interrupt from the device, which then stops asserting it.
    fn acknowledge(&mut self) -> Cause;

    /// Lets exactly these causes interrupt.
    fn enable_interrupts(&mut self, causes: Cause);

    /// Whether what comes while its cause is disabled interrupts once it is enabled. Of a device that looks whether it may
    /// interrupt only when something comes, the next one does.
    fn holds_back(&self) -> bool {
        true
    }

    /// What was counted since the driver started.
    fn traffic(&self) -> Traffic;

    /// Every range the device was ever given, page by page, neighbours joined: what an independent
    /// witness of its addresses is to be compared with.
    fn dma_ranges(&self) -> &[DmaRange];

    /// Whether the guard bytes around memory the device writes to still hold.
    fn check_guards(&self) -> Result<(), FinishError>;

    /// Stops the device for good and takes all memory back: the pool's slots in use are what they were
    /// before the driver started.
    ///
    /// Everything after this but the counters and evidence finds a device without memory. One that is not seen to
    /// stop keeps its memory until [`Driver::take_back`].
    fn quiesce(&mut self) -> Result<(), QuiesceError>;

    /// Takes all memory back from a device that was stopped by other means, such as its bus mastering.
    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError>;
}

/// A device that was seen to stop and was given no memory yet.
pub trait Idle<'m>: fmt::Debug {
    /// Its driver, running.
    type Running: Driver + 'm;

    /// What the device demands of addresses, by its registers where it says so itself.
    fn limits(&self) -> Limits;

    /// The proof that the device was seen to stop.
    fn stopped(&self) -> &DeviceStopped;

    /// Gives the device memory and starts it; no interrupt is enabled yet. Bus mastering must be on
    /// ([`crate::pci::Decoding::allow_dma`]), and `dma` made with [`Idle::limits`], or narrower ones.
    fn start(self, dma: dma::Device<'m>) -> Result<Self::Running, StartError>;
}

/// What went through a device since its driver started, in transfers: frames of a network card, commands of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Those whose bytes the device reported to have read.
    pub sent: u64,
    /// Of those the ones that went through the bounce pool.
    pub sent_bounced: u64,
    /// Those whose bytes the device reported to have written.
    pub received: u64,
    /// Those that were lost either way, by the driver's count or the device's.
    pub lost: u64,
    /// Times the device was reset in order to go on after an error.
    pub resets: u64,
}

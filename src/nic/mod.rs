//! Network cards: what the suites and the IP stack see of one, and the drivers behind it.
//!
//! ```text
//! Nic (trait)          frames in, frames out, interrupt causes, evidence: what was mapped, what bounced
//!   rtl8139            regs (datasheet names) - ring (pure logic) - mod (order of operations)
//! table                vendor and device numbers -> driver
//! mmio::Registers      how a driver reaches its device: a mapped BAR, or a fake that plays the device
//! evidence             every address a device was given
//! ```
//!
//! A driver maps every frame through [`crate::dma`] and lends the mapping to its device
//! ([`crate::dma::Lent`]): it comes back when the device reports to be through with it, or once the whole device
//! was seen to stop. Nothing a device writes is believed: lengths and positions are checked before use, and what is
//! wrong is an error with the value.
//!
//! A device's life: [`DriverKind::reset`] stops it, whatever it was left doing; then its bus mastering can be turned
//! on; [`Idle::start`] gives it memory; [`Nic::quiesce`] stops it and takes the memory back.

pub mod cause;
pub mod error;
pub mod evidence;
#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod mmio;
pub mod rtl8139;
pub mod table;

pub use cause::{Cause, Counters};
pub use error::{
    ReceiveError, ResetError, RingError, StartError, TransmitError, TxFailure, Unsent,
};
pub use evidence::{DmaRange, TxRecord, Via};
pub use table::{DriverKind, Idle, driver_for};

use crate::dma::{DeviceStopped, FinishError, OwnedSlice};
use alloc::vec::Vec;
use core::fmt;

/// The shortest frame on the wire, without its checksum; a driver pads shorter ones with zeros.
pub const FRAME_MIN: usize = 60;
/// The longest frame, without its checksum: header and 1500 bytes.
pub const FRAME_MAX: usize = 1514;
/// Destination, source and type.
pub const HEADER: usize = 14;

/// One network card, started. Dropping it stops the device; memory of a device that does not stop is kept for good.
pub trait Nic: fmt::Debug {
    /// The chip.
    fn name(&self) -> &'static str;

    /// The card's own address.
    fn mac(&self) -> [u8; 6];

    /// Whether a cable with something at the other end is plugged in.
    fn link_up(&self) -> bool;

    /// Sends what is transmitted back to the receiver inside the card, or to the wire again.
    ///
    /// In loopback frames for any address are received, and frames from the wire may still turn up among
    /// them. The device is reset on the way: frames in flight or not yet received are dropped.
    fn set_loopback(&mut self, on: bool) -> Result<(), StartError>;

    /// Gives `frame` to the device; [`Nic::reclaim`] returns it once it is sent.
    ///
    /// Fails with [`TransmitError::Full`] while the device has all the frames it can hold, and with what became of
    /// an earlier frame if that is why there is no room.
    fn transmit(&mut self, frame: Vec<u8>) -> Result<(), Unsent>;

    /// Sends a frame from right where it lies, and returns it once the device has let go of it.
    ///
    /// For buffers at places that matter. At least [`FRAME_MIN`] bytes, since there is no room to pad. After an
    /// error the memory is free again, or stays with a device that was not seen to stop.
    fn transmit_in_place(
        &mut self,
        frame: OwnedSlice,
    ) -> Result<(TxRecord, OwnedSlice), TransmitError>;

    /// The oldest frame the device is done with; `None` if it is still at it, or has none.
    ///
    /// A frame that was not sent is an error, and its buffer is gone; so is one that the device has held for too
    /// long, for which it is reset.
    fn reclaim(&mut self) -> Result<Option<Vec<u8>>, TransmitError>;

    /// Whether [`Nic::transmit`] would take a frame now.
    fn has_room(&self) -> bool;

    /// How many frames the device has or had since they were last reclaimed.
    fn in_flight(&self) -> usize;

    /// The next received frame, without its checksum: the first `n` bytes of `frame`, which grows to hold
    /// it and never shrinks. `None` when there is none.
    ///
    /// After an error the receiver was reset and goes on with whatever comes next.
    fn receive(&mut self, frame: &mut Vec<u8>) -> Result<Option<usize>, ReceiveError>;

    /// Takes the causes of the interrupt from the device, which then stops asserting it.
    fn acknowledge(&mut self) -> Cause;

    /// Lets exactly these causes interrupt.
    fn enable_interrupts(&mut self, causes: Cause);

    /// What was counted since the driver started.
    fn counters(&self) -> Counters;

    /// Every range the device was ever given, page by page, neighbours joined: what an independent
    /// witness of its addresses is to be compared with.
    fn dma_ranges(&self) -> &[DmaRange];

    /// The way of the frame last given to the device.
    fn last_tx(&self) -> Option<TxRecord>;

    /// Whether the guard bytes around memory the device writes to still hold.
    fn check_guards(&self) -> Result<(), FinishError>;

    /// Stops the device for good and takes all memory back: the pool's slots in use are what they were
    /// before the driver started.
    ///
    /// Everything after this but the counters and evidence finds a card without memory. A device that is not seen to
    /// stop keeps its memory until [`Nic::take_back`].
    fn quiesce(&mut self) -> Result<(), QuiesceError>;

    /// Takes all memory back from a device that was stopped by other means, such as its bus mastering.
    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError>;
}

/// What was wrong when a card was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuiesceError {
    /// It was not seen to stop. Its memory was not taken back, since it may still write there.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// It wrote where it should not have. Its memory was taken back.
    #[error(transparent)]
    Finish(#[from] FinishError),
}

impl QuiesceError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Reset(error) => error.code(),
            Self::Finish(error) => error.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Reset(error) => error.remedy(),
            Self::Finish(error) => error.remedy(),
        }
    }
}

//! Network cards: what the suites and the IP stack see of one, and the drivers behind it.
//!
//! ```text
//! Nic (trait)          frames in and out, over [`crate::device::Driver`]
//!   rtl8139            regs (datasheet names) - ring (pure logic) - mod (order of operations)
//!   rings              cards with a ring of descriptors each way; what a family has of its own is a Chip (trait)
//!     intel            what Intel's gigabit chips have in common; a family is a Family (trait)
//!       e1000, igb     regs (datasheet names) - descriptor - chip
//!     cplus            the same, on what its chips kept of the RTL8139
//!     pcnet, virtio    the same
//! sending              what every card does with frames on their way out
//! Loopback             a card as a [`crate::device::Mover`]: what it sends it receives
//! ```

mod counters;
pub mod cplus;
pub mod e1000;
pub mod error;
#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod igb;
mod intel;
mod loopback;
pub mod pcnet;
pub mod rings;
pub mod rtl8139;
mod sending;
pub mod virtio;

pub use counters::Counters;
pub use error::{ReceiveError, RingError, TransmitError, TxFailure, Unsent};
pub use loopback::Loopback;
pub use protocol::EXPERIMENTAL;

use crate::{
    device::{Driver, Sent, StartError},
    dma::Source,
};
use alloc::vec::Vec;

/// The shortest frame on the wire, without its checksum; a driver pads shorter ones with zeros.
pub const FRAME_MIN: usize = 60;
/// The longest frame, without its checksum: header and 1500 bytes.
pub const FRAME_MAX: usize = 1514;
/// Destination, source and type.
pub const HEADER: usize = 14;

/// Who sends frames back to a card in loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// The card itself.
    Card,
    /// Somebody on the wire, since the card can't: a plug that loops, or a peer that sends back what is
    /// [`EXPERIMENTAL`].
    Wire {
        /// Whether a frame came back since loopback was last turned on.
        seen: bool,
    },
}

/// One network card, started.
pub trait Nic: Driver {
    /// The card's own address.
    fn mac(&self) -> [u8; 6];

    /// Whether a cable with something at the other end is plugged in.
    fn link_up(&self) -> bool;

    /// Sends what is transmitted back to the receiver inside the card, or to the wire again.
    ///
    /// In loopback frames for any address are received, and frames from the wire may still turn up among
    /// them. The device is reset on the way: frames in flight or not yet received are dropped.
    fn set_loopback(&mut self, on: bool) -> Result<(), StartError>;

    /// Who sends frames back in loopback.
    fn mirror(&self) -> Mirror {
        Mirror::Card
    }

    /// Gives `frame` to the device; [`Nic::reclaim`] returns it once it is sent.
    ///
    /// Fails with [`TransmitError::Full`] while the device has all the frames it can hold, and with what became of
    /// an earlier frame if that is why there is no room.
    fn transmit(&mut self, frame: Vec<u8>) -> Result<(), Unsent>;

    /// Sends a frame from right where it lies, and returns it once the device has let go of it.
    ///
    /// For buffers at places that matter. At least [`FRAME_MIN`] bytes, since there is no room to pad. After an
    /// error the memory is free again, or stays with a device that was not seen to stop.
    fn transmit_in_place(&mut self, frame: Source) -> Result<(Sent, Source), TransmitError>;

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

    /// What was counted since the driver started.
    fn counters(&self) -> Counters;

    /// The way of the frame last given to the device.
    fn last_tx(&self) -> Option<Sent>;
}

//! What a family of chips has of its own: which register when, and what its descriptors look like.

use crate::{
    addr::BusAddr,
    device::{Cause, ResetError},
    dma::{DeviceStopped, Limits},
    nic::{FRAME_MIN, TxFailure},
    pci::Delivery,
};
use core::fmt;

/// Descriptors in the receive ring.
pub const RECEIVE: usize = 64;
/// Descriptors in the transmit ring.
pub const TRANSMIT: usize = 32;
/// Bytes in a descriptor.
pub const DESCRIPTOR: usize = 16;
/// Bytes in a receive buffer.
pub const BUFFER: usize = 2048;

/// A descriptor's two words, the one at the lower address first.
pub type Descriptor = [u64; 2];

/// Where the rings lie, which start at multiples of 2 KiB, and what is beside them.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// What [`Chip::init_block`] says.
    pub init: BusAddr,
    /// [`RECEIVE`] descriptors.
    pub receive: BusAddr,
    /// [`TRANSMIT`] descriptors.
    pub transmit: BusAddr,
}

/// What a descriptor says of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length without checksum, in bytes.
    pub length: usize,
    /// Status and errors, as the family has them.
    pub status: u32,
    /// Whether the status is that of a whole frame in one buffer, without an error.
    pub good: bool,
}

/// What a descriptor says of a frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The device has it.
    Pending,
    /// Sent, and the device is through with its memory.
    Sent,
    /// The device is through with its memory, and gave the frame up.
    Failed {
        /// What for.
        failure: TxFailure,
        /// Status and errors, as the family has them.
        status: u32,
    },
}

/// One chip with a ring each way.
///
/// A ring's tail is the first descriptor that the device may not use yet. The device works from the oldest descriptor
/// towards the tail, and is through with each once it wrote one of its words: [`Chip::status_word`]. Some families find
/// the tail by that word, too: there a cleared descriptor is not the device's.
pub trait Chip: fmt::Debug {
    /// The chip.
    fn name(&self) -> &'static str;

    /// See [`crate::device::Driver::deliveries`].
    fn deliveries(&self) -> &'static [Delivery];

    /// See [`crate::device::Driver::deliver`]; holds for what is enabled after it, also across resets.
    fn deliver(&mut self, _how: Delivery) -> Result<(), ResetError> {
        Ok(())
    }

    /// What it demands of addresses.
    fn limits(&self) -> Limits;

    /// Masks all interrupts, stops both directions and forgets all positions.
    fn reset(&self) -> Result<DeviceStopped, ResetError>;

    /// What the chip reads as it is started, at [`Places::init`], if it reads anything.
    fn init_block(&self, _: Places, _loopback: bool) -> Option<[u64; 4]> {
        None
    }

    /// Starts both directions after a reset. Descriptors to receive into are in their ring, and their tail is told after
    /// this. No interrupt is enabled.
    ///
    /// In `loopback` what is sent is received, whatever its address.
    fn start(
        &self,
        stopped: DeviceStopped,
        rings: Places,
        loopback: bool,
    ) -> Result<(), ResetError>;

    /// Whether anybody answers; every write before this has arrived.
    fn check_there(&self) -> Result<(), ResetError>;

    /// [`Chip::check_there`], and whether the device says that it came to an error which only a reset ends.
    fn needs_reset(&self) -> Result<bool, ResetError> {
        self.check_there().map(|()| false)
    }

    /// Whether there is a link; not if nobody answers.
    fn link_up(&self) -> bool;

    /// Tells the receive ring's tail.
    fn set_receive_tail(&self, tail: u32);

    /// Tells the transmit ring's tail: the doorbell.
    fn set_transmit_tail(&self, tail: u32);

    /// Frames lost since last asked, for want of room.
    fn take_missed(&mut self) -> u64;

    /// See [`crate::device::Driver::acknowledge`].
    fn acknowledge(&self) -> Cause;

    /// See [`crate::device::Driver::enable_interrupts`].
    fn enable_interrupts(&self, causes: Cause);

    /// Which of a descriptor's words the device writes when it is through with it. It is written last to the ring: the
    /// device may look from then on.
    fn status_word(&self) -> usize {
        1
    }

    /// Whether its rings are split virtqueues ([`super::split`]): [`Chip::received`] and [`Chip::progress`] then read the
    /// words that are made there of what the device lists, and frames have a header before them.
    fn is_split(&self) -> bool {
        false
    }

    /// The shortest frame that it may hand over, without checksum: what came by no wire may not have a wire's least length.
    fn shortest(&self) -> usize {
        FRAME_MIN
    }

    /// Whether it can send to itself. If not, loopback takes somebody on the wire who sends frames back.
    fn loops(&self) -> bool {
        true
    }

    /// Bits that mark a ring's last descriptor, in that word, where the chip was not told of the ring's length.
    fn end_of_ring(&self) -> u64 {
        0
    }

    /// A descriptor for [`BUFFER`] bytes at `bus`.
    fn receive_descriptor(&self, bus: BusAddr) -> Descriptor;

    /// Reads a receive descriptor's status word; `None` while the device is not through with it.
    fn received(&self, word: u64) -> Option<Received>;

    /// A descriptor for a frame of `len` bytes at `bus`.
    fn transmit_descriptor(&self, bus: BusAddr, len: u16) -> Descriptor;

    /// Reads a transmit descriptor's status word.
    fn progress(&self, word: u64) -> Progress;
}

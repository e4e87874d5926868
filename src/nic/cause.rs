//! Why a card interrupted, and what a driver counts.

use bitflags::bitflags;

bitflags! {
    /// What a card wants attention for; the same for all of them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Cause: u8 {
        /// A frame was received.
        const RECEIVED = 1;
        /// A frame was sent.
        const SENT = 1 << 1;
        /// A frame was received or sent with an error.
        const ERROR = 1 << 2;
        /// A frame was lost for want of room.
        const OVERFLOW = 1 << 3;
        /// The link came or went.
        const LINK = 1 << 4;
        /// A bus error: an address the device used was refused.
        const BUS = 1 << 5;
        /// The device does not answer any more: every bit reads as one.
        const GONE = 1 << 6;
    }
}

impl Cause {
    /// What a receiver waits for. Without [`Cause::SENT`], since sent frames are looked for when room is
    /// needed, and without [`Cause::OVERFLOW`]: what is to be done about it is receiving, and while its
    /// interrupt is disabled QEMU's RTL8139 holds frames back before the ring is full.
    pub const RECEIVER: Self = Self::RECEIVED.union(Self::ERROR).union(Self::LINK).union(Self::BUS);
}

/// Counters of one card since its driver started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames sent, as the device reported.
    pub tx_frames: u64,
    /// Bytes given to the device to send, padding included.
    pub tx_bytes: u64,
    /// Frames given to the device through the bounce pool.
    pub tx_bounced: u64,
    /// Frames given to the device where they lay.
    pub tx_direct: u64,
    /// Frames the device failed to send, or had when it was reset.
    pub tx_dropped: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, without checksums.
    pub rx_bytes: u64,
    /// Frames received through the bounce pool.
    pub rx_bounced: u64,
    /// Times a frame found no room, as the device counts. On a wire each is a frame lost; QEMU also counts
    /// those it holds back and delivers later, thousands of them in a fast download.
    pub rx_missed: u64,
    /// Frames the device aborted and was told to send once more.
    pub tx_retries: u64,
    /// Times the device was reset in order to go on after an error.
    pub resets: u64,
    /// Interrupts acknowledged that had a cause.
    pub interrupts: u64,
}

//! Why a device interrupted.

use bitflags::bitflags;

bitflags! {
    /// What a device wants attention for; the same for all of them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Cause: u8 {
        /// A frame was received, or a command is done.
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
        /// It says that it came to an error which only a reset ends.
        const BROKEN = 1 << 7;
    }
}

impl Cause {
    /// What a receiver waits for. Without [`Cause::SENT`], since sent frames are looked for when room is
    /// needed, and without [`Cause::OVERFLOW`]: what is to be done about it is receiving, and while its
    /// interrupt is disabled QEMU's RTL8139 holds frames back before the ring is full.
    pub const RECEIVER: Self = Self::RECEIVED.union(Self::ERROR).union(Self::LINK).union(Self::BUS);
}

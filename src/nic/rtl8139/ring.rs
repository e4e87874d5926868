//! The receive ring's logic, and what a transmit slot's status means, without a device.
//!
//! ```text
//! 0           read                        written           32 KiB      +16     +2 KiB
//! |· · · · · ·|status|length| frame | CRC |· · · · · · · · ·|  a frame that starts in the ring |
//!             4-byte aligned                                 runs on here (WRAP)
//! ```
//! (RTL8139C(L)+ datasheet, sections 5.6 and 6.2.) Positions and lengths come from memory and registers
//! that a device writes: each is checked before it is used.

use super::{
    super::{
        FRAME_MAX, FRAME_MIN,
        error::{RingError, TxFailure},
    },
    regs::{CAPR_LAG, RxStatus, TxStatus},
};

/// Bytes of the ring proper.
pub(super) const RING: usize = 32 << 10;
/// Bytes behind the ring for the rest of a frame that starts inside it.
const OVERHANG: usize = 16 + 2048;
/// Bytes of the whole receive buffer.
pub(super) const BUFFER: usize = RING + OVERHANG;
/// Bytes of a frame's header in the ring.
pub(super) const HEADER: usize = 4;
/// Bytes of the checksum behind a frame.
pub(super) const CRC: usize = 4;
/// Bytes of a VLAN tag, with which a frame may be longer than [`FRAME_MAX`].
const TAG: usize = 4;
/// What the length reads as while the device is still writing the frame.
const UNFINISHED: u16 = 0xfff0;
/// After how many bytes read the device is told, if the ring does not run empty before.
const REPORT: usize = RING / 4;

/// The length field of the shortest and of the longest frame.
const LENGTHS: (usize, usize) = (FRAME_MIN + CRC, FRAME_MAX + TAG + CRC);

/// What lies at the read position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A frame of `len` bytes without its checksum, at byte `offset` of the buffer.
    Frame { offset: usize, len: usize },
    /// The start of a frame whose rest the device has not written yet; its length if known.
    Unfinished(RingError),
}

/// The receive ring's positions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RxRing {
    read: usize,
    written: usize,
    unreported: usize,
}

impl RxRing {
    /// As after a reset: empty, from the start.
    pub(super) const EMPTY: Self = Self { read: 0, written: 0, unreported: 0 };

    /// Whether everything the device was seen to write has been read.
    pub(super) const fn is_empty(&self) -> bool {
        self.read == self.written
    }

    /// Where the next frame's header is.
    pub(super) const fn header_at(&self) -> usize {
        self.read
    }

    /// Bytes written and not read.
    const fn available(&self) -> usize {
        (self.written + RING - self.read) % RING
    }

    /// Takes note of the device's write position, [`super::regs::CBR`].
    pub(super) fn set_written(&mut self, position: u16) -> Result<(), RingError> {
        let position = usize::from(position);
        if position >= BUFFER {
            return Err(RingError::BadPosition { position, size: RING });
        }
        // In the middle of a frame that runs on behind the ring, the position is there too.
        self.written = position % RING;
        Ok(())
    }

    /// Judges the header at the read position. The ring must not be empty.
    pub(super) fn next(&self, header: [u8; HEADER]) -> Result<Next, RingError> {
        let [s0, s1, l0, l1] = header;
        let (status, length) = (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([l0, l1]));
        let (offset, written) = (self.read, self.available());
        let unfinished =
            Next::Unfinished(RingError::Truncated { length: usize::from(length), offset, written });
        if written < HEADER || length == UNFINISHED {
            return Ok(unfinished);
        }
        let flags = RxStatus::from_bits_retain(status);
        if !flags.contains(RxStatus::ROK) || flags.intersects(RxStatus::ERRORS) {
            return Err(RingError::BadStatus { status: status.into(), offset });
        }
        let (length, (min, max)) = (usize::from(length), LENGTHS);
        if length < min || length > max {
            return Err(RingError::BadLength { length, offset, min, max });
        }
        if HEADER + length > written {
            return Ok(unfinished);
        }
        Ok(Next::Frame { offset: offset + HEADER, len: length - CRC })
    }

    /// Moves on past a frame of `len` bytes without its checksum.
    pub(super) const fn advance(&mut self, len: usize) {
        let step = (HEADER + len + CRC).next_multiple_of(4);
        self.read = (self.read + step) % RING;
        self.unreported += step;
    }

    /// What to write to [`super::regs::CAPR`], once enough was read or the ring is empty.
    ///
    /// Not after every frame: each write is an exit to an emulated device.
    pub(super) fn report(&mut self) -> Option<u16> {
        let due = self.unreported >= REPORT || self.is_empty() && self.unreported > 0;
        due.then(|| {
            self.unreported = 0;
            // Below 32 KiB by the remainder in `advance`.
            u16::try_from(self.read).unwrap_or(0).wrapping_sub(CAPR_LAG)
        })
    }
}

/// Transmit slots of the chip.
pub(super) const SLOTS: usize = 4;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pending,
    /// Read from memory and sent.
    Sent,
    /// The device may still look at it.
    Failed(TxFailure),
    /// The register reads as all ones.
    Gone,
}

/// Reads a slot's status register.
///
/// Only a frame that was both read (OWN) and sent (TOK) is one the device is through with: an aborted one it reads
/// again once told to go on, and one whose FIFO ran dry it tries again by itself.
pub(super) const fn outcome(status: u32) -> Outcome {
    const SENT: TxStatus = TxStatus::OWN.union(TxStatus::TOK);
    if status == u32::MAX {
        return Outcome::Gone;
    }
    let status = TxStatus::from_bits_retain(status);
    if status.contains(TxStatus::OWC) {
        Outcome::Failed(TxFailure::LateCollision)
    } else if status.contains(SENT) {
        Outcome::Sent
    } else if status.contains(TxStatus::TABT) {
        Outcome::Failed(TxFailure::Aborted)
    } else if status.contains(TxStatus::TUN) {
        Outcome::Failed(TxFailure::Underrun)
    } else {
        Outcome::Pending
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;

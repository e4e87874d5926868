//! What can go wrong with a card, each with a stable `code` for reports and a `remedy`: what to change.

use crate::{
    arch::time::TimedOut,
    device::{Ended, ResetError},
    dma::{FinishError, MapError},
};
use alloc::vec::Vec;

const BROKEN: &str =
    "the device says that it came to an error which only a reset ends, and was reset";
const BROKEN_REMEDY: &str = "it could not read its queues, or not use what it found there: `xl dmesg` names refused \
     addresses, and what emulates the device, as QEMU, may say more";

/// A frame that was not taken, back with the reason.
#[derive(Debug)]
pub struct Unsent {
    /// The frame, padded if it was short; empty if a failed mapping kept it.
    pub frame: Vec<u8>,
    /// Why not.
    pub error: TransmitError,
}

/// How a device failed to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxFailure {
    /// It gave up after too many collisions or lost carrier.
    Aborted,
    /// Memory was too slow for it.
    Underrun,
    /// A collision came too late.
    LateCollision,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransmitError {
    /// No frame of this length exists.
    #[error("a frame of {len} bytes; {min} to {max} can be sent")]
    BadLength {
        /// Its length.
        len: usize,
        /// The shortest.
        min: usize,
        /// The longest.
        max: usize,
    },
    /// The device has as many frames as it can hold.
    #[error("the device still has {in_flight} frames")]
    Full {
        /// How many.
        in_flight: usize,
    },
    /// The frame could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The mapping ended badly.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// The mapping lies where the device's registers can't point.
    #[error("a frame at {0:#x}, beyond 32 bits")]
    BeyondRegisters(u64),
    /// The device reported a failure.
    #[error("the device failed to send: {failure:?}, status {status:#010x}")]
    Failed {
        /// What kind.
        failure: TxFailure,
        /// The status register.
        status: u32,
    },
    /// The device never reported the frame as sent, and was reset.
    #[error(transparent)]
    Stuck(TimedOut),
    /// The device said that only a reset ends an error it came to, and was reset.
    #[error("{BROKEN}")]
    Broken,
    /// The device failed to send, and was then not seen to stop: it keeps its memory.
    #[error("{0}; its memory stays with it")]
    Lost(#[from] ResetError),
    /// The card was quiesced.
    #[error(transparent)]
    Stopped(#[from] Ended),
}

impl TransmitError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadLength { .. } => "nic-frame-length",
            Self::Full { .. } => "nic-tx-full",
            Self::Map(error) => error.code(),
            Self::Finish(error) => error.code(),
            Self::BeyondRegisters(_) => "device-beyond-registers",
            Self::Failed { .. } => "nic-tx-failed",
            Self::Stuck(_) => "nic-tx-timeout",
            Self::Broken => "nic-broken",
            Self::Lost(error) => error.code(),
            Self::Stopped(ended) => ended.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::BadLength { .. } => "send frames of 60 to 1514 bytes",
            Self::Full { .. } => "reclaim frames before sending more",
            Self::Map(error) => error.remedy(),
            Self::Finish(error) => error.remedy(),
            Self::BeyondRegisters(_) => "give the device a 32-bit mask",
            Self::Failed { .. } => "check cable and duplex setting at the other end",
            Self::Stuck(_) => {
                "the device does not read memory: check that bus mastering is on and that the IOMMU \
                 lets it (`xl dmesg` names refused addresses)"
            }
            Self::Broken => BROKEN_REMEDY,
            Self::Lost(error) => error.remedy(),
            Self::Stopped(ended) => ended.remedy(),
        }
    }
}

protocol::coded!(TransmitError);

/// What a device wrote that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The device's write position lies outside its buffer.
    #[error("the device writes at {position:#x} of a ring of {size:#x}")]
    BadPosition {
        /// Where.
        position: usize,
        /// Bytes in the ring.
        size: usize,
    },
    /// A frame has a length no frame has.
    #[error("a frame of {length} bytes at {offset:#x}; {min} to {max} are possible")]
    BadLength {
        /// The length in the frame's header or descriptor.
        length: usize,
        /// Where in the ring.
        offset: usize,
        /// The shortest.
        min: usize,
        /// The longest.
        max: usize,
    },
    /// A frame is not marked as good.
    #[error("a frame at {offset:#x} with status {status:#x}")]
    BadStatus {
        /// The status in the frame's header or descriptor.
        status: u32,
        /// Where in the ring.
        offset: usize,
    },
    /// The device reported a frame whose end it did not write: the bytes there are those put there before.
    #[error("a frame of {length} bytes at {offset:#x}, whose end the device did not write")]
    Unwritten {
        /// The length in the frame's header or descriptor.
        length: usize,
        /// Where in the ring.
        offset: usize,
    },
    /// A frame is longer than what the device says it has written, and stays so.
    #[error("a frame of {length} bytes at {offset:#x}, of which only {written} were ever written")]
    Truncated {
        /// The length in the frame's header or descriptor.
        length: usize,
        /// Where in the ring.
        offset: usize,
        /// Bytes there, header included.
        written: usize,
    },
}

/// Why a received frame could not be had. The receiver was reset and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The ring holds something impossible.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The device said that only a reset ends an error it came to.
    #[error("{BROKEN}")]
    Broken,
    /// The device was not seen to stop after an error: it keeps its memory.
    #[error("{0}; its memory stays with it")]
    Lost(#[from] ResetError),
    /// The card was quiesced.
    #[error(transparent)]
    Stopped(#[from] Ended),
}

impl ReceiveError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Lost(error) => error.code(),
            Self::Ring(error) => match error {
                RingError::BadPosition { .. } => "nic-rx-position",
                RingError::BadLength { .. } => "nic-rx-length",
                RingError::BadStatus { .. } => "nic-rx-status",
                RingError::Unwritten { .. } => "nic-rx-unwritten",
                RingError::Truncated { .. } => "nic-rx-truncated",
            },
            Self::Broken => "nic-broken",
            Self::Stopped(ended) => ended.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Broken => BROKEN_REMEDY,
            Self::Lost(error) => error.remedy(),
            Self::Ring(_) => {
                "the receive ring's content is not what a device writes: either its writes land \
                 elsewhere (compare the addresses it used with those it was given) or it is broken"
            }
            Self::Stopped(ended) => ended.remedy(),
        }
    }
}

protocol::coded!(ReceiveError);

/// A card's address in its usual form.
#[derive(Clone, Copy, Debug)]
pub struct Mac<'a>(pub &'a [u8; 6]);

impl core::fmt::Display for Mac<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{addr::BusAddr, dma::Why};
    use alloc::string::ToString;
    use core::time::Duration;

    const LATE: TimedOut = TimedOut { what: "the device", after: Duration::from_millis(7) };
    const STUCK: ResetError = ResetError::Stuck(LATE);
    const NO_POOL: MapError = MapError::NoPool(Why::Forced);
    const OVERRUN: FinishError =
        FinishError::Overrun { offset: -1, found: 7, len: 60, bus: BusAddr(0x1000) };

    /// What a report shows of an error: its code, a value that its text carries, and a part of its remedy.
    fn shows(error: &dyn ToString, code: &str, remedy: &str, expected: [&str; 3]) {
        let text = error.to_string();
        assert_eq!(code, expected[0], "{text}");
        assert!(text.contains(expected[1]), "{text}");
        assert!(remedy.contains(expected[2]), "{code}: {remedy}");
    }

    #[test]
    fn an_error_of_sending_says_what_became_of_the_frame() {
        let short = TransmitError::BadLength { len: 59, min: 60, max: 1514 };
        let failed = TransmitError::Failed { failure: TxFailure::Underrun, status: 0x4000 };
        for (error, expected) in [
            (short, ["nic-frame-length", "59 bytes", "60 to 1514"]),
            (TransmitError::Full { in_flight: 4 }, ["nic-tx-full", "4 frames", "reclaim"]),
            (TransmitError::Map(NO_POOL), ["dma-no-pool", "", NO_POOL.remedy()]),
            (TransmitError::Finish(OVERRUN), ["dma-overrun", "", OVERRUN.remedy()]),
            (TransmitError::BeyondRegisters(1 << 32), ["device-beyond-registers", "0x1", "32-bit"]),
            (failed, ["nic-tx-failed", "0x00004000", "cable"]),
            (TransmitError::Stuck(LATE), ["nic-tx-timeout", "7 ms", "bus mastering"]),
            (
                TransmitError::Lost(ResetError::Gone),
                ["device-gone", "stays with it", "slot and host"],
            ),
            (TransmitError::Lost(STUCK), ["device-reset-timeout", "7 ms", "reset the slot"]),
            (TransmitError::Broken, ["nic-broken", "only a reset", "refused addresses"]),
            (TransmitError::Stopped(Ended), ["device-stopped", "stopped", "anew"]),
        ] {
            shows(&error, error.code(), error.remedy(), expected);
        }
    }

    #[test]
    fn an_error_of_receiving_says_where_in_the_ring() {
        let (offset, length) = (0x40, 99);
        let long = RingError::BadLength { length, offset, min: 64, max: 1522 };
        for (ring, code, value) in [
            (RingError::BadPosition { position: 0xffff, size: 9 }, "nic-rx-position", "0xffff"),
            (long, "nic-rx-length", "99 bytes"),
            (RingError::BadStatus { status: 0x8000, offset }, "nic-rx-status", "0x8000"),
            (RingError::Truncated { length, offset, written: 3 }, "nic-rx-truncated", "only 3"),
            (RingError::Unwritten { length, offset }, "nic-rx-unwritten", "0x40"),
        ] {
            let error = ReceiveError::Ring(ring);
            shows(&error, error.code(), error.remedy(), [code, value, "land elsewhere"]);
        }
        let broken = ReceiveError::Broken;
        shows(
            &broken,
            broken.code(),
            broken.remedy(),
            ["nic-broken", "only a reset", "refused addresses"],
        );
        let lost = ReceiveError::Lost(ResetError::Gone);
        shows(&lost, lost.code(), lost.remedy(), ["device-gone", "stays with it", "slot and host"]);
        let stopped = ReceiveError::Stopped(Ended);
        shows(&stopped, stopped.code(), stopped.remedy(), ["device-stopped", "stopped", "anew"]);
    }
}

//! Why a controller did not do as told, each with a stable `code` for reports and a `remedy`.

use super::{regs::Status, trb::Event};
use crate::{
    arch::time::TimedOut,
    device::{Ended, ResetError, pattern::MISMATCH_REMEDY},
    dma::{FinishError, MapError},
};

/// What went wrong with commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XhciError {
    /// The length is no whole number of blocks, or fewer or more than a ring has.
    #[error("{0} bytes are no ring segment of the driver's")]
    Length(usize),
    /// Memory was sent that does not hold what it was filled with last.
    #[error("memory that does not hold what it was filled with")]
    NotFilled,
    /// Memory could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The device wrote other bytes than it was told to.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// An event is no answer to the command that is next. The controller was reset.
    #[error("event {nth} ({event}) does not answer the command of that number")]
    Event {
        /// Which one, of a transfer.
        nth: usize,
        /// What it is.
        event: Event,
    },
    /// The controller stopped by itself, or met an error of its own or of the bus. It was reset.
    #[error("USBSTS reads as {0:#x}")]
    Status(u32),
    /// It did not do all commands in time. It was reset.
    #[error(transparent)]
    Late(#[from] TimedOut),
    /// It was not seen to stop when it should have.
    #[error(transparent)]
    Lost(#[from] ResetError),
    /// It was quiesced and has no memory.
    #[error(transparent)]
    Stopped(#[from] Ended),
}

impl XhciError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length(_) => "xhci-length",
            Self::NotFilled => "xhci-not-filled",
            Self::Map(error) => error.code(),
            Self::Finish(error) => error.code(),
            Self::Event { .. } => "xhci-event",
            Self::Status(_) => "xhci-status",
            Self::Late(_) => "xhci-timeout",
            Self::Lost(error) => error.code(),
            Self::Stopped(ended) => ended.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Length(_) | Self::NotFilled => "a bug in this guest: please report it",
            Self::Map(error) => error.remedy(),
            Self::Finish(error) => error.remedy(),
            Self::Event { .. } => MISMATCH_REMEDY,
            Self::Status(_) => "see `xl dmesg` for IOMMU faults; power-cycle the host",
            Self::Late(_) => {
                "the controller does not reach memory: bus mastering, IOMMU (`xl dmesg` names refused addresses)"
            }
            Self::Lost(error) => error.remedy(),
            Self::Stopped(ended) => ended.remedy(),
        }
    }

    /// What is wrong with a running controller in this state.
    pub(super) const fn of_status(status: Status) -> Result<(), Self> {
        if status.intersects(Status::WRONG) { Err(Self::Status(status.bits())) } else { Ok(()) }
    }
}

protocol::coded!(XhciError);

//! Why a controller did not do as told, each with a stable `code` for reports and a `remedy`.

use super::command::Opcode;
use crate::{
    addr::BusAddr,
    arch::time::TimedOut,
    device::{Ended, ResetError, StartError, pattern},
    dma::{FinishError, MapError},
};
use core::fmt;

/// How a command ended: status code type and status code (NVM Express Base Specification 2.0, section 3.3.3.2.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// Successful Completion.
    pub const SUCCESS: Self = Self(0);
    /// Compare Failure: type 2h (Media and Data Integrity Errors), code 85h.
    pub const COMPARE_FAILURE: Self = Self(0x285);
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {:x}h, code {:02x}h", self.0 >> 8, self.0 & 0xff)
    }
}

/// What went wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvmeError {
    /// The length is no whole number of blocks, or more than one command moves.
    #[error("{len} bytes; one command moves up to {max}, in blocks of {block}")]
    Length {
        /// Bytes asked for.
        len: usize,
        /// Bytes of a block.
        block: usize,
        /// At most.
        max: usize,
    },
    /// Bytes were sent that were not read from the medium before, as many of them.
    #[error("bytes to compare that were not read before")]
    NotFilled,
    /// Memory could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The controller wrote other bytes than it was told to.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// It found bytes in memory that are not those that it wrote to memory before, or says so.
    #[error(
        "Compare Failure: of {len} bytes at {dma} the controller read others than the medium has from LBA {first} on"
    )]
    Differs {
        /// Bytes compared.
        len: usize,
        /// Where it was to read them.
        dma: BusAddr,
        /// The first block.
        first: u64,
    },
    /// It found bytes in memory to be those that the medium has, each of which is another.
    #[error(
        "Compare ended well: of {len} bytes at {dma}, each another than the medium has from LBA {first} on, the controller read none"
    )]
    Blind {
        /// Bytes compared.
        len: usize,
        /// Where it was to read them.
        dma: BusAddr,
        /// The first block.
        first: u64,
    },
    /// It ended a command with an error.
    #[error("{opcode} ended with status {status:?}")]
    Ended {
        /// The command.
        opcode: Opcode,
        /// How.
        status: Status,
    },
    /// It completed something that was not asked for. It was disabled.
    #[error("a completion whose {what} is {found:#x}; expected {expected:#x}")]
    Completion {
        /// The field.
        what: &'static str,
        /// What was read.
        found: u16,
        /// What was written.
        expected: u16,
    },
    /// It has fewer I/O queues than the driver needs.
    #[error("Set Features (Number of Queues) returned {0:#010x}: fewer than two I/O queue pairs")]
    Queues(u32),
    /// It did not complete a command in time. It was disabled.
    #[error(transparent)]
    Late(#[from] TimedOut),
    /// It reports a fatal error of its own. It was disabled.
    #[error("CSTS reads as {0:#x}: controller fatal status")]
    Fatal(u32),
    /// It was not seen to stop when it should have.
    #[error(transparent)]
    Lost(#[from] ResetError),
    /// It was quiesced and has no memory.
    #[error(transparent)]
    Stopped(#[from] Ended),
}

impl NvmeError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "nvme-length",
            Self::NotFilled => "nvme-not-filled",
            Self::Map(error) => error.code(),
            Self::Finish(error) => error.code(),
            Self::Differs { .. } => "nvme-compare-failure",
            Self::Blind { .. } => "nvme-compare-blind",
            Self::Ended { .. } => "nvme-status",
            Self::Completion { .. } => "nvme-completion",
            Self::Queues(_) => StartError::Lacks("").code(),
            Self::Late(_) => "nvme-timeout",
            Self::Fatal(_) => "nvme-fatal",
            Self::Lost(error) => error.code(),
            Self::Stopped(ended) => ended.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Length { .. } | Self::NotFilled => "a bug in this guest: please report it",
            Self::Map(error) => error.remedy(),
            Self::Finish(error) => error.remedy(),
            Self::Differs { .. } | Self::Blind { .. } => pattern::MISMATCH_REMEDY,
            Self::Ended { .. } => {
                "look the status up in the NVMe specification; a media error is the disk's: see `nvme smart-log` in dom0"
            }
            Self::Completion { .. } => {
                "the controller's writes land elsewhere, or it is broken: compare addresses used with those given"
            }
            Self::Queues(_) => StartError::Lacks("").remedy(),
            Self::Late(_) => {
                "the controller does not reach memory: bus mastering, IOMMU (`xl dmesg` names refused addresses)"
            }
            Self::Fatal(_) => "see `xl dmesg` for IOMMU faults; power-cycle the disk",
            Self::Lost(error) => error.remedy(),
            Self::Stopped(ended) => ended.remedy(),
        }
    }
}

protocol::coded!(NvmeError);

impl From<NvmeError> for StartError {
    fn from(error: NvmeError) -> Self {
        let unfit = |what, value: u32| Self::Unfit { what, value: value.into() };
        match error {
            NvmeError::Map(error) => Self::Map(error),
            NvmeError::Finish(error) => Self::Finish(error),
            NvmeError::Ended { opcode, status: Status(status) } => {
                Self::Command { name: opcode.name(), status }
            }
            NvmeError::Completion { what, found, .. } => unfit(what, found.into()),
            NvmeError::Fatal(status) => unfit("CSTS", status),
            NvmeError::Queues(_) => Self::Lacks("second I/O queue pair"),
            NvmeError::Late(late) => Self::Reset(ResetError::Stuck(late)),
            NvmeError::Lost(error) => Self::Reset(error),
            // What only a transfer can come to.
            NvmeError::Length { .. }
            | NvmeError::NotFilled
            | NvmeError::Differs { .. }
            | NvmeError::Blind { .. }
            | NvmeError::Stopped(_) => Ended.into(),
        }
    }
}

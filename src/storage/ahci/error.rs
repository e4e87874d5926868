//! Why a disk or its controller did not do as told, each with a stable `code` for reports and a `remedy`.

use super::command::Opcode;
use crate::{
    arch::time::TimedOut,
    device::{Ended, ResetError, StartError},
    dma::{FinishError, MapError},
};

/// What went wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AhciError {
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
    /// Memory was sent that was not filled before, as much of it.
    #[error("memory that was not filled before")]
    NotFilled,
    /// Memory could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The device wrote other bytes than it was told to.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// The disk ended the command with an error. The controller was reset.
    #[error("{opcode} ended with status {status:#04x}, error {error:#04x}")]
    TaskFile {
        /// The command.
        opcode: Opcode,
        /// The ATA status.
        status: u8,
        /// The ATA error.
        error: u8,
    },
    /// The controller met an error of bus or link. It was reset.
    #[error("PxIS reads as {0:#010x}: an error of bus or link")]
    Bus(u32),
    /// It says to have moved another number of bytes than it was told to.
    #[error("a command for {len} bytes ended with {moved} of them moved (PRDBC)")]
    Moved {
        /// Bytes asked for.
        len: usize,
        /// Bytes reported.
        moved: u32,
    },
    /// There is no disk at any port, or none that becomes ready.
    #[error("no port has an ATA disk that is ready")]
    NoDisk,
    /// It did not complete a command in time. It was reset.
    #[error(transparent)]
    Late(#[from] TimedOut),
    /// It was not seen to stop when it should have.
    #[error(transparent)]
    Lost(#[from] ResetError),
    /// It was quiesced and has no memory.
    #[error(transparent)]
    Stopped(#[from] Ended),
}

impl AhciError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "ahci-length",
            Self::NotFilled => "ahci-not-filled",
            Self::Map(error) => error.code(),
            Self::Finish(error) => error.code(),
            Self::TaskFile { .. } => "ahci-task-file",
            Self::Bus(_) => "ahci-bus",
            Self::Moved { .. } => "ahci-moved",
            Self::NoDisk => StartError::Empty("").code(),
            Self::Late(_) => "ahci-timeout",
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
            Self::TaskFile { .. } => {
                "look status and error up in the ATA command set; a media error is the disk's: see `smartctl -a` in dom0"
            }
            Self::Bus(_) => "see `xl dmesg` for IOMMU faults; without any, check the disk's cable",
            Self::Moved { .. } => {
                "the controller's writes land elsewhere, or it is broken: compare addresses used with those given"
            }
            Self::NoDisk => {
                "connect an ATA disk to the controller; one that sleeps or is locked is none"
            }
            Self::Late(_) => {
                "the controller does not reach memory: bus mastering, IOMMU (`xl dmesg` names refused addresses)"
            }
            Self::Lost(error) => error.remedy(),
            Self::Stopped(ended) => ended.remedy(),
        }
    }
}

protocol::coded!(AhciError);

impl From<AhciError> for StartError {
    fn from(error: AhciError) -> Self {
        match error {
            AhciError::Map(error) => Self::Map(error),
            AhciError::Finish(error) => Self::Finish(error),
            AhciError::TaskFile { status, error, .. } => Self::Command {
                name: "IDENTIFY DEVICE",
                status: u16::from_le_bytes([status, error]),
            },
            AhciError::Bus(status) => Self::Unfit { what: "PxIS", value: status.into() },
            AhciError::Moved { moved, .. } => Self::Unfit { what: "PRDBC", value: moved.into() },
            AhciError::NoDisk => Self::Empty("port with an ATA disk that is ready"),
            AhciError::Late(late) => Self::Reset(ResetError::Stuck(late)),
            AhciError::Lost(error) => Self::Reset(error),
            // What only a transfer can come to.
            AhciError::Length { .. } | AhciError::NotFilled | AhciError::Stopped(_) => Ended.into(),
        }
    }
}

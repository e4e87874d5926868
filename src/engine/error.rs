//! Why an engine did not copy, each with a stable `code` for reports and a `remedy`.

use crate::{
    arch::time::TimedOut,
    device::{Ended, ResetError, StartError},
    dma::{FinishError, MapError},
};

/// What went wrong with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// More bytes than the engine's buffer has, or none.
    #[error("{len} bytes; the engine copies 1 to {max}")]
    Length {
        /// Bytes asked for.
        len: usize,
        /// Bytes of its buffer.
        max: usize,
    },
    /// The memory could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The mapping lies where the engine's registers can't point.
    #[error("memory at {0:#x}, beyond what the engine's registers hold")]
    BeyondRegisters(u64),
    /// It did not come to an end in time. It was stopped.
    #[error(transparent)]
    Late(TimedOut),
    /// Its command register reads neither as under way nor as done. It was stopped.
    #[error(
        "command register {found:#x}; {begun:#x} was written, and bit 0 is clear once that is done"
    )]
    Status {
        /// What was written.
        begun: u32,
        /// What was read.
        found: u32,
    },
    /// It wrote other bytes than it was told to.
    #[error(transparent)]
    Finish(#[from] FinishError),
    /// It was not seen to stop when it should have.
    #[error(transparent)]
    Lost(#[from] ResetError),
    /// It was quiesced and has no memory.
    #[error(transparent)]
    Stopped(#[from] Ended),
}

impl EngineError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "engine-length",
            Self::Map(error) => error.code(),
            Self::BeyondRegisters(at) => StartError::BeyondRegisters(*at).code(),
            Self::Late(_) => "engine-timeout",
            Self::Status { .. } => "engine-status",
            Self::Finish(error) => error.code(),
            Self::Lost(error) => error.code(),
            Self::Stopped(ended) => ended.code(),
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Length { .. } => "a bug in this guest: please report it",
            Self::Map(error) => error.remedy(),
            Self::BeyondRegisters(at) => StartError::BeyondRegisters(*at).remedy(),
            Self::Late(_) => {
                "the engine does not reach memory: bus mastering, IOMMU (`xl dmesg` names refused addresses)"
            }
            Self::Status { .. } => {
                "compare with the device's specification: somebody else drives it, or it is broken"
            }
            Self::Finish(error) => error.remedy(),
            Self::Lost(error) => error.remedy(),
            Self::Stopped(ended) => ended.remedy(),
        }
    }
}

protocol::coded!(EngineError);

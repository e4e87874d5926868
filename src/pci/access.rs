//! Reading and writing config space, whoever carries it out.
//!
//! Offsets are in bytes from the start of the function's space (256 bytes, 4096 for PCI Express),
//! accesses naturally aligned. A function that is not there is an error, [`ConfigError::NoDevice`];
//! real hardware answers all ones instead, so callers look for both.

use super::Bdf;
use crate::{
    arch::time::TimedOut,
    xen::{errno::XenError, xenbus::XenbusState},
};
use core::fmt::{self, Debug};

/// Bytes in a PCI Express function's config space.
pub const CONFIG_SPACE: u16 = 4096;

/// How many bytes an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
}

impl Width {
    /// In bytes.
    pub const fn bytes(self) -> u8 {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// The bits a value of this width can have.
    pub const fn mask(self) -> u32 {
        match self {
            Self::U8 => 0xff,
            Self::U16 => 0xffff,
            Self::U32 => u32::MAX,
        }
    }
}

/// How a backend refuses an access to a device that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Offset or width outside the function's space.
    BadOffset,
    /// Not allowed.
    AccessDenied,
    /// Not implemented.
    NotImplemented,
    /// Tried and failed.
    Failed,
    /// A number the protocol has no name for.
    Unknown(i32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadOffset => f.write_str("bad offset (-2)"),
            Self::AccessDenied => f.write_str("access denied (-3)"),
            Self::NotImplemented => f.write_str("not implemented (-4)"),
            Self::Failed => f.write_str("operation failed (-5)"),
            Self::Unknown(code) => write!(f, "unknown code {code}"),
        }
    }
}

/// Why an access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not naturally aligned, or past the end; nothing was sent.
    #[error("{bdf}: {width:?} at {offset:#x} is no aligned access inside config space")]
    Misaligned {
        /// The function.
        bdf: Bdf,
        /// The offset.
        offset: u16,
        /// The width.
        width: Width,
    },
    /// There is no such function.
    #[error("{0}: no such device")]
    NoDevice(Bdf),
    /// The backend said no.
    #[error("{bdf}: the backend refused the access at {offset:#x}: {refusal}")]
    Refused {
        /// The function.
        bdf: Bdf,
        /// The offset; 0 for interrupt requests.
        offset: u16,
        /// How it said so.
        refusal: Refusal,
    },
    /// The backend did not answer in time; its page is not used again.
    #[error("{bdf}: {timed_out}, at {offset:#x}")]
    NoAnswer {
        /// The function.
        bdf: Bdf,
        /// The offset; 0 for interrupt requests.
        offset: u16,
        /// How long it had.
        timed_out: TimedOut,
    },
    /// The backend left while we waited for its answer; its page is not used again.
    #[error("{bdf}: the backend went to state {state} instead of answering")]
    BackendLeft {
        /// The function.
        bdf: Bdf,
        /// Where it went.
        state: XenbusState,
    },
    /// Waiting or notifying failed; the page is not used again.
    #[error("the backend's event channel failed: {0}")]
    Events(XenError),
    /// An earlier failure left a request in the page: a late answer could overwrite a new one.
    #[error("config space is not used any more after an earlier failure")]
    Unusable,
}

impl ConfigError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Misaligned { .. } => "config-misaligned",
            Self::NoDevice(_) => "config-no-device",
            Self::Refused { .. } => "config-refused",
            Self::NoAnswer { .. } => "config-no-answer",
            Self::BackendLeft { .. } => "config-backend-left",
            Self::Events(_) => "config-event-channel",
            Self::Unusable => "config-unusable",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Misaligned { .. } => "a bug in this guest: please report it",
            Self::NoDevice(_) => "check with `xl pci-list` that the device is still assigned",
            Self::Refused { .. } => {
                "see dom0's kernel log; `permissive=1` in the pci= entry allows more registers"
            }
            Self::NoAnswer { .. } | Self::Events(_) => {
                "see dom0's kernel log: xen-pciback may be stuck on the device"
            }
            Self::BackendLeft { .. } => "find out in dom0 who detached the device during the run",
            Self::Unusable => "see the first config space failure above",
        }
    }
}

protocol::coded!(ConfigError);

/// A way to config space.
pub trait ConfigAccess: Debug {
    /// Reads `width` bytes at `offset`; bits above the width are zero.
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError>;

    /// Writes the low `width` bytes of `value` at `offset`.
    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError>;

    /// Whether somebody keeps copies of the BARs, so that sizing them does not disturb the device.
    fn bars_are_virtual(&self) -> bool {
        false
    }

    /// Whether a function's interrupt line is a PIRQ: so pciback has it. For the board's own bus it is what firmware noted
    /// for the interrupt controller of a PC of 1981.
    fn lines_are_pirqs(&self) -> bool {
        true
    }
}

/// Refuses accesses no implementation should be asked for.
pub(super) const fn check(bdf: Bdf, offset: u16, width: Width) -> Result<(), ConfigError> {
    let bytes = width.bytes() as u16;
    if offset.is_multiple_of(bytes) && offset < CONFIG_SPACE {
        Ok(())
    } else {
        Err(ConfigError::Misaligned { bdf, offset, width })
    }
}

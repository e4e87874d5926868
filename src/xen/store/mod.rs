//! xenstore: the small tree of strings through which guests, dom0 and toolstack find each other.
//!
//! ```text
//! Store (trait)   what the layers above use; paths without a leading / are under the domain's home
//!   client        the real one: requests and replies over ring, each with a deadline
//!     ring        two byte rings in a shared page
//!     wire        messages, pure
//!   fake          a tree in memory with a dom0 side to play, for host tests
//! ```
//!
//! Source of truth: Xen's `docs/misc/xenstore.txt` and `public/io/xs_wire.h`.

pub mod client;
#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod ring;
pub mod wire;

pub use client::XenStore;
pub use wire::WatchEvent;

use crate::{
    arch::time::{Instant, TimedOut},
    xen::errno::XenError,
};
use alloc::{string::String, vec::Vec};
use core::{fmt::Debug, str::FromStr};
use ring::RingError;
use wire::{MessageType, PathFault, WireError};

/// How often a transaction is tried before somebody else's writes are called endless.
pub const TRANSACTION_ATTEMPTS: u32 = 16;

/// A transaction's number; [`TxId::NONE`] for a single operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TxId(pub u32);

impl TxId {
    /// Not in a transaction.
    pub const NONE: Self = Self(0);
}

/// Whether a transaction's writes are to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxEnd {
    /// All at once.
    Commit,
    /// None of them.
    Abort,
}

/// Why an operation on xenstore failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The path breaks xenstore's rules; nothing was sent.
    #[error("{path:?} is no xenstore path: {fault}")]
    BadPath {
        /// The path.
        path: String,
        /// The rule it breaks.
        fault: PathFault,
    },
    /// The request has more bytes than a message holds; nothing was sent.
    #[error("{op} {path}: {len} bytes do not fit a message")]
    TooLong {
        /// The operation.
        op: MessageType,
        /// The node.
        path: String,
        /// Payload bytes.
        len: usize,
    },
    /// xenstored understood and refused.
    #[error("xenstored refused {op} {path}: {error}")]
    Refused {
        /// The operation.
        op: MessageType,
        /// The node.
        path: String,
        /// Its reason.
        error: XenError,
    },
    /// The node is there, its value is not what it has to be.
    #[error("{path} holds {value:?}, expected {expected}")]
    BadValue {
        /// The node.
        path: String,
        /// What it holds; bytes that are no text are shown replaced.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// Somebody else's writes made every attempt at a transaction void.
    #[error("a transaction was overtaken by other writes {0} times")]
    Conflict(u32),
    /// xenstored did not answer in time; the connection is not used again.
    #[error("{op} {path}: {timed_out}")]
    NoAnswer {
        /// The operation.
        op: MessageType,
        /// The node.
        path: String,
        /// How long it had.
        timed_out: TimedOut,
    },
    /// The bytes in the ring are no xenstore messages; the connection is not used again.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The ring's indices are impossible; the connection is not used again.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Waiting or notifying failed; the connection is not used again.
    #[error("the xenstore event channel failed: {0}")]
    Events(XenError),
    /// An earlier failure left the connection in an unknown state.
    #[error("xenstore is not used any more after an earlier failure")]
    Unusable,
}

impl StoreError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadPath { .. } => "store-bad-path",
            Self::TooLong { .. } => "store-too-long",
            Self::Refused { .. } => "store-refused",
            Self::BadValue { .. } => "store-bad-value",
            Self::Conflict(_) => "store-conflict",
            Self::NoAnswer { .. } => "store-no-answer",
            Self::Wire(_) | Self::Ring(_) => "store-garbage",
            Self::Events(_) => "store-event-channel",
            Self::Unusable => "store-unusable",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::BadPath { .. } | Self::TooLong { .. } => "a bug in this guest: please report it",
            Self::Refused { .. } => {
                "look at the node's owner and permissions with `xenstore-ls -fp` in dom0"
            }
            Self::BadValue { .. } => {
                "look at the node with `xenstore-ls -f` in dom0 and at who wrote it"
            }
            Self::Conflict(_) => "find out with `xenstore-watch /` in dom0 who keeps writing",
            Self::NoAnswer { .. } => "check in dom0 that xenstored runs and is not overloaded",
            Self::Wire(_) | Self::Ring(_) | Self::Events(_) => {
                "check xenstored's log in dom0; another user of the ring in this guest is a bug"
            }
            Self::Unusable => "see the first xenstore failure above",
        }
    }

    /// Whether the node simply isn't there.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { error: XenError::NoEntry, .. })
    }
}

protocol::coded!(StoreError);

/// Operations on the tree. Each ends within the implementation's own deadline.
pub trait Store: Debug {
    /// The text at `path`.
    fn read(&self, tx: TxId, path: &str) -> Result<String, StoreError>;

    /// Sets the text at `path`, creating the nodes above it as needed.
    fn write(&self, tx: TxId, path: &str, value: &str) -> Result<(), StoreError>;

    /// Creates an empty node unless it is there.
    fn mkdir(&self, tx: TxId, path: &str) -> Result<(), StoreError>;

    /// Removes the node and all below it.
    fn remove(&self, tx: TxId, path: &str) -> Result<(), StoreError>;

    /// The names of the nodes directly below `path`.
    fn directory(&self, tx: TxId, path: &str) -> Result<Vec<String>, StoreError>;

    /// Opens a transaction. Prefer [`transaction`](#method.transaction), which also ends it.
    fn transaction_start(&self) -> Result<TxId, StoreError>;

    /// Ends a transaction; refused with [`XenError::TryAgain`] when others' writes made it void.
    fn transaction_end(&self, tx: TxId, end: TxEnd) -> Result<(), StoreError>;

    /// Asks for an event with `token` whenever `path` or a node below changes, and once right away.
    fn watch(&self, path: &str, token: &str) -> Result<(), StoreError>;

    /// Ends a watch and forgets its events.
    fn unwatch(&self, path: &str, token: &str) -> Result<(), StoreError>;

    /// The next event with `token`; `None` when the deadline passes first.
    fn wait_event(&self, token: &str, deadline: Instant) -> Result<Option<WatchEvent>, StoreError>;
}

impl dyn Store + '_ {
    /// Like [`Store::read`], `None` when there is no such node.
    pub fn read_optional(&self, tx: TxId, path: &str) -> Result<Option<String>, StoreError> {
        match self.read(tx, path) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Like [`Store::directory`], empty when there is no such node.
    pub fn directory_optional(&self, tx: TxId, path: &str) -> Result<Vec<String>, StoreError> {
        match self.directory(tx, path) {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Reads a value that has to parse; `expected` says as what, for the error.
    pub fn read_as<T: FromStr>(
        &self,
        tx: TxId,
        path: &str,
        expected: &'static str,
    ) -> Result<T, StoreError> {
        let value = self.read(tx, path)?;
        value.parse().map_err(|_| StoreError::BadValue { path: path.into(), value, expected })
    }

    /// Runs `body` in a transaction, again from the start each time others' writes made it void.
    ///
    /// A failure of `body` aborts the transaction and is handed on.
    pub fn transaction<T>(
        &self,
        mut body: impl FnMut(TxId) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..TRANSACTION_ATTEMPTS {
            let tx = self.transaction_start()?;
            let value = match body(tx) {
                Ok(value) => value,
                Err(error) => {
                    // The first failure is the one worth reporting.
                    let _ = self.transaction_end(tx, TxEnd::Abort);
                    return Err(error);
                }
            };
            match self.transaction_end(tx, TxEnd::Commit) {
                Ok(()) => return Ok(value),
                Err(StoreError::Refused { error: XenError::TryAgain, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict(TRANSACTION_ATTEMPTS))
    }
}

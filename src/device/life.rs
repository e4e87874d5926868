//! How far a driver has come.

use super::error::ResetError;

/// How far a driver has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Started.
    Running,
    /// The device was not seen to stop when it should have. Only a further reset leads back.
    Lost(ResetError),
    /// Quiesced.
    Ended,
}

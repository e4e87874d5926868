//! How far a driver has come.

use super::error::{Ended, ResetError};

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

impl Life {
    /// Whether the device is there to be asked for anything.
    pub(crate) fn check<E: From<ResetError> + From<Ended>>(self) -> Result<(), E> {
        match self {
            Self::Running => Ok(()),
            Self::Lost(error) => Err(error.into()),
            Self::Ended => Err(Ended.into()),
        }
    }

    /// Nothing is asked of the device any more that would only wait for it in vain.
    pub(crate) const fn lose(&mut self, error: ResetError) -> ResetError {
        *self = Self::Lost(error);
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::StartError;

    #[test]
    fn only_a_device_that_runs_is_asked_for_anything() {
        let mut life = Life::Running;
        assert_eq!(life.check::<StartError>(), Ok(()));
        assert_eq!(life.lose(ResetError::Gone), ResetError::Gone);
        assert_eq!(life.check(), Err(StartError::Reset(ResetError::Gone)));
        assert_eq!(Life::Ended.check(), Err(StartError::Stopped(Ended)));
    }
}

//! How far a driver has come.

use core::mem;

use super::error::{Ended, ResetError};
use crate::dma::DeviceStopped;

/// How far a driver has come.
#[derive(Debug)]
pub(crate) enum Life {
    /// Started.
    Running,
    /// The device was seen to stop, and is started when it is needed next.
    Down(DeviceStopped),
    /// The device was not seen to stop when it should have. Only a further reset leads back.
    Lost(ResetError),
    /// Quiesced.
    Ended,
}

impl Life {
    /// Whether the device is there to be asked for anything.
    pub(crate) fn check<E: From<ResetError> + From<Ended>>(&self) -> Result<(), E> {
        match self {
            Self::Running | Self::Down(_) => Ok(()),
            Self::Lost(error) => Err((*error).into()),
            Self::Ended => Err(Ended.into()),
        }
    }

    /// Whether the device runs as the driver started it.
    pub(crate) const fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether the driver has let the device go.
    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// The proof that the device is down, for starting it: it runs from here on.
    pub(crate) fn start(&mut self) -> Option<DeviceStopped> {
        match mem::replace(self, Self::Running) {
            Self::Down(stopped) => Some(stopped),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Nothing is asked of the device any more that would only wait for it in vain.
    pub(crate) fn lose(&mut self, error: ResetError) -> ResetError {
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
        let mut life = Life::Down(DeviceStopped::seen());
        assert_eq!((life.check(), life.is_running()), (Ok::<_, StartError>(()), false));
        assert!(life.start().is_some());
        assert_eq!((life.check(), life.is_running()), (Ok::<_, StartError>(()), true));
        assert!(life.start().is_none());
        assert_eq!(life.lose(ResetError::Gone), ResetError::Gone);
        assert_eq!(life.check(), Err(StartError::Reset(ResetError::Gone)));
        assert!(life.start().is_none() && !life.is_running() && !life.is_ended());
        assert_eq!(Life::Ended.check(), Err(StartError::Stopped(Ended)));
    }
}

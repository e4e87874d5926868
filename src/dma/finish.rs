//! How a bounced mapping ends: guards and pattern looked at, bytes copied back, slots given back, whatever comes of it.

use super::{bounce::Bounce, direction::Flow, error::FinishError, pool::Pool};

impl Pool<'_> {
    /// Ends a bounced mapping that went wrong.
    pub(super) fn fail(&self, bounce: Bounce, error: FinishError) -> FinishError {
        self.end(bounce.into_lease(), 0);
        let stats = &mut self.books().stats;
        match error {
            FinishError::Overrun { .. } => stats.overruns += 1,
            FinishError::Overreported { .. } => stats.overreports += 1,
            FinishError::Overlong { .. } => {}
        }
        error
    }

    /// Ends a bounced mapping after the device reported `written` bytes, which go to `bytes` if the device writes.
    #[inline(always)]
    pub(super) fn finish(
        &self,
        mut bounce: Bounce,
        bytes: Option<&mut [u8]>,
        flow: Flow,
        written: usize,
    ) -> Result<(), FinishError> {
        if flow.from_device {
            bounce = bounce
                .checked()
                .and_then(|bounce| bounce.reported(written))
                .map_err(|(error, bounce)| self.fail(bounce, error))?;
            bytes.into_iter().for_each(|bytes| bounce.read(0, &mut bytes[..written]));
        }
        self.end(bounce.into_lease(), if flow.from_device { written } else { 0 });
        Ok(())
    }

    /// [`Pool::finish`] behind a call.
    pub(super) fn finish_called(
        &self,
        bounce: Bounce,
        bytes: Option<&mut [u8]>,
        flow: Flow,
        written: usize,
    ) -> Result<(), FinishError> {
        self.finish(bounce, bytes, flow, written)
    }
}

//! Ctrl-C and its relatives: a flag that each wait in the rig looks at.
//!
//! Nothing dies inside a signal handler: the wait returns [`Error::Interrupted`], guards run on the way out, and `main`
//! turns it into exit code 130.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::TERM_SIGNALS;

use crate::error::{Error, Result};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts listening. A second signal ends the rig at once; its children then die with it.
pub(crate) fn listen() -> Result {
    let flag = FLAG.get_or_init(Arc::default);
    for &signal in TERM_SIGNALS {
        // In this order: the first signal finds the flag unset, so only the second one exits.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
            .map_err(|source| Error::Start { program: format!("signal {signal}"), source })?;
    }
    Ok(())
}

/// Fails if someone asked the rig to end.
pub(crate) fn check() -> Result {
    match FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}

//! Whether the domain has a PCI device: at its start, and in one that is given its devices while it runs.

use super::FrontError;
use crate::{
    arch::{time::Clock, wait::Deadline},
    xen::{
        store::{Store, StoreError, TxId},
        xenbus::{Device, XenbusState, read_state},
    },
};
use core::time::Duration;

/// Where the toolstack puts the domain's PCI device, and what a watch there is called.
const DIR: &str = "device/pci";
/// How long a lost watch event can delay a wait.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The domain's PCI device, not in use yet: one xenbus device, that all functions hang off.
pub(super) fn find(store: &dyn Store) -> Result<Device, FrontError> {
    let device = Device::first(store, "pci")?.ok_or(FrontError::NoDevice)?;
    match read_state(store, &device.dir)? {
        XenbusState::Initialising => Ok(device),
        state => Err(FrontError::AlreadyUsed { state }),
    }
}

/// Waits until the domain has a device that [`super::Front::connect`] can connect to. The error is the last reason why
/// it can't: none is there, or the nodes of the one before are.
pub fn await_arrival(
    store: &dyn Store,
    clock: &dyn Clock,
    limit: Duration,
) -> Result<(), FrontError> {
    let mut why = FrontError::NoDevice;
    let found = watched(store, clock, limit, &mut || match find(store) {
        Ok(_) => Ok(true),
        Err(error @ (FrontError::NoDevice | FrontError::AlreadyUsed { .. })) => {
            why = error;
            Ok(false)
        }
        // The nodes are written, or removed, one by one.
        Err(FrontError::Store(StoreError::Refused { .. })) => Ok(false),
        Err(error) => Err(error),
    })?;
    if found { Ok(()) } else { Err(why) }
}

/// Waits until the toolstack has removed the nodes of the domain's device; whether it did.
pub fn await_removal(
    store: &dyn Store,
    clock: &dyn Clock,
    limit: Duration,
) -> Result<bool, FrontError> {
    watched(store, clock, limit, &mut || Ok(store.directory_optional(TxId::NONE, DIR)?.is_empty()))
}

/// Looks until it is so, whenever something changes there; false when the time is over.
fn watched(
    store: &dyn Store,
    clock: &dyn Clock,
    limit: Duration,
    is_so: &mut dyn FnMut() -> Result<bool, FrontError>,
) -> Result<bool, FrontError> {
    store.watch(DIR, DIR)?;
    let seen = Deadline::new(clock, limit).turns(|until| -> Result<_, FrontError> {
        if is_so()? {
            return Ok(Some(()));
        }
        store.wait_event(DIR, until.min(clock.now().after(LOOK_AGAIN)))?;
        Ok(None)
    });
    // An answer is worth more than the watch, which ends with the domain at the latest.
    if let Err(error) = store.unwatch(DIR, DIR) {
        log::warn!("pcifront: {error}");
    }
    Ok(seen?.is_some())
}

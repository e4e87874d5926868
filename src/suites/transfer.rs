//! One run of bytes out and back: what the suites `irq` and `dma` are made of, and the causes to tell apart when it
//! does not come.

use super::rung::if_lost;
use crate::{
    addr::{BusAddr, to_usize},
    arch::time::{Clock, Instant},
    device::{
        Arrival, Sent,
        pattern::{MISMATCH_REMEDY, differs},
    },
    dma::{OwnedSlice, Source},
    guest::{Guest, Running, bus_state},
    report::{Outcome, Reason},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::ops::Range;

/// Bytes that came back.
#[derive(Debug)]
pub(super) struct Trip {
    /// How they went out.
    pub(super) record: Sent,
    /// What was sent.
    pub(super) sent: Source,
    /// What came back.
    pub(super) back: Vec<u8>,
}

/// The device's interrupt, if it is bound, did not come.
pub(super) fn irq_lost(device: &Running<'_>, detail: String) -> Outcome {
    let remedy = if_lost(device.interrupt.bound().ok().map(|bound| (bound.how, bound.pirq)));
    Outcome::Failure(Reason::new("irq-lost", detail).remedy(remedy))
}

/// Has the device read `bytes` from where they lie, and waits for them to come back, and for the interrupt if they are
/// not there at once.
pub(super) fn send_and_receive(
    device: &mut Running<'_>,
    bytes: Source,
    deadline: Instant,
) -> Result<Trip, Outcome> {
    if device.interrupt.bound().is_err() {
        return send_and_poll(device, bytes, deadline);
    }
    let (record, sent) = device.mover().send(bytes)?;
    let mut back = Vec::new();
    let len = device.until(deadline).turns(|until| -> Result<_, Outcome> {
        if let Some(len) = look(device, &sent, &mut back, deadline)? {
            return Ok(Some(len));
        }
        if device.interrupt.wait(until) {
            device.acknowledge();
            return Ok(None);
        }
        // What only lacks its interrupt is there now.
        match look(device, &sent, &mut back, deadline)? {
            None => Ok(None),
            // Both may come in the last moment.
            Some(len) if device.interrupt.take() => {
                device.acknowledge();
                Ok(Some(len))
            }
            Some(_) => Err(lost_interrupt(device, &sent)),
        }
    })?;
    let len = len.ok_or_else(|| device.mover().missing(&record))?;
    back.truncate(len);
    Ok(Trip { record, sent, back })
}

/// As [`send_and_receive`], with the interrupt left alone.
pub(super) fn send_and_poll(
    device: &mut Running<'_>,
    bytes: Source,
    deadline: Instant,
) -> Result<Trip, Outcome> {
    let (record, sent) = device.mover().send(bytes)?;
    let mut back = Vec::new();
    let len = device.until(deadline).turns(|_| look(device, &sent, &mut back, deadline))?;
    let len = len.ok_or_else(|| device.mover().missing(&record))?;
    back.truncate(len);
    Ok(Trip { record, sent, back })
}

/// [`send_and_receive`] or [`send_and_poll`].
pub(super) type Transfer = fn(&mut Running<'_>, Source, Instant) -> Result<Trip, Outcome>;

/// Fills the chosen range of `bytes`, has the device under test move it, and compares each byte; returns how it went out, and
/// the memory. What `aim` names is the slot to bounce through. Where the interrupt is lost the device is polled from then on.
pub(super) fn round_trip(
    guest: &mut Guest,
    mut bytes: OwnedSlice,
    range: Range<usize>,
    aim: Option<BusAddr>,
    transfer: Transfer,
) -> Result<(Sent, OwnedSlice), Outcome> {
    let (now, pool) = (guest.shared.now(), guest.pool.pool);
    let device = guest.device_mut()?;
    let seed = to_usize(device.compared.transfers);
    let running = device.running()?;
    running.mover().fill(bytes.select(range), seed)?;
    let deadline = now.after(running.mover().patience());
    if let Some(slot) = aim {
        pool.aim(slot);
    }
    let trip = transfer(running, bytes.into(), deadline).map_err(|outcome| {
        let outcome = with_bus_state(guest, outcome);
        guest.poll_if_lost(outcome)
    })?;
    let Trip { record, sent, back } = trip;
    match differs(&back, &sent) {
        None => {
            let compared = &mut guest.device_mut()?.compared;
            compared.transfers += 1;
            compared.bytes += sent.len() as u64;
            let sent = sent.into_slice().ok_or_else(not_back)?;
            Ok((record, sent))
        }
        Some(at) => {
            let byte = |bytes: &[u8]| {
                bytes.get(at).map_or_else(|| "nothing".into(), |byte| format!("{byte:#04x}"))
            };
            let source = record.source.map_or_else(
                || "no RAM".into(),
                |place| format!("{} at {}", place.phys, place.bus),
            );
            let detail = format!(
                "length {}, byte {at}: sent {}, got {}; source {source}, DMA {}",
                sent.len(),
                byte(&sent),
                byte(&back),
                record.dma
            );
            let mismatch = Reason::new("dma-byte-mismatch", detail).remedy(MISMATCH_REMEDY);
            Err(with_bus_state(guest, Outcome::Failure(mismatch)))
        }
    }
}

/// That a driver did not give the memory back that it was given.
fn not_back() -> Outcome {
    Outcome::Failure(Reason::new(
        "dma-not-back",
        "the driver gave back other memory than it was given",
    ))
}

/// The same outcome with what config space says of the device: whether an address it used was refused.
pub(super) fn with_bus_state(guest: &Guest, outcome: Outcome) -> Outcome {
    let (Ok(connection), Ok(device)) = (&guest.connection, guest.device()) else {
        return outcome;
    };
    match outcome {
        Outcome::Failure(mut reason) => {
            let state = bus_state(connection, device.bdf);
            reason.detail = format!("{}; {state}", reason.detail);
            Outcome::Failure(reason)
        }
        other => other,
    }
}

/// How many bytes of what was sent are back, if they are. What is there before them is passed over.
fn look(
    device: &mut Running<'_>,
    sent: &[u8],
    back: &mut Vec<u8>,
    deadline: Instant,
) -> Result<Option<usize>, Outcome> {
    let found = device.until(deadline).turns(|_| -> Result<_, Outcome> {
        Ok(match device.fetch(sent, back)? {
            Arrival::Nothing => Some(None),
            Arrival::Other => None,
            Arrival::Back(len) => Some(Some(len)),
        })
    })?;
    Ok(found.flatten())
}

fn lost_interrupt(device: &mut Running<'_>, sent: &[u8]) -> Outcome {
    let cause = device.acknowledge();
    let bound = device.interrupt.bound().map(ToString::to_string).unwrap_or_default();
    let detail = format!(
        "{} bytes came back, but no interrupt ({bound}); the device asks for attention with {cause:?}",
        sent.len()
    );
    irq_lost(device, detail)
}

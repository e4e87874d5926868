//! One frame out and back: what the suites `irq` and `dma` are made of, and the causes to tell apart when it
//! does not come.

use super::{
    device::{Card, bus_state},
    guest::Guest,
    runner::skip,
    verdict::{Outcome, Reason},
};
use crate::{
    arch::time::Instant,
    dma::OwnedSlice,
    nic::{HEADER, TxRecord},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A frame that came back.
#[derive(Debug)]
pub(super) struct Trip {
    /// How it went out.
    pub(super) record: TxRecord,
    /// What was sent.
    pub(super) sent: OwnedSlice,
    /// What came back.
    pub(super) back: Vec<u8>,
}

/// What to do about an interrupt that does not come; both are causes seen on Xen.
pub(super) const IRQ_REMEDY: &str = "pin the guest (`cpus = \"0\"` in its configuration) or boot Xen with `iommu=no-intremap`: \
     remapped INTx that moves between CPUs gets lost; see `xl debug-keys i` and `xl dmesg`";

pub(super) fn nic_failure(code: &'static str, detail: String, remedy: &'static str) -> Outcome {
    Outcome::Failure(Reason::new(code, detail).remedy(remedy))
}

/// Sends `frame` from where it lies and waits for it to come back, and for the interrupt if it is not there at once.
/// Frames from the wire may turn up among those looped back; they are passed over.
pub(super) fn send_and_receive(
    card: &mut Card,
    frame: OwnedSlice,
    deadline: Instant,
) -> Result<Trip, Outcome> {
    let (record, sent) = send(card, frame)?;
    let mut strays = Strays::default();
    let back = card.interrupt.until(deadline).turns(|until| -> Result<_, Outcome> {
        if let Some(back) = look(card, &sent, &mut strays, deadline)? {
            return Ok(Some(back));
        }
        if card.interrupt.wait(until) {
            card.acknowledge();
            return Ok(None);
        }
        // What only lacks its interrupt is there now.
        match look(card, &sent, &mut strays, deadline)? {
            None => Ok(None),
            // Both may come in the last moment.
            Some(back) if card.interrupt.take() => {
                card.acknowledge();
                Ok(Some(back))
            }
            Some(_) => Err(lost_interrupt(card, &sent)),
        }
    })?;
    let back = back.ok_or_else(|| no_frame(card, &record, &strays))?;
    Ok(Trip { record, sent, back })
}

/// As [`send_and_receive`], with the interrupt left alone.
pub(super) fn send_and_poll(
    card: &mut Card,
    frame: OwnedSlice,
    deadline: Instant,
) -> Result<Trip, Outcome> {
    let (record, sent) = send(card, frame)?;
    let mut strays = Strays::default();
    let back = card
        .interrupt
        .until(deadline)
        .turns(|_| look(card, &sent, &mut strays, deadline))?
        .ok_or_else(|| no_frame(card, &record, &strays))?;
    Ok(Trip { record, sent, back })
}

fn send(card: &mut Card, frame: OwnedSlice) -> Result<(TxRecord, OwnedSlice), Outcome> {
    let sent = card.nic.transmit_in_place(frame);
    sent.map_err(|e| nic_failure(e.code(), e.to_string(), e.remedy()))
}

/// The same outcome with what config space says of the device: whether an address it used was refused.
pub(super) fn with_bus_state(guest: &Guest, outcome: Outcome) -> Outcome {
    let (Ok(connection), Ok(identity)) = (&guest.connection, &guest.identity) else {
        return outcome;
    };
    match outcome {
        Outcome::Failure(mut reason) => {
            let state = bus_state(&connection.front, identity.bdf);
            reason.detail = format!("{}; {state}", reason.detail);
            Outcome::Failure(reason)
        }
        other => other,
    }
}

/// Frames that came instead.
#[derive(Debug, Default)]
struct Strays {
    count: usize,
    /// One that has most of the bytes that were sent, and where it first differs.
    damaged: Option<(usize, usize)>,
}

/// The frame sent, if it is there. What is there before it is passed over.
fn look(
    card: &mut Card,
    sent: &[u8],
    strays: &mut Strays,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, Outcome> {
    let mut back = Vec::new();
    let ours = card.interrupt.until(deadline).turns(|_| {
        let received = card.nic.receive(&mut back);
        match received.map_err(|e| nic_failure(e.code(), e.to_string(), e.remedy()))? {
            None => Ok(Some(None)),
            Some(len) if is_ours(&back[..len], sent) => Ok(Some(Some(len))),
            Some(len) => {
                strays.count += 1;
                strays.damaged = strays.damaged.or_else(|| damage(&back[..len], sent));
                Ok(None)
            }
        }
    })?;
    Ok(ours.flatten().map(|len| {
        back.truncate(len);
        back
    }))
}

/// Whether a received frame can be the one sent: as long, and with the same addresses and type. A frame from
/// the wire has others.
fn is_ours(received: &[u8], sent: &[u8]) -> bool {
    received.len() == sent.len() && received[..HEADER] == sent[..HEADER]
}

/// The length of a frame that can only be the one sent, with a wrong length or header, and where it first differs.
///
/// Three quarters of its bytes are where they were sent: no frame from the wire has that.
fn damage(received: &[u8], sent: &[u8]) -> Option<(usize, usize)> {
    let both = received.iter().zip(sent);
    let same = both.clone().filter(|(a, b)| a == b).count();
    let at = both.clone().position(|(a, b)| a != b).unwrap_or(both.len());
    (4 * same >= 3 * received.len().min(sent.len())).then_some((received.len(), at))
}

fn lost_interrupt(card: &mut Card, sent: &[u8]) -> Outcome {
    let cause = card.acknowledge();
    let (pirq, port) = (card.interrupt.pirq, card.interrupt.port);
    let detail = format!(
        "{} bytes came back, but {pirq} never rang {port}; the card asks for attention with {cause:?}",
        sent.len()
    );
    nic_failure("irq-lost", detail, IRQ_REMEDY)
}

fn no_frame(card: &Card, record: &TxRecord, strays: &Strays) -> Outcome {
    let TxRecord { len, dma, .. } = record;
    if let Some((length, at)) = strays.damaged {
        let detail =
            format!("{len} bytes sent from {dma} came back as {length}, wrong from byte {at} on");
        return nic_failure("dma-byte-mismatch", detail, MISMATCH_REMEDY);
    }
    if !card.nic.link_up() {
        return skip("link-down", "the link is down, and this chip loops nothing back without one");
    }
    let detail =
        format!("{len} bytes sent from {dma} did not come back; {} others did", strays.count);
    let remedy = "see `xl dmesg` for IOMMU faults; without any, the device may not do loopback";
    nic_failure("dma-no-frame", detail, remedy)
}

/// What to do about bytes that are not those sent.
pub(super) const MISMATCH_REMEDY: &str =
    "a wrong frame in P2M or IOMMU, or memory that is not coherent: try swiotlb=force";

//! What a device reaches: it is had to read a page, and what it brings back tells whether it did.
//!
//! Only bytes that come back are believed. Zeros, ones, bytes of an earlier transfer, an error of the device's or silence
//! are all one: blocked.

use crate::{
    addr::BusAddr,
    arch::wait::Deadline,
    device::{Arrival, Mover, Via, pattern::mix},
    dma::Source,
    nic::EXPERIMENTAL,
    report::Outcome,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The very bytes came back.
    Reached,
    /// They did not, and this did in their place.
    Blocked(String),
}

/// Has a device read `source`, which lies at `bus`, and looks until `wait` is over whether it brings the bytes back.
///
/// An error is one of the guest's doing, or a device that can't be asked: it says nothing about what is reached.
pub fn read_by(
    mover: &mut dyn Mover,
    source: Source,
    bus: BusAddr,
    wait: &Deadline<'_>,
) -> Result<Seen, Outcome> {
    let wanted = source.to_vec();
    // What was read is held until its bytes came.
    let (sent, _held) = match mover.send(source) {
        Ok(sent) => sent,
        Err(outcome) => return refused(mover, bus, wanted.len(), outcome),
    };
    let mut back = Vec::new();
    let came = wait.turns(|_| match mover.fetch(&wanted, &mut back) {
        Ok(Arrival::Back(len)) => Ok(Some(len)),
        Ok(Arrival::Nothing | Arrival::Other) => Ok(None),
        Err(outcome) => Err(outcome),
    });
    match came {
        Ok(Some(len)) if back.get(..len) == Some(&*wanted) => Ok(Seen::Reached),
        Ok(Some(len)) => Ok(Seen::Blocked(instead(back.get(..len).unwrap_or(&back)))),
        Ok(None) => match mover.missing(&sent) {
            skip @ Outcome::Skip(_) => Err(skip),
            missing => Ok(Seen::Blocked(said(&missing))),
        },
        Err(outcome) => refused(mover, bus, wanted.len(), outcome),
    }
}

/// What an error comes to: the device's answer, if it was told of the page and not before.
fn refused(mover: &dyn Mover, bus: BusAddr, len: usize, outcome: Outcome) -> Result<Seen, Outcome> {
    let mut given = mover.dma_ranges().iter();
    let told = given.any(|range| range.via == Via::Probe && range.covers(bus, len));
    match outcome {
        Outcome::Failure(_) if told => Ok(Seen::Blocked(said(&outcome))),
        outcome => Err(outcome),
    }
}

fn said(outcome: &Outcome) -> String {
    outcome.reason().to_string()
}

/// The first bytes of what came in place of those that lay there.
fn instead(back: &[u8]) -> String {
    let first = &back[..back.len().min(8)];
    format!("{} bytes came that do not lie there: {first:02x?}…", back.len())
}

/// The nth word of a page that a device is tried on, from any `seed`: what a page table may have, and a card's frame
/// from [`FRAME`] on that nobody minds, of the type that a mirror sends back.
pub fn word(seed: u64, nth: usize) -> u64 {
    let drawn = mix(seed ^ (nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    match nth {
        // Nobody's source address is a group's.
        1 => drawn & !(1 << 16),
        2 => drawn & !0xffff | u64::from(u16::from_le_bytes(EXPERIMENTAL)),
        _ => drawn,
    }
}

/// Where in such a page a frame starts.
pub const FRAME: usize = 4;

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;

//! What the report says of the machine's addresses: the memory map, the devices' registers, and where the domain's own frames
//! are, at its start, with its pool, and at its end.

use crate::{
    guest::{Guest, Placed},
    pci::BarKind,
    report::ktap::{MAP_LINES, MapKind, MapLine, Writer},
};
use alloc::{format, string::ToString};
use core::fmt;

/// What there is to say before the first suite.
pub(super) fn at_start<W: fmt::Write>(guest: &Guest, writer: &mut Writer<W>) -> fmt::Result {
    let entries = guest.map.iter().flat_map(|map| map.entries()).take(MAP_LINES);
    for entry in entries {
        let (first, last) = (entry.start.0, entry.end() - 1);
        let word = format!("{:?}", entry.kind);
        writer.map(&MapLine { kind: MapKind::E820, first, last, word })?;
    }
    let known = guest.assigned.iter().filter_map(|device| device.resources.as_ref().ok());
    let bars = known.flat_map(|device| device.bars.iter().map(move |bar| (device.bdf, bar)));
    for (bdf, bar) in bars.take(MAP_LINES) {
        if let (BarKind::Memory { .. }, Some(first)) = (bar.kind, bar.placed()) {
            let last = first.0.saturating_add(bar.size - 1);
            let word = format!("{bdf}/{}", bar.index);
            writer.map(&MapLine { kind: MapKind::Bar, first: first.0, last, word })?;
        }
    }
    frames(MapKind::Boot, &guest.frames_at_boot, writer)?;
    frames(MapKind::Pool, &guest.memory.p2m().spans(), writer)
}

/// What there is to say after the last one.
pub(super) fn at_end<W: fmt::Write>(guest: &Guest, writer: &mut Writer<W>) -> fmt::Result {
    frames(MapKind::End, &guest.memory.p2m().spans(), writer)
}

fn frames<W: fmt::Write>(kind: MapKind, placed: &Placed, writer: &mut Writer<W>) -> fmt::Result {
    placed.all().iter().try_for_each(|span| {
        let word = span.pages.to_string();
        writer.map(&MapLine { kind, first: span.first, last: span.last, word })
    })
}

//! Can a device use a buffer where it lies? Looks at every page of it, in both numberings.

use super::{error::Why, limits::Limits};
use crate::{
    addr::{BusAddr, PAGE_SIZE},
    mm::translate::{Place, Translate},
};

/// Where the buffer lies, if the device can use all of it there; else the first thing that is wrong.
///
/// The far end counts as much as the start: a buffer may start below the mask and end above it, and
/// pages next to each other in the CPU's view may be anywhere in the machine.
pub fn dma_capable(
    translate: &dyn Translate,
    buffer: &[u8],
    limits: &Limits,
) -> Result<Place, Why> {
    let first = place_at(translate, buffer, 0)?;
    let mut offset = 0;
    while offset < buffer.len() {
        let place = if offset == 0 { first } else { place_at(translate, buffer, offset)? };
        let expected = first.bus.0.checked_add(offset as u64);
        // A mask ends with a page, so the whole page may be asked for.
        let here = PAGE_SIZE - place.bus.page_offset();
        check_page(place, here, limits)?;
        // No address follows the last one there is.
        if Some(place.bus.0) != expected {
            let (expected, found) = (BusAddr(expected.unwrap_or(u64::MAX)), place.bus);
            return Err(Why::NotContiguous { offset, expected, found });
        }
        offset += here;
    }
    check_shape(first.bus, buffer.len(), limits)?;
    Ok(first)
}

/// The place of byte `offset`; a translation that moves bytes within their page is not believed.
fn place_at(translate: &dyn Translate, buffer: &[u8], offset: usize) -> Result<Place, Why> {
    let address = buffer.as_ptr().wrapping_add(offset);
    let in_page = address.addr() % PAGE_SIZE;
    translate
        .place_of(address)
        .filter(|place| place.bus.page_offset() == in_page && place.phys.page_offset() == in_page)
        .ok_or(Why::NotRam { offset })
}

fn check_page(place: Place, len: usize, limits: &Limits) -> Result<(), Why> {
    let (bus, mask) = (place.bus, limits.mask);
    if !mask.covers(bus, len) {
        return Err(Why::OutOfMask { bus, mask });
    }
    let (phys, mask) = (place.phys, limits.phys_mask);
    if !mask.covers(BusAddr(phys.0), len) {
        return Err(Why::OutOfPhysMask { phys, mask });
    }
    Ok(())
}

/// Alignment and boundary of a run of bytes on the bus.
fn check_shape(bus: BusAddr, len: usize, limits: &Limits) -> Result<(), Why> {
    let alignment = limits.alignment;
    if bus.0 & alignment.low_bits() as u64 != 0 {
        return Err(Why::Misaligned { bus, alignment });
    }
    if let Some(boundary) = limits.boundary {
        let inside = bus.0 & boundary.low_bits() as u64;
        if inside + len as u64 > boundary.bytes() as u64 {
            return Err(Why::CrossesBoundary { bus, len, boundary });
        }
    }
    Ok(())
}

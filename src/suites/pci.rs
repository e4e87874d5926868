//! Suite `pci`: the way to the device's config space works, and what is in it makes sense.

use super::check::{Finding, Suite, all_hold, attends, failure, proof};
use crate::{
    guest::Guest,
    pci::{Bar, BarKind, Function, Resources, Width, mastering},
    println,
    report::{Outcome, Reason, ktap::FigureLine},
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

pub(super) const SUITE: Suite = Suite {
    name: "pci",
    missing: |guest| match &guest.connection {
        Err(Outcome::Skip(reason)) => Some(reason.clone()),
        _ => None,
    },
    of_a_device: true,
    tidies: false,
    checks: &[
        proof("frontend_connects", frontend_connects),
        proof("device_is_recognised", device_is_recognised),
        proof("widths_agree", widths_agree),
        proof("byte_write_sticks", byte_write_sticks),
        attends("harmless_bits_are_as_before", harmless_bits_are_as_before),
        proof("bars_have_addresses", bars_have_addresses),
        proof("capabilities_end", capabilities_end),
        proof("bus_master_is_on_while_driven", bus_master_is_on_while_driven),
        proof("driver_starts", driver_starts),
    ],
};

/// `PCI_CACHE_LINE_SIZE`: one byte that software may set freely and pciback passes through.
const CACHE_LINE_SIZE: u16 = 0x0c;

fn frontend_connects(guest: &mut Guest) -> Finding {
    guest.connection.as_ref().map_err(Clone::clone)?;
    let front = guest.front()?;
    let functions: Vec<_> = front.functions().iter().map(ToString::to_string).collect();
    Ok(functions.join(" "))
}

fn device_is_recognised(guest: &mut Guest) -> Finding {
    let resources = resources(guest)?;
    let Resources { bdf, id, class, pin, .. } = resources;
    let line = match (pin, resources.line()) {
        (_, Some(pirq)) => pirq.to_string(),
        (Some(_), None) => "an interrupt pin that leads nowhere known".into(),
        (None, None) => "no interrupt pin".into(),
    };
    Ok(format!("{bdf} {id} {class}, {line}"))
}

fn widths_agree(guest: &mut Guest) -> Finding {
    let host = guest.host()?;
    let bdf = resources(guest)?.bdf;
    for offset in (0..0x40).step_by(4) {
        let read = |offset, width| host.read(bdf, offset, width);
        let whole = read(offset, Width::U32)?;
        let halves = read(offset, Width::U16)? | read(offset + 2, Width::U16)? << 16;
        let bytes = (0..4)
            .try_fold(0, |sum, i| read(offset + i, Width::U8).map(|byte| sum | byte << (8 * i)))?;
        // The status register's low half is volatile in no bit that pciback shows.
        let parts = [("halves", whole == halves), ("bytes", whole == bytes)];
        let measured = || format!("{offset:#04x}: {whole:#010x}, {halves:#010x}, {bytes:#010x}");
        all_hold("pci-widths", &parts, measured)?;
    }
    Ok("16 registers in 3 widths".into())
}

fn byte_write_sticks(guest: &mut Guest) -> Finding {
    let host = guest.host()?;
    let bdf = resources(guest)?.bdf;
    let read = || host.read(bdf, CACHE_LINE_SIZE, Width::U8);
    let write = |value| host.write(bdf, CACHE_LINE_SIZE, Width::U8, value);
    let before = read()?;
    write(before ^ 0x10)?;
    let flipped = read()?;
    write(before)?;
    let after = read()?;
    let parts = [("flipped", flipped == before ^ 0x10), ("as before", after == before)];
    let measured =
        || format!("{before:#04x}, after flipping bit 4 {flipped:#04x}, then {after:#04x}");
    all_hold("pci-write-lost", &parts, measured)?;
    Ok(String::new())
}

/// Prints which bits take what is written: what a backend drops it drops without a word.
fn harmless_bits_are_as_before(guest: &mut Guest) -> Finding {
    let line = |cells: &[String]| println!("  {}", FigureLine { table: "config-writes", cells });
    line(&["register", "offset", "tried", "taken"].map(String::from));
    let function = function(guest)?;
    let (mut tried, mut taken) = (0, 0);
    for field in function.harmless_fields()? {
        let done = field.attempt(&function)?;
        let numbers = [u32::from(field.offset), field.tried, done.taken];
        let [offset, bits, kept] = numbers.map(|number| format!("{number:#x}"));
        line(&[field.name.into(), offset, bits, kept]);
        if !done.is_restored() {
            let detail = format!("{}: {:#x}, then {:#x}", field.name, done.before, done.after);
            return Err(failure("pci-not-restored", detail));
        }
        tried += field.tried.count_ones();
        taken += done.taken.count_ones();
    }
    Ok(format!("{taken} of {tried} bits take what is written"))
}

fn bars_have_addresses(guest: &mut Guest) -> Finding {
    let resources = resources(guest)?;
    let homeless = resources
        .bars
        .iter()
        .find(|bar| matches!(bar.kind, BarKind::Memory { address, .. } if address.0 == 0));
    if let Some(bar) = homeless {
        let reason =
            Reason::new("pci-no-address", format!("BAR {} of {} bytes", bar.index, bar.size));
        return Err(Outcome::Failure(reason.remedy("see dom0's kernel log for `can't assign`")));
    }
    let bars: Vec<_> = resources.bars.iter().map(describe).collect();
    Ok(bars.join(", "))
}

fn describe(bar: &Bar) -> String {
    match bar.kind {
        BarKind::Memory { address, .. } => format!("BAR {} {address}+{:#x}", bar.index, bar.size),
        BarKind::Io { port } => format!("BAR {} port {port:#x}+{:#x}", bar.index, bar.size),
    }
}

fn capabilities_end(guest: &mut Guest) -> Finding {
    let function = function(guest)?;
    let mut names: Vec<_> =
        function.capabilities()?.iter().map(|cap| format!("{:#04x}", cap.id.0)).collect();
    match function.extended_capabilities()? {
        None => names.push("and beyond 0xff out of reach".into()),
        Some(more) => names.extend(more.iter().map(|cap| format!("{:#06x}", cap.id))),
    }
    Ok(if names.is_empty() { "none".into() } else { names.join(" ") })
}

/// It is not turned off under a driver that runs: some devices lose more by that than their accesses (QEMU's of virtio are
/// to be reset then). That it can be turned off is seen where the driver lets go of it.
fn bus_master_is_on_while_driven(guest: &mut Guest) -> Finding {
    let (host, bdf) = (guest.host()?, resources(guest)?.bdf);
    match guest.device()?.running {
        Ok(_) => mastering::dma_is_on(host, bdf)?,
        Err(_) => mastering::stop_dma(host, bdf).map(|_| ())?,
    }
    Ok(String::new())
}

fn driver_starts(guest: &mut Guest) -> Finding {
    let running = guest.device()?.running.as_ref().map_err(Clone::clone)?;
    match running.refused(resources(guest)?) {
        None => Ok(running.describe()),
        Some(outcome) => Err(outcome),
    }
}

fn resources(guest: &Guest) -> Result<&Resources, Outcome> {
    guest.device()?.resources.as_ref().map_err(Clone::clone)
}

fn function(guest: &Guest) -> Result<Function<'_>, Outcome> {
    let host = guest.host()?;
    let bdf = resources(guest)?.bdf;
    Function::probe(host, bdf)?.ok_or_else(|| failure("pci-gone", format!("{bdf} went away")))
}

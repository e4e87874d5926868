//! Suite `irq`: events reach the guest, and the device's interrupt is one of them.

use super::{
    check::{Finding, Suite, attends, failure, nothing, proof},
    faults,
    rung::{ENTRY, is_no_storm, is_on, message_in, reaches_a_processor},
    transfer::{irq_lost, send_and_poll, send_and_receive, with_bus_state},
};
use crate::{
    addr::BusAddr,
    arch::{
        time::{Clock, millis},
        traps,
        wait::Deadline,
    },
    device::{Cause, Registers as _, StartError},
    dma::Source,
    guest::{Guest, Running},
    mm::pages::DeviceMemory,
    pci::{
        Delivery, Function,
        msi::{InBar, Msi, Msix},
    },
    report::verdict::Outcome,
    xen::{
        errno::XenError,
        events::{EventChannels, Port},
        hypercall,
    },
};
use alloc::{
    format,
    string::{String, ToString},
    vec,
};
use core::time::Duration;

pub(super) const SUITE: Suite = Suite {
    name: "irq",
    missing: nothing,
    of_a_device: true,
    tidies: false,
    checks: &[
        proof("event_channel_rings", event_channel_rings),
        proof("poll_ends_at_its_deadline", poll_ends_at_its_deadline),
        proof("upcall_reaches_the_handler", upcall_reaches_the_handler),
        proof("intx_interrupts", intx_interrupts),
        proof("msi_interrupts", msi_interrupts),
        proof("msix_interrupts", msix_interrupts),
        attends("best_one_stays", best_one_stays),
    ],
};

const TRANSFERS: u64 = 32;
/// How long a device may go on interrupting for what was before.
const SETTLING: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_millis(20);

fn xen(error: XenError) -> Outcome {
    failure("irq-hypercall", error.to_string())
}

/// Runs `test` with a port that rings at ourselves, and closes it.
fn with_own_port(guest: &Guest, test: impl FnOnce(Port) -> Finding) -> Finding {
    let port = guest.events.bind_ipi().map_err(xen)?;
    let finding = test(port);
    guest.events.close(port).map_err(xen)?;
    finding
}

fn event_channel_rings(guest: &mut Guest) -> Finding {
    with_own_port(guest, |port| {
        guest.events.notify(port).map_err(xen)?;
        if !guest.events.take(port) {
            return Err(failure("irq-event-lost", format!("{port} was rung and is not pending")));
        }
        if guest.events.take(port) {
            return Err(failure(
                "irq-event-stuck",
                format!("{port} is pending after it was taken"),
            ));
        }
        Ok(String::new())
    })
}

/// A poll may return early, so it is called in turns; what counts is that they end, and not long after the deadline.
fn poll_ends_at_its_deadline(guest: &mut Guest) -> Finding {
    /// A busy host may run the guest late; a lost timer never.
    const LATEST: Duration = Duration::from_secs(2);
    /// Far more than return early, and far less than fit into the wait if none sleeps.
    const POLLS: u32 = 1000;
    with_own_port(guest, |port| {
        let start = guest.shared.now();
        let deadline = start.after(SILENCE);
        let mut polls = 0;
        Deadline::at(guest.shared, deadline).turns(|until| -> Result<Option<()>, Outcome> {
            guest.events.poll(&[port], until).map_err(xen)?;
            polls += 1;
            Ok(None)
        })?;
        let slept = guest.shared.now().since(start);
        if polls > POLLS {
            let detail = format!("{polls} polls in {} ms: none of them slept", millis(slept));
            return Err(failure("irq-poll-busy", detail));
        }
        if slept > LATEST {
            let detail = format!("{} ms instead of {}", millis(slept), millis(SILENCE));
            return Err(failure("irq-poll-late", detail));
        }
        Ok(format!("{} ms in {polls} polls", millis(slept)))
    })
}

fn upcall_reaches_the_handler(guest: &mut Guest) -> Finding {
    with_own_port(guest, |port| {
        let before = traps::upcalls();
        guest.shared.clear_upcall();
        guest.shared.set_upcall_mask(false);
        // Unmasking the port with its bit set has Xen make the upcall on the way out of the hypercall;
        // the handler masks upcalls again.
        let rung = guest.events.notify(port).and_then(|()| hypercall::unmask(port));
        guest.shared.set_upcall_mask(true);
        guest.shared.mask_all();
        let pending = guest.events.take(port);
        guest.shared.clear_upcall();
        rung.map_err(xen)?;
        match (traps::upcalls() - before, pending) {
            (1.., true) => Ok(String::new()),
            (count, pending) => {
                let detail = format!("{count} upcalls, port pending: {pending}");
                Err(failure("irq-no-upcall", detail))
            }
        }
    })
}

fn running(guest: &mut Guest) -> Result<&mut Running<'static>, Outcome> {
    guest.device_mut()?.running()
}

/// Has the shortest run of bytes go out and come back; true if the interrupt came.
fn interrupts_once(guest: &mut Guest, seed: usize) -> Result<bool, Outcome> {
    let now = guest.shared.now();
    let device = running(guest)?;
    let bytes = shortest(device, seed)?;
    let deadline = now.after(device.mover().patience());
    device.acknowledge();
    device.interrupt.take();
    let before = device.interrupt.count;
    let trip = send_and_receive(device, bytes, deadline);
    let came = device.interrupt.count > before || device.interrupt.wait(deadline);
    device.acknowledge();
    trip.map(|_| came).map_err(|outcome| with_bus_state(guest, outcome))
}

fn shortest(device: &mut Running<'_>, seed: usize) -> Result<Source, Outcome> {
    let mut bytes = vec![0; device.mover().lengths().min];
    device.mover().fill(&mut bytes, seed)?;
    Ok(bytes.into())
}

fn intx_interrupts(guest: &mut Guest) -> Finding {
    rung(guest, Delivery::Intx)
}

fn msi_interrupts(guest: &mut Guest) -> Finding {
    rung(guest, Delivery::Msi)
}

fn msix_interrupts(guest: &mut Guest) -> Finding {
    rung(guest, Delivery::Msix)
}

/// One way of interrupting, from turned on to turned off: transfers bring an interrupt each, a masked device none.
fn rung(guest: &mut Guest, how: Delivery) -> Finding {
    guest.deliver(how)?;
    running(guest)?.mover().prepare()?;
    let bound = running(guest)?.interrupt.bound().map(ToString::to_string).unwrap_or_default();
    let state = turned_on(guest, how)?;
    settle(guest)?;
    let before = running(guest)?.interrupt.count;
    for i in 0..TRANSFERS {
        if !interrupts_once(guest, i.to_le_bytes()[0].into())? {
            let detail = format!("{bound}: transfer {i} of {TRANSFERS} brought no interrupt");
            return Err(irq_lost(running(guest)?, detail));
        }
    }
    let count = running(guest)?.interrupt.count - before;
    if !is_no_storm(how, count, TRANSFERS) {
        let detail = format!("{bound}: {count} interrupts for {TRANSFERS} transfers");
        return Err(failure("irq-count", detail));
    }
    masked_is_silent(guest)?;
    turned_off_is_polled(guest)?;
    Ok(format!("{bound}{state}: {count} for {TRANSFERS} transfers, none masked, 1 unmasked, 0 off"))
}

/// Takes what was caused before, until nothing more comes.
fn settle(guest: &mut Guest) -> Result<(), Outcome> {
    let clock = guest.shared;
    let device = running(guest)?;
    device.acknowledge();
    let deadline = clock.now().after(SETTLING);
    device.until(deadline).turns(|_| -> Result<_, Outcome> {
        let more = device.interrupt.wait(clock.now().after(SILENCE).min(deadline));
        device.acknowledge();
        Ok((!more).then_some(()))
    })?;
    Ok(())
}

/// What is on by the device's capabilities, where it has to be what was asked for: `None` asked for neither.
fn on(guest: &Guest, how: Option<Delivery>) -> Result<(Option<Msi>, Option<Msix>), Outcome> {
    let (host, bdf) = (guest.host()?, guest.device()?.bdf);
    let gone = || failure("pci-gone", format!("{bdf} went away"));
    let function = Function::probe(host, bdf)?.ok_or_else(gone)?;
    let msi = function.msi()?.filter(|msi| msi.enabled);
    let msix = function.msix()?.filter(|msix| msix.enabled);
    if is_on(how, msi.is_some(), msix.is_some()) {
        return Ok((msi, msix));
    }
    let wanted =
        how.map_or_else(|| "all was turned off".into(), |how| format!("{how} was turned on"));
    let found = [msi.map(|_| Delivery::Msi), msix.map(|_| Delivery::Msix)];
    let detail = format!("{wanted}; config space has {found:?} on");
    Err(failure("irq-not-on", detail))
}

/// What the device's capability says once its messages are on; nothing for a line.
fn turned_on(guest: &Guest, how: Delivery) -> Result<String, Outcome> {
    let (address, data) = match on(guest, Some(how))? {
        (Some(Msi { message: Some((address, data)), .. }), _) => (address, data.into()),
        (_, Some(msix)) => first_message(guest, msix.table)?,
        _ => return Ok(String::new()),
    };
    let address = faults::stray(guest.options.selftest, address);
    if !reaches_a_processor(address) {
        let detail =
            format!("the device sends its messages to {address:#x}, which is no processor");
        return Err(failure("irq-message", detail));
    }
    Ok(format!(", message {address:#x} {data:#06x}"))
}

/// The message in the first entry of the device's table, which nobody may write but Xen.
fn first_message(guest: &Guest, table: InBar) -> Result<(u64, u32), Outcome> {
    let resources = guest.device()?.resources.as_ref().map_err(Outcome::as_skip)?;
    let (bar, len) = resources.memory_bar(table.bar).map_err(StartError::from)?;
    let offset = table.offset as usize;
    if offset.checked_add(ENTRY).is_none_or(|end| end > len) {
        let detail =
            format!("its table is at {offset:#x} of BAR {}, which has {len:#x} bytes", table.bar);
        return Err(failure("irq-message", detail));
    }
    let at = BusAddr(bar.0 + u64::from(table.offset));
    let entry = DeviceMemory::map(guest.memory, at, ENTRY).map_err(StartError::from)?;
    Ok(message_in(|offset| entry.read_u32(offset)))
}

/// A device whose interrupt is off says so, and moves bytes all the same.
fn turned_off_is_polled(guest: &mut Guest) -> Result<(), Outcome> {
    guest.quiet()?;
    on(guest, None)?;
    let deadline = guest.shared.now().after(running(guest)?.mover().patience());
    let device = running(guest)?;
    let bytes = shortest(device, 0x55)?;
    let sent = send_and_poll(device, bytes, deadline);
    sent.map(drop).map_err(|outcome| with_bus_state(guest, outcome))
}

fn masked_is_silent(guest: &mut Guest) -> Result<(), Outcome> {
    let clock = guest.shared;
    running(guest)?.mover().enable_interrupts(Cause::empty());
    // A message may be on its way, and one that the device holds back to space them out comes even later.
    settle(guest)?;
    let device = running(guest)?;
    let patience = device.mover().patience();
    let bytes = shortest(device, 0x77)?;
    let sent = send_and_poll(device, bytes, clock.now().after(patience));
    let masked = device.interrupt.wait(clock.now().after(SILENCE));
    // The transfer's cause was not acknowledged: what was held back has to come as soon as it may.
    device.mover().enable_interrupts(Cause::RECEIVER);
    let holds_back = device.mover().holds_back();
    let mut unmasked =
        device.interrupt.wait(clock.now().after(if holds_back { patience } else { SILENCE }));
    device.acknowledge();
    sent.map_err(|outcome| with_bus_state(guest, outcome))?;
    if !holds_back {
        unmasked = interrupts_once(guest, 0x78)?;
    }
    match (masked, unmasked) {
        (true, _) => Err(failure("irq-spurious", "an interrupt came while all causes were masked")),
        (false, false) => {
            let detail = "no interrupt came for bytes that came while all causes were masked";
            Err(irq_lost(running(guest)?, detail.into()))
        }
        (false, true) => Ok(()),
    }
}

/// The suites after this one use the best way that works; where none does they poll the device.
fn best_one_stays(guest: &mut Guest) -> Finding {
    running(guest)?;
    let mut last = None;
    for how in Delivery::LADDER {
        match guest.deliver(how).and_then(|()| interrupts_once(guest, 0)) {
            Ok(true) => return Ok(running(guest)?.describe()),
            Ok(false) => {
                let detail = format!("{how}: no interrupt for a transfer");
                last = Some(irq_lost(running(guest)?, detail));
            }
            Err(Outcome::Skip(reason)) => {
                last.get_or_insert(Outcome::Skip(reason));
            }
            Err(outcome) => last = Some(outcome),
        }
    }
    Err(guest
        .poll_if_lost(last.unwrap_or_else(|| failure("irq-lost", "no way of interrupting works"))))
}

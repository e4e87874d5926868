//! Suite `irq`: events reach the guest, and the device's interrupt is one of them.

use super::{
    check::{Finding, Suite, failure, nothing, proof},
    transfer::{irq_lost, send_and_poll, send_and_receive, with_bus_state},
};
use crate::{
    arch::{time::Clock, traps, wait::Deadline},
    device::Cause,
    dma::OwnedSlice,
    guest::{Guest, Running},
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
        proof("device_interrupts", device_interrupts),
        proof("every_transfer_interrupts", every_transfer_interrupts),
        proof("masked_device_is_silent", masked_device_is_silent),
    ],
};

const TRANSFERS: u64 = 32;
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
            let detail = format!("{polls} polls in {} ms: none of them slept", slept.as_millis());
            return Err(failure("irq-poll-busy", detail));
        }
        if slept > LATEST {
            let detail = format!("{} ms instead of {}", slept.as_millis(), SILENCE.as_millis());
            return Err(failure("irq-poll-late", detail));
        }
        Ok(format!("{} ms in {polls} polls", slept.as_millis()))
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

fn running(guest: &mut Guest) -> Result<&mut Running, Outcome> {
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

fn shortest(device: &mut Running, seed: usize) -> Result<OwnedSlice, Outcome> {
    let mut bytes = vec![0; device.mover().lengths().min];
    device.mover().fill(&mut bytes, seed)?;
    Ok(bytes.into())
}

fn device_interrupts(guest: &mut Guest) -> Finding {
    running(guest)?.mover().prepare()?;
    let came = interrupts_once(guest, 1)?;
    let interrupt = &running(guest)?.interrupt;
    let (pirq, port) = (interrupt.pirq, interrupt.port);
    if !came {
        return Err(irq_lost(format!("no event on {port} for {pirq}")));
    }
    Ok(format!("{pirq} on {port}"))
}

fn every_transfer_interrupts(guest: &mut Guest) -> Finding {
    let before = running(guest)?.interrupt.count;
    for i in 0..TRANSFERS {
        if !interrupts_once(guest, i.to_le_bytes()[0].into())? {
            return Err(irq_lost(format!("transfer {i} of {TRANSFERS} brought no interrupt")));
        }
    }
    let count = running(guest)?.interrupt.count - before;
    Ok(format!("{count} interrupts for {TRANSFERS} transfers"))
}

fn masked_device_is_silent(guest: &mut Guest) -> Finding {
    let clock = guest.shared;
    let device = running(guest)?;
    let patience = device.mover().patience();
    device.acknowledge();
    device.interrupt.take();
    device.mover().enable_interrupts(Cause::empty());
    let bytes = shortest(device, 0x77)?;
    let sent = send_and_poll(device, bytes, clock.now().after(patience));
    let masked = device.interrupt.wait(clock.now().after(SILENCE));
    // The transfer's cause was not acknowledged: what was held back has to come as soon as it may.
    device.mover().enable_interrupts(Cause::RECEIVER);
    let unmasked = device.interrupt.wait(clock.now().after(patience));
    device.acknowledge();
    sent.map_err(|outcome| with_bus_state(guest, outcome))?;
    match (masked, unmasked) {
        (true, _) => Err(failure("irq-spurious", "an interrupt came while all causes were masked")),
        (false, false) => {
            let detail = "no interrupt came for bytes that came while all causes were masked";
            Err(irq_lost(detail.into()))
        }
        (false, true) => Ok(String::new()),
    }
}

//! Suite `hotplug`: devices come and go while the guest runs, by `xl pci-attach` and `xl pci-detach`, and what goes does so
//! in the middle of its traffic.
//!
//! ```text
//! guest: data/pvbounce/hotplug = ROUND-0     toolstack: xl pci-attach, for each device
//!        each found, started, 16 transfers
//!        data/pvbounce/hotplug = ROUND-N     toolstack: xl pci-detach, for each of the N
//!        each stopped in mid-traffic, the change answered, everything given back
//! ```
//!
//! Whoever is at the toolstack may be a script that follows the node, or a person who follows the console. Runs only when
//! named.

use super::{
    check::{Finding, Suite, all_hold, attends, failure, proof, skip},
    close::taken,
    faults,
    transfer::{round_trip, send_and_poll},
};
use crate::{
    addr::{BusAddr, PAGE_SIZE},
    arch::{
        time::{Clock as _, millis},
        wait::Deadline,
    },
    device::Cause,
    dma::OwnedSlice,
    guest::{Followed, Guest, blame::of_memory},
    mm::{
        memory::MemoryError,
        pages::{DeviceMemory, Pages},
    },
    pci::{
        Bar,
        front::{self, Pending},
    },
    report::{Outcome, Reason, ktap::Taken},
    xen::{
        events::EventChannels as _,
        store::{Store, TxId},
    },
};
use alloc::{format, string::ToString};
use core::time::Duration;

pub(super) const SUITE: Suite = Suite {
    name: "hotplug",
    missing: |guest| match guest.store {
        Some(_) => None,
        None => Some(Reason::new("no-store", "there is nobody to ask for a device")),
    },
    of_a_device: false,
    tidies: false,
    checks: &[
        proof("devices_come_work_and_go", devices_come_work_and_go),
        attends("no_node_is_left", no_node_is_left),
        attends("no_bar_is_left", no_bar_is_left),
    ],
};

/// Where the guest says how far it is, relative to the domain.
const NODE: &str = "data/pvbounce/hotplug";
/// How long the toolstack, or who sits at it, has for each step.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the toolstack takes at most between what it does to a device and the word about it.
const TIDYING: Duration = Duration::from_secs(10);
/// What no device does by being cut off.
const WROTE_WRONG: [&str; 3] = ["dma-byte-mismatch", "dma-overrun", "dma-overreported"];
/// Transfers that a device makes before it may go.
const TRANSFERS: u64 = 16;

/// What was seen of some rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    /// Devices at once, at most.
    devices: usize,
    /// Transfers compared.
    compared: u64,
    /// What devices had when they were stopped: mappings, and memory for rings.
    aborted: u64,
    /// Transfers that failed because xl had cut the device off.
    cut_off: u64,
    /// The longest that a change took.
    slowest: Duration,
}

fn devices_come_work_and_go(guest: &mut Guest) -> Finding {
    let (count, mut rounds) = (guest.options.rounds, Rounds::default());
    let mut before = taken(guest);
    for round in 1..=count {
        self::round(guest, round, &mut rounds)?;
        let now = taken(guest);
        if round == 1 {
            // The pool has come with the first device, and stays.
            before.frames = now.frames;
        }
        nothing_is_kept(round, &before, &now)?;
        if round == 1 {
            // From here on there is a round for what the guest itself does wrong to be seen in.
            faults::strike(guest);
        }
    }
    let Rounds { devices, compared, aborted, cut_off, slowest } = rounds;
    Ok(format!(
        "rounds: {count}, devices at once: {devices}, {compared} transfers, {cut_off} cut off, \
         {aborted} mappings and rings taken back, a change took at most {} ms",
        millis(slowest)
    ))
}

/// One round, until the last device is gone.
fn round(guest: &mut Guest, round: u32, rounds: &mut Rounds) -> Result<(), Outcome> {
    say(guest, round, 0)?;
    // Who attached a device once, and detached it, is there.
    let in_turn = |outcome| match outcome {
        Outcome::Skip(reason) if round > 1 => Outcome::Failure(reason),
        other => other,
    };
    guest.await_attach(PATIENCE).map_err(in_turn)?;
    let (mut said, mut most, before) = (0, 0, rounds.aborted);
    let gone = Deadline::new(guest.shared, PATIENCE).turns(|_| -> Result<_, Outcome> {
        match guest.follow()? {
            Followed::Gone => return Ok(Some(())),
            Followed::Changed { took, aborted } => {
                rounds.aborted += aborted;
                rounds.slowest = rounds.slowest.max(took);
            }
            Followed::Nothing => {}
        }
        most = most.max(guest.assigned.len());
        match traffic(guest) {
            Ok(compared) => rounds.compared += compared,
            Err(outcome) => {
                is_leaving(guest, outcome)?;
                rounds.cut_off += 1;
            }
        }
        let ready = guest.assigned.iter().all(|device| device.compared.transfers >= TRANSFERS);
        // Once the first has left the others are about to.
        if ready && guest.assigned.len() > said {
            said = guest.assigned.len();
            rounds.devices = rounds.devices.max(said);
            bars_are_open(guest)?;
            say(guest, round, said)?;
        }
        Ok(None)
    })?;
    gone.ok_or_else(|| {
        let detail =
            format!("{} s after it was attached a device is still there", PATIENCE.as_secs());
        let remedy = "run `xl pci-detach` for each device once the guest says that it works";
        Outcome::Failure(Reason::new("hotplug-not-detached", detail).remedy(remedy))
    })?;
    all_hold(
        "hotplug-not-shown",
        &[
            ("each device made its transfers", said > 0 && said == most),
            ("they had memory when they were stopped", rounds.aborted > before),
        ],
        || format!("round {round}: {said} of {most} devices made {TRANSFERS} transfers"),
    )
}

/// One transfer by each device that is there; how many that were.
///
/// They are polled, and no device interrupts: a level that nobody ends would be dom0's once the device leaves.
fn traffic(guest: &mut Guest) -> Result<u64, Outcome> {
    for device in 0..guest.assigned.len() {
        guest.under_test = device;
        let mover =
            guest.device_mut()?.running.as_mut().map_err(|outcome| outcome.clone())?.mover();
        mover.enable_interrupts(Cause::empty());
        mover.prepare()?;
        let lengths = mover.lengths();
        let len = lengths.near(1514);
        let pages = Pages::new(guest.memory, crate::addr::pages(len) as u64).map_err(of_memory)?;
        round_trip(guest, OwnedSlice::from(pages), 0..len, None, send_and_poll)?;
    }
    Ok(guest.assigned.len() as u64)
}

/// Passes over what went wrong with a device that is about to leave: xl resets it and takes its interrupt and its way
/// through the IOMMU before it tells the guest. That explains what does not come, and no byte that comes wrong.
fn is_leaving(guest: &Guest, outcome: Outcome) -> Result<(), Outcome> {
    if WROTE_WRONG.contains(&outcome.reason().code) {
        return Err(outcome);
    }
    let (front, bdf) = (guest.front()?, guest.device()?.bdf);
    match front.await_pending(TIDYING)? {
        Pending::Removed => Ok(()),
        Pending::Change(leaving) if leaving.contains(&bdf) => Ok(()),
        _ => Err(outcome),
    }
}

/// Says how far the guest is, to who follows the node and to who follows the console.
fn say(guest: &Guest, round: u32, devices: usize) -> Result<(), Outcome> {
    let store = guest.store.ok_or_else(|| skip("no-store", "there is nobody to ask"))?;
    let next = if devices == 0 { "xl pci-attach" } else { "xl pci-detach, for each" };
    guest.clock.stage(format_args!(
        "hotplug: round {round} of {}, devices: {devices}; next: {next}",
        guest.options.rounds
    ));
    let said = store.write(TxId::NONE, NODE, &format!("{round}-{devices}"));
    said.map_err(|error| failure(error.code(), error.to_string()))
}

fn nothing_is_kept(round: u32, before: &Taken, now: &Taken) -> Result<(), Outcome> {
    if now == before {
        return Ok(());
    }
    Err(failure("hotplug-leak", format!("after round {round}: {now}; before: {before}")))
}

fn no_node_is_left(guest: &mut Guest) -> Finding {
    let store = guest.store.ok_or_else(|| skip("no-store", "there is nobody to ask"))?;
    match front::await_removal(store, guest.shared, TIDYING)? {
        true => Ok("".into()),
        false => {
            let remedy =
                "see xl's messages: the toolstack removes a device's nodes once it is detached";
            let detail = format!("device/pci is still there after {} s", TIDYING.as_secs());
            Err(Outcome::Failure(Reason::new("hotplug-node-left", detail).remedy(remedy)))
        }
    }
}

/// Whether Xen lets the guest map what a device answers at.
fn is_open(guest: &Guest, bar: BusAddr) -> Result<bool, Outcome> {
    match DeviceMemory::map(guest.memory, bar, PAGE_SIZE) {
        Ok(_) => Ok(true),
        Err(MemoryError::Mapping { .. }) => Ok(false),
        Err(error) => Err(of_memory(error)),
    }
}

/// While its device is there each BAR can be mapped: a refusal afterwards then says something.
fn bars_are_open(guest: &Guest) -> Result<(), Outcome> {
    let found = guest.assigned.iter().filter_map(|device| device.resources.as_ref().ok());
    for bar in found.flat_map(|resources| &resources.bars).filter_map(Bar::placed) {
        if !is_open(guest, bar)? {
            return Err(failure(
                "hotplug-not-shown",
                format!("{bar} of a device that works is refused"),
            ));
        }
    }
    Ok(())
}

/// What a device that has gone answered at is no longer the guest's to map. The toolstack takes that right after the device.
fn no_bar_is_left(guest: &mut Guest) -> Finding {
    /// Between two looks, each of which takes addresses that no other mapping gets.
    const PAUSE: Duration = Duration::from_millis(200);
    let bars = &guest.departed.bars;
    if bars.is_empty() {
        return Err(skip("hotplug-no-bars", "no device with memory of its own has left"));
    }
    let mut open = None;
    let closed = Deadline::new(guest.shared, TIDYING).turns(|until| -> Result<_, Outcome> {
        open = None;
        for &bar in bars {
            if is_open(guest, bar)? {
                open = Some(bar);
            }
        }
        if open.is_some() {
            let nap = guest.shared.now().after(PAUSE).min(until);
            guest.events.poll(&[], nap).map_err(|e| failure("irq-hypercall", e.to_string()))?;
        }
        Ok(open.is_none().then_some(()))
    })?;
    match (closed, open) {
        (Some(()), _) => Ok(format!("{} BARs, open before and all refused since", bars.len())),
        (None, open) => {
            let bar = open.unwrap_or_default();
            let detail = format!(
                "{bar}, where a device was that has gone, can be mapped {} s later",
                TIDYING.as_secs()
            );
            let remedy =
                "update Xen's tools: libxl left the right to BARs of 64 bits behind (XSA-476)";
            Err(Outcome::Failure(Reason::new("hotplug-bar-left", detail).remedy(remedy)))
        }
    }
}

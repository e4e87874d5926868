//! Suite `net`: the card on its wire. Every byte of it goes through the same mappings as in suite `dma`,
//! but now somebody else's frames arrive when they like.

use super::check::{Finding, Suite, attends, driven, failure, proof, skip};
use crate::{
    addr::to_usize,
    arch::{
        time::{self, micros, millis},
        wait::Deadline,
    },
    guest::{Guest, Interrupt, blame},
    net::{Lease, NetError, Stack},
    nic::{Counters, Nic},
    report::{Outcome, Reason},
};
use alloc::format;
use core::{net::Ipv4Addr, time::Duration};

pub(super) const SUITE: Suite = Suite {
    name: "net",
    missing: no_card,
    of_a_device: true,
    tidies: false,
    checks: &[
        attends("link_is_up", link_is_up),
        proof("dhcp_gives_a_lease", dhcp_gives_a_lease),
        proof("router_answers_arp", router_answers_arp),
        proof("router_answers_10_pings", router_answers_10_pings),
        proof("udp_echo_comes_back", udp_echo_comes_back),
        proof("download_is_intact", download_is_intact),
        attends("ring_never_broke", ring_never_broke),
    ],
};

/// How long a link may take after the card's reset, by which both ends negotiate anew.
const LINK_LIMIT: Duration = Duration::from_secs(5);
const DHCP_LIMIT: Duration = Duration::from_secs(20);
const ARP_LIMIT: Duration = Duration::from_secs(2);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60);
const PINGS: u16 = 10;
const DATAGRAMS: u16 = 64;

/// Why there is no card to test, if there is none.
pub(super) fn no_card(guest: &Guest) -> Option<Reason> {
    let other = || {
        let detail = "the device moves bytes, but is no network card";
        Reason::new("not-a-nic", detail).remedy("pass a network card through for this suite")
    };
    driven(guest).or_else(|| {
        let running = guest.device().ok()?.running.as_ref().ok()?;
        (!running.is_card()).then(other)
    })
}

pub(super) fn link_is_up(guest: &mut Guest) -> Finding {
    let wait = Deadline::new(guest.shared, LINK_LIMIT);
    let up = wait.turns(|_| Ok::<_, Outcome>(card(guest)?.0.link_up().then_some(())))?;
    up.map(|()| "".into()).ok_or_else(|| {
        let detail = format!("the card reports no link for {} s", LINK_LIMIT.as_secs());
        let reason = Reason::new("link-down", detail);
        Outcome::Inconclusive(reason.remedy("plug its cable in, or turn its port on at the switch"))
    })
}

fn dhcp_gives_a_lease(guest: &mut Guest) -> Finding {
    if !card(guest)?.0.link_up() {
        return Err(skip("link-down", "no DHCP without a link"));
    }
    let lease = with_stack(guest, |stack| stack.dhcp(DHCP_LIMIT))?;
    guest.device_mut()?.lease = Some(lease);
    let (address, took) = (lease.address(), lease.took());
    let router =
        lease.router().map_or_else(|| "no router".into(), |router| format!("router {router}"));
    Ok(format!("{address}, {router}, {} ms", millis(took)))
}

fn router_answers_arp(guest: &mut Guest) -> Finding {
    let neighbour = neighbour(guest)?;
    let reply = with_stack(guest, |stack| stack.arp(neighbour, ARP_LIMIT))?;
    Ok(format!("{neighbour} is at {}", crate::nic::error::Mac(&reply.mac)))
}

fn router_answers_10_pings(guest: &mut Guest) -> Finding {
    let neighbour = neighbour(guest)?;
    let report = with_stack(guest, |stack| {
        let report = stack.ping(neighbour, PINGS)?;
        report.check().map(|()| report)
    })?;
    let (min, max) = (micros(report.min), micros(report.max));
    Ok(format!("{min} to {max} us, {} on average", micros(report.average())))
}

fn udp_echo_comes_back(guest: &mut Guest) -> Finding {
    let Some(server) = guest.options.echo else {
        return Err(skip("no-echo-server", "echo= names none"));
    };
    lease(guest)?;
    let report = with_stack(guest, |stack| stack.udp_echo(server, DATAGRAMS))?;
    Ok(format!("{} datagrams, {} bytes, {} sent again", report.echoed, report.bytes, report.resent))
}

fn download_is_intact(guest: &mut Guest) -> Finding {
    let Some(source) = guest.options.download else {
        return Err(skip("no-download-server", "download= names none"));
    };
    lease(guest)?;
    let bytes = to_usize(source.bytes.into());
    let report = with_stack(guest, |stack| stack.download(source.server, bytes, DOWNLOAD_LIMIT))?;
    Ok(format!(
        "{} bytes in {}.{:03} s, {} kB/s, CRC-32 {:08x}",
        report.bytes,
        report.took.as_secs(),
        report.took.subsec_millis(),
        report.rate() / 1000,
        report.crc32
    ))
}

pub(super) fn ring_never_broke(guest: &mut Guest) -> Finding {
    let (nic, interrupt) = card(guest)?;
    let counters = nic.counters();
    nic.check_guards()?;
    if counters.resets != 0 {
        return Err(failure("nic-reset", format!("{counters:?}")));
    }
    Ok(format!(
        "{} out, {} in, {} missed, {} interrupts",
        counters.tx_frames, counters.rx_frames, counters.rx_missed, interrupt.count
    ))
}

/// The card on its wire, and its interrupt.
pub(super) fn card(guest: &mut Guest) -> Result<(&mut dyn Nic, &mut Interrupt<'static>), Outcome> {
    let none = || skip("not-a-nic", "the device is no network card");
    let (card, interrupt) = guest.device_mut()?.running()?.card().ok_or_else(none)?;
    Ok((card.on_wire()?, interrupt))
}

fn lease(guest: &Guest) -> Result<Lease, Outcome> {
    guest.device()?.lease.ok_or_else(|| skip("no-lease", "DHCP gave no address"))
}

/// Whom to talk to: the router, else the DHCP server.
fn neighbour(guest: &Guest) -> Result<Ipv4Addr, Outcome> {
    let none = || skip("no-neighbour", "the lease names no router, and its server is elsewhere");
    lease(guest)?.neighbour().ok_or_else(none)
}

/// Runs a job on a stack that has the lease's address, if there is one.
pub(super) fn with_stack<T>(
    guest: &mut Guest,
    job: impl FnOnce(&mut Stack<'_>) -> Result<T, NetError>,
) -> Result<T, Outcome> {
    let (mut stack, before) = open_stack(guest)?;
    job(&mut stack).map_err(|error| blamed(&error, &before, &mut stack))
}

/// A stack with the lease's address, if there is one, and what its card had counted before.
fn open_stack(guest: &mut Guest) -> Result<(Stack<'_>, Counters), Outcome> {
    let (clock, lease) = (guest.shared, guest.device()?.lease);
    let (nic, interrupt) = card(guest)?;
    let before = nic.counters();
    let mut stack = Stack::new(nic, clock, interrupt, time::tsc());
    let ready = lease.map_or(Ok(()), |lease| stack.take_lease(&lease));
    ready.map_err(|error| blamed(&error, &before, &mut stack))?;
    Ok((stack, before))
}

fn blamed(error: &NetError, before: &Counters, stack: &mut Stack<'_>) -> Outcome {
    blame::of_network(error, before, &stack.nic().counters())
}

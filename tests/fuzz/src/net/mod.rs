//! The IP stack's jobs on a network that answers their frames with true, bent or drawn ones.
//!
//! [`run`] asserts: every job ends, none long after its limit; a lease's addresses are those of a host, a network it
//! is in, and a router in it. [`http`] has a server that plays by the rules of TCP and whose answer is drawn; it
//! asserts that a download that is called good has the bytes and the checksum that were announced.

mod wire;

use crate::Input;
use core::net::SocketAddrV4;
use pvbounce::{
    arch::time::{Clock, Instant},
    device::fake::TickingClock,
    net::{Ipv4Cidr, Lease, NetError, Offer, Stack, Wait},
    options::End,
};
use smoltcp::wire::Ipv4Address;
use std::time::Duration;
use wire::{Manners, PEER, Wire};

const LIMIT: Duration = Duration::from_secs(2);
/// What a job may be late: a nap, and what a frame drawn takes.
const LATE: Duration = Duration::from_millis(600);

/// Sleeping lets the clock go on.
struct Sleep<'c>(&'c TickingClock);

impl Wait for Sleep<'_> {
    fn wait(&mut self, deadline: Instant) {
        self.0.advance_to(deadline);
    }

    fn handled(&mut self) {}
}

fn is_host(address: Ipv4Address) -> bool {
    !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast()
}

/// Whether it is a host's and in `network`, of which it is neither the name nor the broadcast address.
fn is_host_in(network: Ipv4Cidr, address: Ipv4Address) -> bool {
    let special = address == network.network().address() || Some(address) == network.broadcast();
    is_host(address) && network.contains_addr(&address) && (!special || network.prefix_len() == 31)
}

fn dhcp(stack: &mut Stack<'_>) -> Result<(), NetError> {
    let lease = stack.dhcp(LIMIT)?;
    let network = lease.address();
    assert!(is_host_in(network, network.address()), "{lease:?}");
    let leads_out = |router| is_host_in(network, router) && router != network.address();
    assert!(lease.router().is_none_or(leads_out), "{lease:?}");
    Ok(())
}

/// Gives the host its address without asking the network.
fn settle(stack: &mut Stack<'_>, router: Option<Ipv4Address>) {
    let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 2, 15), 24);
    let lease = Lease::new(Offer { address, router, server: PEER }, Duration::ZERO);
    let taken = lease.map(|lease| stack.take_lease(&lease));
    assert!(matches!(taken, Ok(Ok(()))), "{taken:?}");
}

/// The time each job takes at most: some have several waits.
fn act(stack: &mut Stack<'_>, input: &Input) -> (Result<(), NetError>, Duration) {
    let target = if input.once_in(8) { Ipv4Address::from(input.u32()) } else { PEER };
    let endpoint = |port| SocketAddrV4::new(target, port);
    match input.below(7) {
        0 | 1 => (dhcp(stack), LIMIT),
        2 => (stack.arp(target, LIMIT).map(drop), LIMIT),
        3 => (stack.ping(target, 2).map(drop), Duration::from_secs(4)),
        4 => (stack.udp_echo(endpoint(7), 1).map(drop), Duration::from_secs(4)),
        5 => {
            let end = if input.once_in(2) { End::A } else { End::B };
            // A minute and a half to come, half a minute without a byte, and a farewell.
            (stack.pair(end, 40).map(drop), Duration::from_secs(90 + 30 + 3))
        }
        _ => (stack.download(endpoint(80), 40, LIMIT).map(drop), LIMIT + Duration::from_secs(5)),
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let clock = TickingClock::default();
    let mut card = Wire::new(&clock, input.clone(), Manners::Any);
    let mut sleep = Sleep(&clock);
    let mut stack = Stack::new(&mut card, &clock, &mut sleep, 7);
    if input.once_in(2) {
        settle(&mut stack, input.once_in(2).then_some(PEER));
    }
    for _ in 0..4 {
        if input.is_over() {
            break;
        }
        let start = clock.now();
        let (result, limit) = act(&mut stack, &input);
        let took = clock.now().since(start);
        assert!(took <= limit + LATE, "{took:?}: {result:?}");
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn http(bytes: &[u8]) {
    let input = Input::new(bytes);
    let clock = TickingClock::default();
    let asked = input.below(64);
    let mut card = Wire::new(&clock, input, Manners::Tcp);
    let mut sleep = Sleep(&clock);
    let mut stack = Stack::new(&mut card, &clock, &mut sleep, 7);
    settle(&mut stack, None);
    let result = stack.download(SocketAddrV4::new(PEER, 80), asked, LIMIT);
    drop(stack);
    if let Ok(download) = result {
        let said = card.said();
        let end = said.windows(4).position(|four| four == b"\r\n\r\n");
        let body = end.and_then(|end| said.get(end + 4..end + 4 + download.bytes));
        let crc32 = body.map(crc32fast::hash);
        assert_eq!((download.bytes, Some(download.crc32)), (asked, crc32), "{said:?}");
    }
}

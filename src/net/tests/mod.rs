//! The jobs over the real driver, a fake chip and another IP stack at the other end.

mod feed;
mod hostile;
mod pair;
mod peer;

use super::*;
use crate::{
    arch::time::{Clock, Instant},
    device::{Driver as _, Idle as _, fake::TickingClock},
    dma::{
        Device, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    nic::{
        fake::{FakeRtl8139, Fault},
        rtl8139::Idle,
    },
};
use alloc::{boxed::Box, collections::BTreeSet, string::ToString, vec, vec::Vec};
use core::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};
use peer::{GUEST, Manner, Peer, SERVER, SERVER_MAC};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const LIMIT: Duration = Duration::from_secs(10);

/// Runs `test` with a host on a good card and a peer of that manner; no slot may stay taken.
fn with_stack(manner: Manner, test: impl FnOnce(&FakeRtl8139<'_>, &mut Stack<'_>)) {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeRtl8139::new(&machine, MAC), TickingClock::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let idle = Idle::reset(&chip, &clock).unwrap();
    let device = Device::new(&pool, &machine, idle.limits(), Policy::Auto);
    let mut card = idle.start(device).unwrap();
    let mut peer = Peer::new(&chip, &clock, manner);
    let mut stack = Stack::new(&mut card, &clock, &mut peer, 0x1234);
    test(&chip, &mut stack);
    for (bus, len) in chip.touched() {
        assert!(card.dma_ranges().iter().any(|range| range.covers(bus, len)), "{len} at {bus}");
    }
    drop(card);
    assert_eq!(pool.stats().in_use, 0, "slots kept");
}

/// As [`with_stack`], with an address.
fn with_address(manner: Manner, test: impl FnOnce(&FakeRtl8139<'_>, &mut Stack<'_>)) {
    with_stack(manner, |chip, stack| {
        let address = "10.0.2.15/24".parse().unwrap();
        let offer = Offer { address, router: Some(SERVER), server: SERVER };
        stack.take_lease(&Lease::new(offer, Duration::ZERO).unwrap()).unwrap();
        test(chip, stack);
    });
}

fn endpoint(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(SERVER, port)
}

#[test]
fn everything_works_in_turn_on_a_good_network() {
    with_stack(Manner::Good, |_, stack| {
        let lease = stack.dhcp(LIMIT).unwrap();
        assert_eq!((lease.address().address(), lease.router()), (GUEST, Some(SERVER)));
        assert_eq!(stack.address(), Some(GUEST));
        assert_eq!(stack.arp(SERVER, LIMIT).unwrap().mac, SERVER_MAC);
        let pings = stack.ping(SERVER, 10).unwrap();
        assert_eq!((pings.sent, pings.received), (10, 10));
        assert!(pings.min <= pings.average() && pings.average() <= pings.max);
        let echo = stack.udp_echo(endpoint(7), 20).unwrap();
        let bytes = (0..20).map(|index| 1 + index * 1471 / 19).sum::<u64>();
        assert_eq!(echo, UdpReport { echoed: 20, bytes, resent: 0 });
        let download = stack.download(endpoint(80), 1 << 20, LIMIT).unwrap();
        assert_eq!(download.crc32, crc32fast::hash(&peer::body(1 << 20)));
        assert_eq!(stack.sockets.iter().count(), 0, "each job takes its socket along");
        let counters = stack.nic().counters();
        assert_eq!(counters.rx_frames, counters.rx_bounced);
        assert!(counters.rx_frames > 700 && counters.rx_missed == 0, "{counters:?}");
        assert!(counters.tx_frames < 300, "acknowledgements are sparse: {counters:?}");
    });
}

#[test]
fn ports_and_identifiers_are_those_of_nobody_and_none_comes_twice() {
    with_stack(Manner::Silent, |_, stack| {
        let fresh: BTreeSet<u16> = (0..1 << 17).map(|_| stack.fresh()).collect();
        assert_eq!((fresh.len(), fresh.first(), fresh.last()), (16384, Some(&49152), Some(&65535)));
    });
}

#[test]
fn what_strangers_send_is_no_answer() {
    with_address(Manner::Strangers, |_, stack| {
        assert_eq!(stack.ping(SERVER, 2).unwrap_err().code(), "ping-timeout");
        let echo = stack.udp_echo(endpoint(7), 5).unwrap();
        assert_eq!((echo.echoed, echo.resent), (5, 0));
    });
}

#[test]
fn a_link_that_is_down_is_named_at_once() {
    with_address(Manner::Good, |chip, stack| {
        chip.set_link(false);
        let errors = [
            stack.dhcp(LIMIT).unwrap_err(),
            stack.arp(SERVER, LIMIT).unwrap_err(),
            stack.ping(SERVER, 10).unwrap_err(),
            stack.udp_echo(endpoint(7), 3).unwrap_err(),
            stack.download(endpoint(80), 1, LIMIT).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), "link-down", "{error}");
        }
    });
}

#[test]
fn silence_is_a_timeout_that_names_what_was_waited_for() {
    with_stack(Manner::Silent, |_, stack| {
        let error = stack.dhcp(LIMIT).unwrap_err();
        assert_eq!(error.code(), "dhcp-timeout");
        assert!(error.remedy().contains("DHCP server"));
        let text = alloc::format!("{error}");
        assert!(text.starts_with("waited 100") && text.ends_with("from a DHCP server"), "{text}");
        assert_eq!(stack.arp(SERVER, LIMIT).unwrap_err().code(), "net-no-address");
    });
    with_address(Manner::Silent, |_, stack| {
        assert_eq!(stack.arp(SERVER, LIMIT).unwrap_err().code(), "arp-timeout");
        assert_eq!(stack.ping(SERVER, 3).unwrap_err().code(), "ping-timeout");
        assert_eq!(stack.udp_echo(endpoint(7), 2).unwrap_err().code(), "udp-timeout");
        let error = stack.download(endpoint(80), 1, LIMIT).unwrap_err();
        assert_eq!(error.code(), "tcp-connect-timeout");
    });
}

#[test]
fn a_dhcp_server_may_take_its_time_and_lose_the_first_offer() {
    for millis in [0, 500, 1000, 2000, 3000, 5000, 8000] {
        for lost in [0, 1] {
            with_stack(Manner::SlowLease { millis, lost }, |_, stack| {
                let lease = stack.dhcp(2 * LIMIT);
                assert!(lease.is_ok(), "{millis} ms late, {lost} lost: {lease:?}");
            });
        }
    }
}

#[test]
fn a_lease_that_no_host_can_use_is_refused_with_what_was_given() {
    const MASK: [u8; 4] = [255, 255, 255, 0];
    let (own, router) = ([10, 0, 2, 15], [10, 0, 2, 2]);
    for (address, mask, router) in [
        (own, MASK, [0; 4]),
        (own, MASK, [255; 4]),
        (own, MASK, [224, 0, 0, 1]),
        (own, MASK, own),
        (own, MASK, [10, 0, 2, 255]),
        (own, MASK, [192, 168, 0, 1]),
        (own, [0; 4], router),
        (own, [255; 4], router),
        ([127, 0, 0, 1], MASK, [127, 0, 0, 2]),
        ([10, 0, 2, 255], MASK, router),
    ] {
        with_stack(Manner::Gives { address, mask, router }, |_, stack| {
            let error = stack.dhcp(LIMIT).unwrap_err();
            assert_eq!(error.code(), "dhcp-bad-lease", "{error}");
            assert!(error.to_string().contains("router"), "{error}");
            assert_eq!((error.party(), stack.address()), (Party::Network, None));
        });
    }
}

#[test]
fn a_lossy_network_costs_time_and_nothing_else() {
    with_stack(Manner::Lossy, |_, stack| {
        stack.dhcp(LIMIT).unwrap();
        stack.arp(SERVER, LIMIT).unwrap();
        let pings = stack.ping(SERVER, 10).unwrap();
        assert!(pings.received >= 5 && pings.received < 10, "{pings:?}");
        assert_eq!(pings.check().unwrap_err().code(), "ping-lost");
        let echo = stack.udp_echo(endpoint(7), 10).unwrap();
        assert!(echo.echoed == 10 && echo.resent > 0, "{echo:?}");
        let minutes = Duration::from_secs(600);
        stack.download(endpoint(80), 100_000, minutes).unwrap();
    });
}

#[test]
fn a_server_s_faults_each_have_their_code() {
    for (manner, code) in [
        (Manner::NotFound, "http-answer"),
        (Manner::BadSum, "download-crc"),
        (Manner::Half, "download-short"),
    ] {
        with_address(manner, |_, stack| {
            let error = stack.download(endpoint(80), 50_000, LIMIT).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        });
    }
    with_address(Manner::Good, |_, stack| {
        let error = stack.download(endpoint(81), 1, LIMIT).unwrap_err();
        assert_eq!(error.code(), "tcp-refused", "{error}");
    });
    with_address(Manner::BadEcho, |_, stack| {
        let error = stack.udp_echo(endpoint(7), 10).unwrap_err();
        assert!(matches!(error, NetError::Echo { at: 99, .. }), "{error}");
        assert_eq!(error.code(), "udp-mismatch");
        assert_eq!(error.party(), Party::Machine);
    });
    for (manner, found) in [(Manner::LongEcho, 2), (Manner::ShortEcho, 0)] {
        with_address(manner, |_, stack| {
            let error = stack.udp_echo(endpoint(7), 10).unwrap_err();
            assert_eq!(error, NetError::Echo { len: 1, found, at: found.min(1) });
            assert_eq!(error.party(), Party::Network);
        });
    }
    with_address(Manner::Stalls, |_, stack| {
        let error = stack.download(endpoint(80), 50_000, LIMIT).unwrap_err();
        assert_eq!((error.code(), error.party()), ("download-timeout", Party::Network));
        let text = error.to_string();
        assert!(text.starts_with("25000 of 50000 bytes came: waited 100"), "{text}");
    });
}

#[test]
fn a_card_s_faults_end_the_job_with_the_card_s_own_code() {
    for (fault, code) in [
        (Fault::Length(7), "nic-rx-length"),
        (Fault::Status(0x20), "nic-rx-status"),
        (Fault::NeverSend, "nic-tx-timeout"),
        (Fault::SendStatus(1 << 30), "nic-tx-failed"),
    ] {
        with_address(Manner::Good, |chip, stack| {
            chip.set_fault(fault);
            let error = stack.download(endpoint(80), 1 << 20, LIMIT).unwrap_err();
            assert_eq!(error.code(), code, "{fault:?}: {error}");
        });
    }
}

#[test]
fn a_card_that_keeps_all_its_frames_is_not_called_a_silent_network() {
    with_address(Manner::Good, |chip, stack| {
        chip.set_fault(Fault::NeverSend);
        let errors = [0; 5].map(|_| stack.arp(SERVER, Duration::from_millis(50)).unwrap_err());
        let (last, before) = errors.split_last().unwrap();
        assert!(before[..3].iter().all(|error| error.code() == "arp-timeout"), "{before:?}");
        assert_eq!((last.code(), last.party()), ("nic-tx-full", Party::Machine), "{last}");
    });
}

#[test]
fn corrupt_frames_are_told_by_their_checksums() {
    with_address(Manner::Good, |chip, stack| {
        stack.ping(SERVER, 1).unwrap();
        chip.set_fault(Fault::CorruptByte(59));
        assert_eq!(stack.udp_echo(endpoint(7), 1).unwrap().echoed, 1, "the padding of 1 byte");
        assert_eq!(stack.ping(SERVER, 2).unwrap_err().code(), "ping-timeout");
    });
}

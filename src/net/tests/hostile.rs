//! Whatever comes from the wire, and however much of it: no job is held, and nothing panics.

use super::{
    feed::{Feed, LOOK, Sleep},
    *,
};
use crate::net::run::BATCH;
use proptest::prelude::*;
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
        EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr,
    },
};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GATE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn lease(prefix: u8, router: Option<Ipv4Addr>) -> Result<Lease, LeaseFault> {
    let offer = Offer { address: Ipv4Cidr::new(OWN, prefix), router, server: GATE };
    Lease::new(offer, Duration::ZERO)
}

fn frame(to: [u8; 6], from: [u8; 6], ethertype: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let header =
        EthernetRepr { src_addr: EthernetAddress(from), dst_addr: EthernetAddress(to), ethertype };
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    header.emit(&mut frame);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

fn ipv4(source: Ipv4Addr, target: Ipv4Addr, next_header: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: source,
        dst_addr: target,
        next_header,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; header.buffer_len() + payload.len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    packet.payload_mut().copy_from_slice(payload);
    bytes
}

/// Makes the checksum of a TCP segment or UDP datagram right, so that it is looked at.
fn sealed(source: Ipv4Addr, target: Ipv4Addr, protocol: IpProtocol, mut bytes: Vec<u8>) -> Vec<u8> {
    use smoltcp::wire::{Icmpv4Packet, TcpPacket, UdpPacket};
    let (source, target) = (source.into(), target.into());
    match protocol {
        IpProtocol::Tcp if bytes.len() >= 20 => {
            TcpPacket::new_unchecked(&mut bytes[..]).fill_checksum(&source, &target);
        }
        IpProtocol::Udp if bytes.len() >= 8 => {
            let len = bytes.len().try_into().unwrap();
            let mut packet = UdpPacket::new_unchecked(&mut bytes[..]);
            packet.set_len(len);
            packet.fill_checksum(&source, &target);
        }
        IpProtocol::Icmp if bytes.len() >= 8 => {
            Icmpv4Packet::new_unchecked(&mut bytes[..]).fill_checksum();
        }
        _ => {}
    }
    bytes
}

fn arp(operation: u16, source: Ipv4Addr, target: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::from(operation),
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress(MAC),
        target_protocol_addr: target,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
    bytes
}

/// Addresses that matter: ours, our neighbours', none, all, groups, loops; and any other.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    let special = [
        "10.0.2.15",
        "10.0.2.2",
        "10.0.2.0",
        "10.0.2.255",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "127.0.0.1",
        "240.0.0.1",
        "192.168.7.7",
    ];
    let special = special.map(|text| text.parse().unwrap());
    prop_oneof![4 => prop::sample::select(special.to_vec()), 1 => any::<u32>().prop_map_into()]
}

fn mac() -> impl Strategy<Value = [u8; 6]> {
    prop_oneof![
        Just(MAC),
        Just([0xff; 6]),
        Just([0; 6]),
        Just([1, 0, 0x5e, 0, 0, 1]),
        any::<[u8; 6]>()
    ]
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop::sample::select(vec![IpProtocol::Tcp, IpProtocol::Udp, IpProtocol::Icmp]);
    let payload = prop::collection::vec(any::<u8>(), 0..80);
    let packet = (address(), address(), protocol, payload, mac(), any::<u8>()).prop_map(
        |(source, target, protocol, mut payload, from, flags)| {
            if protocol == IpProtocol::Tcp && payload.len() >= 20 {
                payload[12..14].copy_from_slice(&[5 << 4, flags]);
            }
            let payload = sealed(source, target, protocol, payload);
            frame(MAC, from, EthernetProtocol::Ipv4, &ipv4(source, target, protocol, &payload))
        },
    );
    let arp = (0..4_u16, address(), address(), mac(), mac()).prop_map(
        |(operation, source, target, claimed, from)| {
            frame(MAC, from, EthernetProtocol::Arp, &arp(operation, source, target, claimed))
        },
    );
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![6 => packet, 3 => arp, 1 => noise]
}

/// A SYN from a host that is not on our network: the answer goes to the router.
fn distant_syn() -> Vec<u8> {
    let from = Ipv4Addr::new(192, 168, 7, 7);
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
    segment[12..14].copy_from_slice(&[5 << 4, 2]);
    let segment = sealed(from, OWN, IpProtocol::Tcp, segment);
    frame(MAC, [2; 6], EthernetProtocol::Ipv4, &ipv4(from, OWN, IpProtocol::Tcp, &segment))
}

fn server() -> SocketAddrV4 {
    SocketAddrV4::new(GATE, 7)
}

/// Every job in turn over those frames; their results are not the point.
fn run_all(stack: &mut Stack<'_>, target: Ipv4Addr) {
    let short = Duration::from_millis(50);
    let _ = stack.arp(target, short);
    let _ = stack.ping(target, 1);
    let _ = stack.udp_echo(SocketAddrV4::new(target, 7), 1);
    let _ = stack.download(SocketAddrV4::new(target, 80), 10, short);
    let _ = stack.dhcp(short);
}

#[test]
fn no_flood_of_frames_holds_a_job_beyond_its_deadline() {
    let clock = TickingClock::default();
    let noise = frame([0xff; 6], [2; 6], EthernetProtocol::Ipv6, &[0; 46]);
    for flood in [vec![noise], vec![distant_syn()], vec![arp_request()]] {
        let (mut card, mut sleep) = (Feed::new(&clock, flood, true), Sleep(&clock));
        let mut stack = Stack::new(&mut card, &clock, &mut sleep, 1);
        // The turn under way at the deadline and the one after it, in up to three waits.
        let over = 6 * LOOK * u32::try_from(BATCH).unwrap();
        let mut ends = |limit: Duration, job: &mut dyn FnMut(&mut Stack<'_>) -> &'static str| {
            let start = clock.now();
            let code = job(&mut stack);
            let took = clock.now().since(start);
            assert!(took >= limit && took <= limit + over, "{code}: {took:?} of {limit:?}");
        };
        ends(LIMIT, &mut |stack| stack.dhcp(LIMIT).unwrap_err().code());
        ends(Duration::ZERO, &mut |stack| {
            stack.take_lease(&lease(24, Some(GATE)).unwrap()).unwrap();
            "lease"
        });
        ends(LIMIT, &mut |stack| stack.arp(GATE, LIMIT).unwrap_err().code());
        ends(Duration::from_secs(1), &mut |stack| stack.ping(GATE, 1).unwrap_err().code());
        ends(Duration::from_millis(2100), &mut |stack| {
            stack.udp_echo(server(), 1).unwrap_err().code()
        });
        ends(Duration::from_secs(5), &mut |stack| {
            stack.download(server(), 1, LIMIT).unwrap_err().code()
        });
    }
}

fn arp_request() -> Vec<u8> {
    frame([0xff; 6], [2; 6], EthernetProtocol::Arp, &arp(1, GATE, OWN, [2; 6]))
}

#[test]
fn an_answer_to_a_stranger_goes_to_the_router_and_nowhere_without_one() {
    for router in [Some(GATE), None] {
        let clock = TickingClock::default();
        let mut card = Feed::new(&clock, vec![distant_syn()], false);
        let mut sleep = Sleep(&clock);
        let mut stack = Stack::new(&mut card, &clock, &mut sleep, 1);
        stack.take_lease(&lease(24, router).unwrap()).unwrap();
        assert_eq!(stack.ping(GATE, 1).unwrap_err().code(), "ping-timeout");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]
    #[test]
    fn whatever_the_lease_and_the_frames_nothing_panics(
        prefix in 0_u8..=32,
        router in prop::option::of(address()),
        target in address(),
        frames in prop::collection::vec(any_frame(), 0..24),
    ) {
        let clock = TickingClock::default();
        let mut card = Feed::new(&clock, frames, true);
        let mut sleep = Sleep(&clock);
        let mut stack = Stack::new(&mut card, &clock, &mut sleep, 1);
        if let Ok(lease) = lease(prefix, router) {
            stack.take_lease(&lease).unwrap();
        }
        run_all(&mut stack, target);
    }
}

//! A card with a host at the other end of its cable, which answers as the bytes say.

use crate::Input;
use core::cell::Cell;
use pvbounce::{
    device::{
        Cause, DmaRange, Driver, QuiesceError, Sent, StartError, Traffic, fake::TickingClock,
    },
    dma::{DeviceStopped, FinishError, Source},
    nic::{Counters, FRAME_MAX, Nic, ReceiveError, TransmitError, Unsent},
};
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
        EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet, Icmpv4Repr, IpAddress,
        IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
        TcpSeqNumber, UdpPacket, UdpRepr,
    },
};
use std::{collections::VecDeque, time::Duration};

pub(super) const PEER: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
const PEER_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// How far the other end keeps to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    /// Not at all.
    Any,
    /// ARP and TCP are true; what TCP carries is drawn.
    Tcp,
}

#[derive(Debug)]
pub(super) struct Wire<'c> {
    clock: &'c TickingClock,
    input: Input,
    manners: Manners,
    arriving: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    /// The number of the next byte to say.
    next: u32,
    closed: Cell<bool>,
    said: Vec<u8>,
}

fn checksums() -> ChecksumCapabilities {
    ChecksumCapabilities::default()
}

impl<'c> Wire<'c> {
    pub(super) fn new(clock: &'c TickingClock, input: Input, manners: Manners) -> Self {
        let (arriving, sent, said) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { clock, input, manners, arriving, sent, next: 1000, closed: Cell::new(false), said }
    }

    /// What TCP carried to the guest.
    pub(super) fn said(&self) -> &[u8] {
        &self.said
    }

    /// True once in `n` times, for one without manners.
    fn bends(&self, n: usize) -> bool {
        self.manners == Manners::Any && self.input.once_in(n)
    }

    fn address(&self, likely: Ipv4Address) -> Ipv4Address {
        const STRANGE: [[u8; 4]; 8] = [
            [0; 4],
            [255; 4],
            [224, 0, 0, 1],
            [127, 0, 0, 1],
            [10, 0, 2, 255],
            [10, 0, 2, 15],
            [10, 0, 2, 0],
            [192, 168, 7, 7],
        ];
        match self.input.below(8) {
            0 => Ipv4Address::from(self.input.u32()),
            1 | 2 => Ipv4Address::from(self.input.one_of(&STRANGE)),
            _ => likely,
        }
    }

    fn answer(&mut self, sent: &[u8]) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(sent).ok()?;
        let (ethertype, payload) = match frame.ethertype() {
            EthernetProtocol::Arp => (EthernetProtocol::Arp, self.arp(frame.payload())?),
            EthernetProtocol::Ipv4 => (EthernetProtocol::Ipv4, self.ipv4(frame.payload())?),
            _ => return None,
        };
        let mut bytes = vec![0; 14 + payload.len()];
        let header = EthernetRepr { src_addr: PEER_MAC, dst_addr: EthernetAddress(MAC), ethertype };
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        header.emit(&mut frame);
        frame.payload_mut().copy_from_slice(&payload);
        Some(bytes)
    }

    fn arp(&self, asked: &[u8]) -> Option<Vec<u8>> {
        let ArpRepr::EthernetIpv4 { source_protocol_addr, target_protocol_addr, .. } =
            ArpRepr::parse(&ArpPacket::new_checked(asked).ok()?).ok()?
        else {
            return None;
        };
        let mac = if self.bends(8) { EthernetAddress(self.input.array()) } else { PEER_MAC };
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: mac,
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: EthernetAddress(MAC),
            target_protocol_addr: source_protocol_addr,
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut ArpPacket::new_unchecked(&mut bytes));
        Some(bytes)
    }

    fn ipv4(&mut self, sent: &[u8]) -> Option<Vec<u8>> {
        let packet = Ipv4Packet::new_checked(sent).ok()?;
        let (us, them) = (packet.dst_addr(), packet.src_addr());
        let (next_header, payload) = match packet.next_header() {
            IpProtocol::Udp => (IpProtocol::Udp, self.udp(packet.payload(), us, them)?),
            IpProtocol::Tcp => (IpProtocol::Tcp, self.tcp(packet.payload(), us, them)?),
            IpProtocol::Icmp => (IpProtocol::Icmp, self.ping(packet.payload())?),
            _ => return None,
        };
        let from = if us.is_broadcast() { PEER } else { us };
        let src_addr = if self.bends(16) { self.address(from) } else { from };
        let dst_addr = if them.is_unspecified() { Ipv4Address::BROADCAST } else { them };
        let header =
            Ipv4Repr { src_addr, dst_addr, next_header, payload_len: payload.len(), hop_limit: 64 };
        let mut bytes = vec![0; header.buffer_len() + payload.len()];
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
        header.emit(&mut packet, &checksums());
        packet.payload_mut().copy_from_slice(&payload);
        Some(bytes)
    }

    fn udp(&self, sent: &[u8], us: Ipv4Address, them: Ipv4Address) -> Option<Vec<u8>> {
        let packet = UdpPacket::new_checked(sent).ok()?;
        let payload = match packet.dst_port() {
            67 => self.dhcp(packet.payload())?,
            _ if self.bends(4) => self.input.bytes(200),
            _ => packet.payload().to_vec(),
        };
        let header = UdpRepr { src_port: packet.dst_port(), dst_port: packet.src_port() };
        let mut bytes = vec![0; header.header_len() + payload.len()];
        let from = if us.is_broadcast() { PEER } else { us };
        let to = if them.is_unspecified() { Ipv4Address::BROADCAST } else { them };
        header.emit(
            &mut UdpPacket::new_unchecked(&mut bytes[..]),
            &IpAddress::Ipv4(from),
            &IpAddress::Ipv4(to),
            payload.len(),
            |to| to.copy_from_slice(&payload),
            &checksums(),
        );
        Some(bytes)
    }

    fn dhcp(&self, asked: &[u8]) -> Option<Vec<u8>> {
        let packet = DhcpPacket::new_checked(asked).ok()?;
        let asked = DhcpRepr::parse(&packet).ok()?;
        let message_type = match (self.input.below(16), asked.message_type) {
            (0, _) => DhcpMessageType::Nak,
            (1, _) => DhcpMessageType::from(self.input.u8()),
            (_, DhcpMessageType::Discover) => DhcpMessageType::Offer,
            _ => DhcpMessageType::Ack,
        };
        let netmask =
            [[255, 255, 255, 0], [0; 4], [255; 4], [255, 0, 255, 0], [255, 255, 255, 254]];
        let router = self.address(PEER);
        let answer = DhcpRepr {
            message_type,
            your_ip: self.address(Ipv4Address::new(10, 0, 2, 15)),
            server_ip: PEER,
            router: (!self.input.once_in(4)).then_some(router),
            subnet_mask: Some(Ipv4Address::from(self.input.one_of(&netmask))),
            server_identifier: Some(self.address(PEER)),
            lease_duration: self.input.once_in(2).then(|| self.input.u32()),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            max_size: None,
            ..asked
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
        Some(bytes)
    }

    fn ping(&self, sent: &[u8]) -> Option<Vec<u8>> {
        let asked = Icmpv4Repr::parse(&Icmpv4Packet::new_checked(sent).ok()?, &checksums()).ok()?;
        let Icmpv4Repr::EchoRequest { ident, seq_no, data } = asked else { return None };
        let other = self.input.bytes(8);
        let data = if self.bends(8) { &other } else { data };
        let answer = Icmpv4Repr::EchoReply { ident, seq_no, data };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes[..]), &checksums());
        Some(bytes)
    }

    fn tcp(&mut self, sent: &[u8], us: Ipv4Address, them: Ipv4Address) -> Option<Vec<u8>> {
        let (from, to) = (IpAddress::Ipv4(us), IpAddress::Ipv4(them));
        let asked = TcpRepr::parse(&TcpPacket::new_checked(sent).ok()?, &to, &from, &checksums());
        let asked = asked.ok()?;
        if asked.control == TcpControl::Rst || self.closed.get() {
            return None;
        }
        let opens = asked.control == TcpControl::Syn;
        let payload = if opens { Vec::new() } else { self.input.bytes(200) };
        let ends =
            !opens && (self.input.is_over() || payload.is_empty() && asked.payload.is_empty());
        self.closed.set(ends);
        let control = match (opens, ends) {
            (true, _) => TcpControl::Syn,
            (_, true) => TcpControl::Fin,
            _ if self.bends(32) => TcpControl::Rst,
            _ => TcpControl::Psh,
        };
        let strange = if self.bends(8) { i32::from(self.input.u8()) - 128 } else { 0 };
        let answer = TcpRepr {
            src_port: asked.dst_port,
            dst_port: asked.src_port,
            control,
            seq_number: TcpSeqNumber(self.next.cast_signed().wrapping_add(strange)),
            ack_number: Some(asked.seq_number + asked.segment_len()),
            window_len: if self.bends(8) { self.input.u16() } else { 8192 },
            window_scale: None,
            max_seg_size: opens.then_some(1460),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &payload,
        };
        self.next = self.next.wrapping_add(u32::try_from(answer.segment_len()).unwrap_or(0));
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut TcpPacket::new_unchecked(&mut bytes[..]), &from, &to, &checksums());
        self.said.extend(&payload);
        Some(bytes)
    }

    fn arrive(&mut self, mut frame: Vec<u8>) {
        if self.bends(8) && !frame.is_empty() {
            let at = self.input.below(frame.len());
            frame[at] ^= self.input.u8();
        }
        if self.bends(16) {
            frame.truncate(self.input.below(frame.len() + 1));
        }
        frame.truncate(FRAME_MAX);
        self.arriving.push_back(frame);
    }
}

impl Driver for Wire<'_> {
    fn name(&self) -> &'static str {
        "wire"
    }

    fn label(&self) -> String {
        String::new()
    }

    fn acknowledge(&mut self) -> Cause {
        Cause::RECEIVED
    }

    fn enable_interrupts(&mut self, _causes: Cause) {}

    fn traffic(&self) -> Traffic {
        self.counters().traffic()
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        &[]
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        Ok(())
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        Ok(())
    }

    fn take_back(&mut self, _stopped: &DeviceStopped) -> Result<(), FinishError> {
        Ok(())
    }
}

impl Nic for Wire<'_> {
    fn mac(&self) -> [u8; 6] {
        MAC
    }

    fn link_up(&self) -> bool {
        !self.bends(64)
    }

    fn set_loopback(&mut self, _on: bool) -> Result<(), StartError> {
        Ok(())
    }

    fn transmit(&mut self, frame: Vec<u8>) -> Result<(), Unsent> {
        if !self.bends(8)
            && let Some(answer) = self.answer(&frame)
        {
            self.arrive(answer);
        }
        self.sent.push(frame);
        Ok(())
    }

    fn transmit_in_place(&mut self, _frame: Source) -> Result<(Sent, Source), TransmitError> {
        Err(TransmitError::Full { in_flight: 0 })
    }

    fn reclaim(&mut self) -> Result<Option<Vec<u8>>, TransmitError> {
        Ok(self.sent.pop())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn in_flight(&self) -> usize {
        self.sent.len()
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> Result<Option<usize>, ReceiveError> {
        if self.bends(4) && !self.input.is_over() {
            // A frame takes its time on the wire, so that a flood of them lasts.
            self.clock.advance(Duration::from_millis((self.input.u8() % 16).into()));
            let mut drawn = self.input.bytes(80);
            drawn.resize(drawn.len().max(60), 0);
            self.arriving.push_back(drawn);
        }
        let Some(arrived) = self.arriving.pop_front() else { return Ok(None) };
        if frame.len() < arrived.len() {
            frame.resize(arrived.len(), 0);
        }
        frame[..arrived.len()].copy_from_slice(&arrived);
        Ok(Some(arrived.len()))
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn last_tx(&self) -> Option<Sent> {
        None
    }
}

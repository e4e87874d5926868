//! A neighbour's hardware address (RFC 826), asked for by hand so that the question itself is a check.

use super::{
    error::{NetError, Waited},
    stack::Stack,
};
use core::time::Duration;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Ipv4Address,
};

/// How long until the question is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// A neighbour's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpReply {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// From the question to the answer.
    pub took: Duration,
}

impl Stack<'_> {
    /// Asks who has `target`, once a second within `limit`. Other frames that come meanwhile are dropped.
    pub fn arp(&mut self, target: Ipv4Address, limit: Duration) -> Result<ArpReply, NetError> {
        let source = self.address().ok_or(NetError::NoAddress)?;
        let own = EthernetAddress(self.phy.nic().mac());
        let start = self.clock.now();
        let (deadline, mut asked) = (start.after(limit), None);
        self.check_link(Waited::Arp)?;
        loop {
            let now = self.clock.now();
            if now >= deadline {
                return Err(self.explain(Waited::Arp, now.since(start)));
            }
            if asked.is_none_or(|asked| now.since(asked) >= AGAIN) {
                self.phy.send_raw(&question(own, source, target));
                asked = Some(now);
            }
            if let Some(mac) = self.first_answer(target) {
                let took = self.clock.now().since(asked.unwrap_or(now));
                return accept(mac, target).map(|mac| ArpReply { mac, took });
            }
            self.phy.check()?;
            self.sleep(now, deadline.min(now.after(AGAIN)))?;
        }
    }

    fn first_answer(&mut self, target: Ipv4Address) -> Option<EthernetAddress> {
        while let Some(frame) = self.phy.receive_raw() {
            let mac = answer(frame, target);
            if mac.is_some() {
                return mac;
            }
        }
        None
    }
}

fn accept(mac: EthernetAddress, target: Ipv4Address) -> Result<[u8; 6], NetError> {
    if mac.is_unicast() { Ok(mac.0) } else { Err(NetError::BadNeighbour(target)) }
}

/// Ethernet header and ARP packet.
const QUESTION: usize = 14 + 28;

fn question(own: EthernetAddress, source: Ipv4Address, target: Ipv4Address) -> [u8; QUESTION] {
    let mut bytes = [0; QUESTION];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    let header = EthernetRepr {
        src_addr: own,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    header.emit(&mut frame);
    let asks = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: own,
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    asks.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

/// The hardware address in a reply from `target`; `None` for any other frame.
fn answer(frame: &[u8], target: Ipv4Address) -> Option<EthernetAddress> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let packet = ArpPacket::new_checked(frame.payload()).ok()?;
    match ArpRepr::parse(&packet).ok()? {
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr,
            source_protocol_addr,
            ..
        } if source_protocol_addr == target => Some(source_hardware_addr),
        _ => None,
    }
}

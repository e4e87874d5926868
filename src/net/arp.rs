//! A neighbour's hardware address (RFC 826), asked for by hand so that the question itself is a check.

use super::{
    error::{NetError, Waited},
    run::BATCH,
    stack::Stack,
};
use crate::arch::wait::Deadline;
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
        self.check_link(Waited::Arp)?;
        let clock = self.clock;
        let deadline = Deadline::new(clock, limit);
        let mut asked = None;
        let answer = deadline.turns(|until| -> Result<_, NetError> {
            let now = clock.now();
            if asked.is_none_or(|asked| now.since(asked) >= AGAIN) {
                self.phy.send_raw(&question(own, source, target));
                asked = Some(now);
            }
            let (mac, received) = self.look_for_answer(target);
            if let Some(mac) = mac {
                let took = clock.now().since(asked.unwrap_or(now));
                return accept(mac, target).map(|mac| Some(ArpReply { mac, took }));
            }
            self.phy.check()?;
            if !received {
                self.sleep(until.min(now.after(AGAIN)))?;
            }
            Ok(None)
        });
        answer?.ok_or_else(|| self.explain(Waited::Arp, deadline))
    }

    /// Looks through a batch of frames; says, too, whether there were any.
    fn look_for_answer(&mut self, target: Ipv4Address) -> (Option<EthernetAddress>, bool) {
        for taken in 0..BATCH {
            let Some(frame) = self.phy.receive_raw() else {
                return (None, taken > 0);
            };
            let mac = answer(frame, target);
            if mac.is_some() {
                return (mac, true);
            }
        }
        (None, true)
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

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
    const OTHER: Ipv4Address = Ipv4Address::new(10, 0, 2, 3);
    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 7]);

    #[test]
    fn only_a_reply_of_the_one_that_was_asked_is_an_answer() {
        let mut frame = question(MAC, TARGET, OTHER);
        assert_eq!(answer(&frame, TARGET), None, "a question is none");
        frame[21] = 2;
        assert_eq!(answer(&frame, TARGET), Some(MAC));
        assert_eq!(answer(&frame, OTHER), None, "somebody else's");
        assert_eq!(answer(&frame[..QUESTION - 1], TARGET), None, "cut short");
        frame[13] = 0;
        assert_eq!(answer(&frame, TARGET), None, "another protocol");
    }
}

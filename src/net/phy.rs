//! A card as smoltcp wants it: tokens that hold a frame for as long as it is looked at.
//!
//! Buffers go round: one for receiving, and those the card returns after sending. What the card reports
//! as wrong can't pass through a token, so the first of it is kept for [`Phy::check`].

use super::error::NetError;
use crate::nic::{FRAME_MAX, Nic, TransmitError, Unsent};
use alloc::vec::Vec;
use smoltcp::{
    phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
    wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket},
};

/// A card and the buffer for the frame being looked at.
#[derive(Debug)]
pub(super) struct Phy<'s> {
    card: Card<'s>,
    received: Vec<u8>,
    tcp: Checksum,
    damaged: u64,
}

/// A card and the buffers for frames to send.
#[derive(Debug)]
struct Card<'s> {
    nic: &'s mut dyn Nic,
    spare: Vec<Vec<u8>>,
    fault: Option<NetError>,
}

impl<'s> Phy<'s> {
    pub(super) const fn new(nic: &'s mut dyn Nic) -> Self {
        let card = Card { nic, spare: Vec::new(), fault: None };
        Self { card, received: Vec::new(), tcp: Checksum::Both, damaged: 0 }
    }

    /// From the next interface on, TCP's checksums are written, and a segment is taken whatever its own says.
    pub(super) const fn take_every_segment(&mut self) {
        self.tcp = Checksum::Tx;
    }

    /// How many frames came with a checksum that was wrong while every segment was taken.
    pub(super) const fn damaged(&self) -> u64 {
        self.damaged
    }

    pub(super) const fn nic(&mut self) -> &mut (dyn Nic + 's) {
        self.card.nic
    }

    /// The first thing that went wrong since last asked.
    pub(super) fn check(&mut self) -> Result<(), NetError> {
        self.card.fault.take().map_or(Ok(()), Err)
    }

    /// An error if the card holds on to all frames it was given.
    pub(super) fn check_stuck(&mut self) -> Result<(), NetError> {
        if self.card.ready() {
            return Ok(());
        }
        let in_flight = self.card.nic.in_flight();
        Err(TransmitError::Full { in_flight }.into())
    }

    /// The next frame as it is, for what smoltcp keeps to itself.
    pub(super) fn receive_raw(&mut self) -> Option<&[u8]> {
        let len = self.next_frame()?;
        Some(&self.received[..len])
    }

    /// Sends a frame as it is.
    pub(super) fn send_raw(&mut self, frame: &[u8]) {
        if self.card.ready() {
            self.card.send(frame.len(), |to| to.copy_from_slice(frame));
        }
    }

    fn next_frame(&mut self) -> Option<usize> {
        let len = match self.card.nic.receive(&mut self.received) {
            Ok(len) => len?,
            Err(error) => {
                self.card.note(error.into());
                return None;
            }
        };
        if !self.tcp.rx() && is_damaged(&self.received[..len]) {
            self.damaged += 1;
        }
        Some(len)
    }
}

/// Whether a frame of IPv4, or TCP in it, is not what its sender computed the checksum of. Others have none to look at.
fn is_damaged(frame: &[u8]) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return true };
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return false;
    }
    let packet = Ipv4Packet::new_checked(ethernet.payload()).ok();
    let Some(packet) = packet.filter(Ipv4Packet::verify_checksum) else { return true };
    if packet.next_header() != IpProtocol::Tcp {
        return false;
    }
    let segment = TcpPacket::new_checked(packet.payload());
    let ends = [packet.src_addr(), packet.dst_addr()].map(Into::into);
    !segment.is_ok_and(|segment| segment.verify_checksum(&ends[0], &ends[1]))
}

impl Card<'_> {
    /// Whether there is room for one more frame. Asks the device only when it has to.
    fn ready(&mut self) -> bool {
        if self.spare.is_empty() || !self.nic.has_room() {
            match self.nic.reclaim() {
                Ok(sent) => self.spare.extend(sent),
                Err(error) => self.note(error.into()),
            }
        }
        self.nic.has_room()
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.clear();
        frame.resize(len, 0);
        let result = fill(&mut frame);
        if let Err(Unsent { frame, error }) = self.nic.transmit(frame) {
            self.spare.push(frame);
            self.note(error.into());
        }
        result
    }

    fn note(&mut self, error: NetError) {
        self.fault.get_or_insert(error);
    }
}

/// A received frame.
#[derive(Debug)]
pub(super) struct Received<'a>(&'a [u8]);

/// Room for a frame to send.
#[derive(Debug)]
pub(super) struct Room<'a, 's>(&'a mut Card<'s>);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(self.0)
    }
}

impl TxToken for Room<'_, '_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        self.0.send(len, fill)
    }
}

impl<'s> Device for Phy<'s> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Room<'a, 's>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Room<'_, 's>)> {
        // A frame may have to be answered at once, so none is received without room for that.
        if !self.card.ready() {
            return None;
        }
        let len = self.next_frame()?;
        Some((Received(&self.received[..len]), Room(&mut self.card)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Room<'_, 's>> {
        self.card.ready().then_some(Room(&mut self.card))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities.checksum.tcp = self.tcp;
        capabilities
    }
}

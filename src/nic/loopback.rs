//! A network card as a device that moves bytes: in loopback it receives what it sends.

use super::{FRAME_MAX, FRAME_MIN, HEADER, Nic, error::Mac};
use crate::{
    device::{
        Arrival, Cause, DmaRange, Driver, Lengths, Mover, QuiesceError, Sent, StartError, Traffic,
        pattern,
    },
    dma::{DeviceStopped, FinishError, OwnedSlice},
    pci::Delivery,
    report::{Outcome, Reason},
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

/// How long a device may take over something it does at once when it works.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same without a link, where some chips send nothing at all, not even to themselves.
const PATIENCE_WITHOUT_LINK: Duration = Duration::from_millis(200);

/// A card, on its wire or looped back.
#[derive(Debug)]
pub struct Loopback<'m> {
    nic: Box<dyn Nic + 'm>,
    looped: bool,
    strays: Strays,
}

/// Frames that came instead of the one last sent.
#[derive(Debug, Default)]
struct Strays {
    count: usize,
    /// One that has most of the bytes that were sent: how long it is, and where it first differs.
    damaged: Option<(usize, usize)>,
}

impl<'m> Loopback<'m> {
    /// A card that is on its wire.
    pub fn new(nic: Box<dyn Nic + 'm>) -> Self {
        Self { nic, looped: false, strays: Strays::default() }
    }

    /// The card, on its wire.
    pub fn on_wire(&mut self) -> Result<&mut (dyn Nic + 'm), StartError> {
        self.turn(false)?;
        Ok(&mut *self.nic)
    }

    /// The card as it is.
    pub fn nic(&self) -> &(dyn Nic + 'm) {
        &*self.nic
    }

    fn turn(&mut self, looped: bool) -> Result<(), StartError> {
        if self.looped != looped {
            self.nic.set_loopback(looped)?;
            self.looped = looped;
        }
        Ok(())
    }
}

impl Mover for Loopback<'_> {
    fn lengths(&self) -> Lengths {
        Lengths { min: FRAME_MIN, max: FRAME_MAX, step: 1 }
    }

    fn prepare(&mut self) -> Result<(), Outcome> {
        Ok(self.turn(true)?)
    }

    fn fill(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), Outcome> {
        pattern::fill(bytes, seed);
        Ok(())
    }

    fn send(&mut self, bytes: OwnedSlice) -> Result<(Sent, OwnedSlice), Outcome> {
        self.strays = Strays::default();
        Ok(self.nic.transmit_in_place(bytes)?)
    }

    /// Frames from the wire may turn up among those looped back.
    fn fetch(&mut self, sent: &[u8], back: &mut Vec<u8>) -> Result<Arrival, Outcome> {
        let Some(len) = self.nic.receive(back)? else {
            return Ok(Arrival::Nothing);
        };
        if is_ours(&back[..len], sent) {
            return Ok(Arrival::Back(len));
        }
        self.strays.count += 1;
        self.strays.damaged = self.strays.damaged.or_else(|| damage(&back[..len], sent));
        Ok(Arrival::Other)
    }

    fn missing(&self, sent: &Sent) -> Outcome {
        let Sent { len, dma, .. } = sent;
        let Strays { count, damaged } = self.strays;
        if let Some((length, at)) = damaged {
            let detail = format!(
                "{len} bytes sent from {dma} came back as {length}, wrong from byte {at} on"
            );
            let reason = Reason::new("dma-byte-mismatch", detail);
            return Outcome::Failure(reason.remedy(pattern::MISMATCH_REMEDY));
        }
        if !self.nic.link_up() {
            let detail = "the link is down, and this chip loops nothing back without one";
            return Outcome::Skip(Reason::new("link-down", detail));
        }
        let detail = format!("{len} bytes sent from {dma} did not come back; {count} others did");
        let remedy = "see `xl dmesg` for IOMMU faults; without any, the device may not do loopback";
        Outcome::Failure(Reason::new("dma-no-frame", detail).remedy(remedy))
    }

    fn patience(&self) -> Duration {
        if self.nic.link_up() { PATIENCE } else { PATIENCE_WITHOUT_LINK }
    }
}

impl Driver for Loopback<'_> {
    fn name(&self) -> &'static str {
        self.nic.name()
    }

    fn label(&self) -> String {
        Mac(&self.nic.mac()).to_string()
    }

    fn deliveries(&self) -> &'static [Delivery] {
        self.nic.deliveries()
    }

    fn deliver(&mut self, how: Delivery) {
        self.nic.deliver(how);
    }

    fn acknowledge(&mut self) -> Cause {
        self.nic.acknowledge()
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.nic.enable_interrupts(causes);
    }

    fn traffic(&self) -> Traffic {
        self.nic.traffic()
    }

    fn dma_ranges(&self) -> &[DmaRange] {
        self.nic.dma_ranges()
    }

    fn check_guards(&self) -> Result<(), FinishError> {
        self.nic.check_guards()
    }

    fn quiesce(&mut self) -> Result<(), QuiesceError> {
        self.nic.quiesce()
    }

    fn take_back(&mut self, stopped: &DeviceStopped) -> Result<(), FinishError> {
        self.nic.take_back(stopped)
    }
}

/// Whether a received frame can be the one sent: as long, and with the same addresses and type. A frame from
/// the wire has others.
fn is_ours(received: &[u8], sent: &[u8]) -> bool {
    received.len() == sent.len() && received[..HEADER] == sent[..HEADER]
}

/// The length of a frame that can only be the one sent, with a wrong length or header, and where it first differs.
///
/// Three quarters of its bytes are where they were sent: no frame from the wire has that.
fn damage(received: &[u8], sent: &[u8]) -> Option<(usize, usize)> {
    let both = received.iter().zip(sent);
    let same = both.clone().filter(|(a, b)| a == b).count();
    let at = both.clone().position(|(a, b)| a != b).unwrap_or(both.len());
    (4 * same >= 3 * received.len().min(sent.len())).then_some((received.len(), at))
}

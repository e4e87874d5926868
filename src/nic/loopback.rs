//! A network card as a device that moves bytes: in loopback it receives what it sends.

use super::{EXPERIMENTAL, FRAME_MAX, FRAME_MIN, HEADER, Mirror, Nic, error::Mac};
use crate::{
    device::{
        Arrival, Cause, DmaRange, Driver, Lengths, Mover, QuiesceError, ResetError, Sent,
        StartError, Traffic, pattern,
    },
    dma::{DeviceStopped, FinishError, Source},
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
/// The same without a link, where some chips send nothing at all, not even to themselves; and without a mirror.
const PATIENCE_WITHOUT_LINK: Duration = Duration::from_millis(200);
/// The first byte of an address that nobody was given: a station's, locally administered.
const LOCAL: u8 = 2;

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

    /// Whether frames would come back from the wire alone, where nobody sends them back.
    fn lacks_mirror(&self) -> bool {
        self.nic.mirror() == Mirror::Wire { seen: false }
    }

    /// Why nothing comes back.
    fn not_mirrored(&self) -> Outcome {
        if !self.nic.link_up() {
            let detail = "the link is down, and this chip loops nothing back without one";
            return Outcome::Skip(Reason::new("link-down", detail));
        }
        let detail = "this card can't send to itself, and nobody on its wire sends frames of type 0x88b5 back";
        let remedy = "connect it to a peer that does, or to a plug that loops";
        Outcome::Skip(Reason::new("nic-no-mirror", detail).remedy(remedy))
    }
}

impl Mover for Loopback<'_> {
    fn lengths(&self) -> Lengths {
        Lengths { min: FRAME_MIN, max: FRAME_MAX, step: 1 }
    }

    fn prepare(&mut self) -> Result<(), Outcome> {
        self.turn(true)?;
        if self.lacks_mirror() { Err(self.not_mirrored()) } else { Ok(()) }
    }

    /// A frame that goes by way of the wire has a header that the mirror there knows, and nobody else minds: to the card
    /// itself, from an address that differs from frame to frame.
    fn fill(&mut self, bytes: &mut [u8], seed: usize) -> Result<(), Outcome> {
        pattern::fill(bytes, seed);
        if let (Mirror::Wire { .. }, Some(header)) =
            (self.nic.mirror(), bytes.first_chunk_mut::<HEADER>())
        {
            header[..6].copy_from_slice(&self.nic.mac());
            header[6] = LOCAL;
            header[12..].copy_from_slice(&EXPERIMENTAL);
        }
        Ok(())
    }

    fn send(&mut self, bytes: Source) -> Result<(Sent, Source), Outcome> {
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
        if !self.nic.link_up() || self.lacks_mirror() {
            return self.not_mirrored();
        }
        let detail = format!("{len} bytes sent from {dma} did not come back; {count} others did");
        let remedy = "see `xl dmesg` for IOMMU faults; without any, the device may not do loopback";
        Outcome::Failure(Reason::new("dma-no-frame", detail).remedy(remedy))
    }

    fn patience(&self) -> Duration {
        if self.nic.link_up() && !self.lacks_mirror() { PATIENCE } else { PATIENCE_WITHOUT_LINK }
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

    fn deliver(&mut self, how: Delivery) -> Result<(), ResetError> {
        self.nic.deliver(how)
    }

    fn acknowledge(&mut self) -> Cause {
        self.nic.acknowledge()
    }

    fn enable_interrupts(&mut self, causes: Cause) {
        self.nic.enable_interrupts(causes);
    }

    fn holds_back(&self) -> bool {
        self.nic.holds_back()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        addr::DmaMask,
        device::{Idle as _, fake::TickingClock},
        dma::{
            Device, Limits, Plan, Policy, Pool, Table,
            fake::{FakeMachine, Frames},
        },
        nic::{
            fake::{
                FakeRtl8139, Fault,
                played::{Played, Player as _},
                virtio::{CAPABILITIES, Traits, Virtio},
            },
            rtl8139::Idle,
            virtio,
        },
        report::Verdict,
    };
    use alloc::vec;

    /// Runs `test` on a card in loopback over a fake chip; no slot may stay taken.
    fn with_loopback(test: impl FnOnce(&FakeRtl8139<'_>, &mut Loopback<'_>)) {
        let machine = FakeMachine::new(Frames::default());
        let (chip, clock) =
            (FakeRtl8139::new(&machine, [2, 0, 0, 0, 0, 1]), TickingClock::default());
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        let idle = Idle::reset(&chip, &clock).unwrap();
        let device = Device::new(&pool, &machine, idle.limits(), Policy::Auto);
        let mut card = Loopback::new(Box::new(idle.start(device).unwrap()));
        card.prepare().unwrap();
        test(&chip, &mut card);
        drop(card);
        assert_eq!(pool.stats().in_use, 0, "slots kept");
    }

    fn filled(card: &mut Loopback<'_>, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        card.fill(&mut bytes, len).unwrap();
        bytes
    }

    fn send(card: &mut Loopback<'_>, bytes: &[u8]) -> Sent {
        card.send(Source::from(bytes.to_vec())).unwrap().0
    }

    #[test]
    fn what_is_sent_comes_back_and_what_others_sent_is_told_apart() {
        with_loopback(|chip, card| {
            let Lengths { min, max, step } = card.lengths();
            let mut back = Vec::new();
            for len in [min, min + step, 777, max] {
                let bytes = filled(card, len);
                assert!(bytes.iter().any(|byte| *byte != bytes[0]), "a pattern");
                chip.deliver(&[0xff; 64]);
                send(card, &bytes);
                assert_eq!(card.fetch(&bytes, &mut back), Ok(Arrival::Other));
                assert_eq!(card.fetch(&bytes, &mut back), Ok(Arrival::Back(len)));
                assert!(back[..len] == bytes, "{len}");
                assert_eq!(card.fetch(&bytes, &mut back), Ok(Arrival::Nothing));
            }
            assert_eq!(card.traffic().sent, 4);
            assert!(chip.take_sent().is_empty(), "none was on the wire");
            assert_eq!((card.name(), card.label().as_str()), ("rtl8139", "02:00:00:00:00:01"));
            assert!(card.holds_back(), "what came while its cause was masked");
            assert_eq!(card.series(), usize::MAX, "as long as is asked for");
            card.on_wire().unwrap();
            let bytes = filled(card, max);
            send(card, &bytes);
            assert_eq!(chip.take_sent(), [bytes]);
        });
    }

    /// What is said of a frame that was sent and of which these came instead.
    fn lost(
        chip: &FakeRtl8139<'_>,
        card: &mut Loopback<'_>,
        bytes: &[u8],
        others: &[&[u8]],
    ) -> Outcome {
        let (sent, mut back) = (send(card, bytes), Vec::new());
        while card.fetch(bytes, &mut back) != Ok(Arrival::Nothing) {}
        for frame in others {
            chip.deliver(frame);
            card.fetch(bytes, &mut back).unwrap();
        }
        card.missing(&sent)
    }

    #[test]
    fn a_frame_that_does_not_come_back_has_its_reason() {
        with_loopback(|chip, card| {
            let bytes = filled(card, 100);
            let mut wrong = bytes.clone();
            wrong[3] ^= 1;
            for (others, code, words) in [
                (&[][..], "dma-no-frame", "did not come back; 0 others did"),
                (&[&[0xff; 64][..], &[0xff; 70]], "dma-no-frame", "; 2 others did"),
                (
                    &[&[0xff; 64], &wrong, &bytes[..80]],
                    "dma-byte-mismatch",
                    "as 100, wrong from byte 3 on",
                ),
                (&[&bytes[..80]], "dma-byte-mismatch", "as 80, wrong from byte 80 on"),
            ] {
                let outcome = lost(chip, card, &bytes, others);
                let reason = outcome.reason();
                assert_eq!((outcome.verdict(), reason.code), (Verdict::Failure, code));
                assert!(reason.detail.starts_with("100 bytes sent from 0x"), "{}", reason.detail);
                assert!(reason.detail.ends_with(words), "{}", reason.detail);
            }
            assert_eq!(card.patience(), PATIENCE);
            chip.set_link(false);
            assert_eq!(card.patience(), PATIENCE_WITHOUT_LINK);
            let outcome = lost(chip, card, &bytes, &[]);
            assert_eq!((outcome.verdict(), outcome.reason().code), (Verdict::Skip, "link-down"));
        });
    }

    #[test]
    fn three_quarters_of_a_frame_are_enough_to_know_it_by() {
        let sent = [7; 80];
        let other = |wrong: usize| {
            let mut frame = sent;
            frame[80 - wrong..].fill(8);
            frame
        };
        assert_eq!(damage(&other(20), &sent), Some((80, 60)));
        assert_eq!(damage(&other(21), &sent), None);
        assert_eq!(damage(&other(20)[..64], &sent), Some((64, 60)));
    }

    /// Runs `test` on a card that has no loop of its own.
    fn with_wire(traits: Traits, test: impl FnOnce(&Played<'_, Virtio>, &mut Loopback<'_>)) {
        let machine = FakeMachine::new(Frames::default());
        let (chip, clock) = (
            Played::new(&machine, [2, 0, 0, 0, 0, 1], Virtio::new(traits)),
            TickingClock::default(),
        );
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &machine);
        pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
        let idle = virtio::reset(&CAPABILITIES, |_| Ok(&chip), &clock).unwrap();
        let limits = Limits::new(DmaMask::BITS_32);
        let device = Device::new(&pool, &machine, limits, Policy::Auto);
        test(&chip, &mut Loopback::new(Box::new(idle.start(device).unwrap())));
    }

    #[test]
    fn a_card_without_a_loop_sends_itself_what_a_mirror_on_its_wire_knows() {
        with_wire(Traits { mirror: true, ..Traits::default() }, |_, card| {
            card.prepare().unwrap();
            assert_eq!(card.patience(), PATIENCE);
            let mut back = Vec::new();
            for seed in [100, 101] {
                let bytes = filled(card, seed);
                assert_eq!(
                    (&bytes[..7], &bytes[12..14]),
                    (&[2, 0, 0, 0, 0, 1, 2][..], &[0x88, 0xb5][..])
                );
                assert!(bytes[7..12] != filled(card, seed + 1)[7..12], "each has its own address");
                let sent = send(card, &bytes);
                assert_eq!(card.fetch(&bytes, &mut back), Ok(Arrival::Back(seed)));
                assert!(back[..seed] == bytes);
                let lost = card.missing(&sent);
                assert_eq!(
                    (lost.verdict(), lost.reason().code),
                    (Verdict::Failure, "dma-no-frame")
                );
            }
        });
    }

    #[test]
    fn without_a_mirror_nothing_is_compared_which_is_no_success() {
        with_wire(Traits { mirror: false, ..Traits::default() }, |chip, card| {
            for (link, code) in [(true, "nic-no-mirror"), (false, "link-down")] {
                chip.set_link(link);
                let bytes = filled(card, 100);
                let sent = send(card, &bytes);
                assert_eq!(card.patience(), PATIENCE_WITHOUT_LINK);
                let said = [card.prepare().unwrap_err(), card.missing(&sent)]
                    .map(|outcome| (outcome.verdict(), outcome.reason().code));
                assert_eq!(said, [(Verdict::Skip, code); 2]);
            }
        });
    }

    #[test]
    fn what_a_driver_owes_is_the_card_s_own() {
        with_loopback(|chip, card| {
            card.enable_interrupts(Cause::RECEIVED);
            let bytes = filled(card, 60);
            send(card, &bytes);
            assert!(chip.interrupts());
            assert!(card.acknowledge().contains(Cause::RECEIVED) && !chip.interrupts());
            let covers =
                |&(bus, len): &_| card.dma_ranges().iter().any(|range| range.covers(bus, len));
            assert!(chip.touched().iter().all(covers));
            card.check_guards().unwrap();
            chip.set_fault(Fault::Underrun);
            send(card, &bytes);
            assert_eq!(card.check_guards().unwrap_err().code(), "dma-overrun");
            chip.set_fault(Fault::NeverReset);
            card.quiesce().unwrap_err();
            chip.set_fault(Fault::None);
            card.take_back(&DeviceStopped::seen()).unwrap_err();
        });
        with_loopback(|chip, card| {
            card.quiesce().unwrap();
            assert!(!chip.is_running());
        });
    }

    #[test]
    fn it_interrupts_in_each_way_that_its_card_does() {
        with_wire(Traits { mirror: false, tabled: true, ..Traits::default() }, |chip, card| {
            assert_eq!(card.deliveries(), [Delivery::Msix, Delivery::Intx]);
            card.enable_interrupts(Cause::RECEIVER);
            for (how, rings) in [(Delivery::Intx, false), (Delivery::Msix, true)] {
                card.deliver(how).unwrap();
                chip.deliver(&[0xff; 60]);
                assert_eq!(chip.interrupts(), rings, "{how}");
                assert_eq!(card.acknowledge(), Cause::RECEIVED);
            }
        });
    }
}

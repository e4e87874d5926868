//! The ends of a wire between two cards, each a card in a domain of its own.

use super::Card;
use super::relay::{self, Side};

/// What joins two cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A hub of QEMU's.
    Hub,
    /// The rig, which drops, repeats and reorders frames as drawn from this number.
    Rough(u64),
}

/// A card at an end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The card; none: the one that QEMU and the guest call `rtl8139`.
    pub(crate) card: Option<&'static Card>,
    /// Which end.
    pub(crate) side: Side,
    /// The wire.
    pub(crate) wire: Wire,
}

/// The hub's number; other devices have those below.
const HUB: u32 = 3;

impl End {
    /// Its slot on bus 0. An igb's virtual functions are 16 and 17 slots above it, which have to be there and free.
    pub(super) const fn slot(self) -> u8 {
        match (self.wire, self.side) {
            (Wire::Hub, Side::A) => 1,
            (Wire::Hub, Side::B) => 3,
            (Wire::Rough(_), Side::A) => 4,
            (Wire::Rough(_), Side::B) => 7,
        }
    }

    /// QEMU's name of the card.
    pub(super) fn device(self) -> &'static str {
        self.card.map_or("rtl8139", |card| card.device)
    }

    /// QEMU's name of the end.
    pub(super) fn name(self) -> String {
        let wire = match self.wire {
            Wire::Hub => "hub",
            Wire::Rough(_) => "rough",
        };
        format!("{wire}-{}", self.side.name())
    }

    /// How QEMU is told where the end leads.
    pub(super) fn netdev(self) -> String {
        let name = self.name();
        match self.wire {
            Wire::Hub => format!("hubport,id={name},hubid={HUB}"),
            Wire::Rough(_) => {
                let [qemu, rig] = relay::sockets(self.side);
                format!(
                    "dgram,id={name},local.type=unix,local.path={qemu},remote.type=unix,remote.path={rig}"
                )
            }
        }
    }

    /// The guest's words for it.
    pub(crate) fn words(self, mib: u32) -> Vec<String> {
        let driver = self.card.and_then(|card| card.word).map(str::to_owned);
        driver.into_iter().chain([format!("pair={},{mib}", self.side.name())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_slot_and_a_name_of_its_own() {
        let end = |wire, side| End { card: None, side, wire };
        let sides = [Side::A, Side::B];
        let ends: Vec<_> =
            [Wire::Hub, Wire::Rough(7)].iter().flat_map(|w| sides.map(|s| end(*w, s))).collect();
        for (n, one) in ends.iter().enumerate() {
            let others = &ends[..n];
            assert!(others.iter().all(|o| o.slot() != one.slot() && o.name() != one.name()));
            assert!(one.netdev().contains(&one.name()));
        }
        assert_eq!(ends[1].words(64), ["pair=b,64"]);
    }
}

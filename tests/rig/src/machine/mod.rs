//! The machine that QEMU plays: which parts it has, and the command line that says so.

mod accel;
mod argv;
mod end;
mod iommu;
mod kept;
mod medium;
mod models;
mod qmp;
mod relay;
mod running;
mod setting;
mod start;
mod xen;

pub(crate) use accel::{Accel, probe};
pub(crate) use argv::{COM2_LOG, Plan, TRACE_LOG, channel_bdf, memory_gib};
pub(crate) use end::{End, Wire};
pub(crate) use iommu::Iommu;
pub(crate) use kept::Kept;
pub(crate) use medium::Medium;
pub(crate) use models::{CARDS, Card, DEFAULT_NIC, E1000E, Model, NO_MIRROR};
use models::{QUICK, VIRTIO};
pub(crate) use qmp::Qmp;
pub(crate) use relay::{Mischief, Side};
pub(crate) use running::{Machine, Next, Source};
pub(crate) use setting::{Setting, Without};
pub(crate) use start::Start;
pub(crate) use xen::version as xen_version;

/// A device on the machine's bus that a job can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The network card, with a peer behind it.
    Nic,
    /// A card of the same kind with nobody behind it: link up, no answer to anything.
    LonelyNic,
    /// The network card with its cable pulled while the job runs.
    Unplugged,
    /// A network card of another kind, with a peer behind it, too.
    Card(&'static Card),
    /// A network card at one end of a wire, with another guest's card at the other.
    End(End),
    /// A device that is no network card.
    Other(&'static Model),
    /// A network card that the guest has no driver for, and never will: it can't do DMA.
    Undriven,
    /// The network card behind a port whose slot can be switched off.
    Pullable,
    /// A network card that can report errors to the port it is behind.
    Reporting,
    /// The network card on a conventional bus, whose bridge speaks for all that is behind it.
    Bridged,
    /// The network card as the second function of a device whose first is none of the guest's.
    Second,
    /// That first function, a card of another kind, for a guest that has both.
    First,
}

/// What leads to a bus of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bridge {
    /// QEMU's name of it.
    device: &'static str,
    /// Its name, and that of its bus.
    id: &'static str,
    /// Its slot on bus 0.
    slot: u8,
    /// The bus as the firmware numbers it: in the bridges' order. So all are there, or none.
    bus: u8,
}

/// All of them; the last one's bus is a conventional one.
const BRIDGES: [Bridge; 3] = [
    Bridge { device: "pcie-root-port,chassis=1", id: "slot1", slot: 9, bus: 1 },
    Bridge { device: "pcie-root-port,chassis=2", id: "slot2", slot: 29, bus: 2 },
    Bridge { device: "pcie-pci-bridge", id: "old", slot: 30, bus: 3 },
];

/// QEMU's name of the card that can report errors.
pub(crate) const REPORTING: &str = "reporting";

impl Device {
    /// How many seconds a guest that drives it may take, at most.
    pub(crate) const fn limit(self) -> u64 {
        match self {
            Self::Other(model) => model.limit.as_secs(),
            _ => QUICK.as_secs(),
        }
    }

    /// Its slot on bus 0, or that of the port it is behind.
    pub(crate) const fn slot(self) -> u8 {
        match self {
            Self::Nic | Self::Unplugged => 5,
            Self::LonelyNic => 6,
            Self::Card(card) => card.slot,
            Self::End(end) => end.slot(),
            Self::Other(model) => model.slot,
            Self::Undriven => 8,
            Self::Pullable => BRIDGES[0].slot,
            Self::Reporting => BRIDGES[1].slot,
            Self::Bridged => BRIDGES[2].slot,
            Self::Second | Self::First => 2,
        }
    }

    /// What it is behind, if not on bus 0.
    fn behind(self) -> Option<&'static Bridge> {
        const { &BRIDGES }.iter().find(|bridge| bridge.slot == self.slot())
    }

    /// Its slot on its own bus.
    fn place(self) -> u8 {
        match (self, self.behind()) {
            // The first one is taken to be the bridge's own.
            (Self::Bridged, _) => 1,
            (_, Some(_)) => 0,
            (_, None) => self.slot(),
        }
    }

    /// Whether it is at the end of a wire on which frames are lost.
    pub(crate) const fn is_rough(self) -> bool {
        matches!(self, Self::End(End { wire: Wire::Rough(_), .. }))
    }

    /// The name of the medium in it, if it is a disk.
    pub(crate) const fn medium(self) -> Option<&'static str> {
        match self {
            Self::Other(model) => model.medium,
            _ => None,
        }
    }

    /// Its address as QEMU's trace writes it: the function with two digits.
    pub(crate) fn traced(self) -> String {
        match self.behind() {
            // What comes from a conventional bus bears the bridge's name: the bus, and 0 for device and function.
            Some(Bridge { bus, .. }) => format!("{bus:02x}:00.00"),
            None => traced(&self.bdf()),
        }
    }

    /// Its address on the host, as xl and pciback write it.
    pub(crate) fn bdf(self) -> String {
        let bus = self.behind().map_or(0, |bridge| bridge.bus);
        let function = u8::from(self == Self::Second);
        format!("0000:{bus:02x}:{:02x}.{function}", self.place())
    }
}

/// An address on the host as QEMU's trace writes it: the function with two digits.
pub(crate) fn traced(bdf: &str) -> String {
    bdf.trim_start_matches("0000:").replace('.', ".0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use argv::CHANNEL_SLOT;

    #[test]
    fn no_device_is_where_dom0_s_channel_is() {
        assert_eq!(channel_bdf(), "0000:00:0f.0");
        let cards = CARDS.iter().map(Device::Card);
        let models =
            ["edu", "nvme", "ahci", "xhci", "sdhci"].map(|name| Model::find(name).unwrap());
        let ends = [Wire::Hub, Wire::Rough(7)]
            .into_iter()
            .flat_map(|wire| [Side::A, Side::B].map(|side| End { card: None, side, wire }));
        let others = [
            Device::Nic,
            Device::LonelyNic,
            Device::Undriven,
            Device::Pullable,
            Device::Reporting,
            Device::Bridged,
            Device::Second,
        ];
        let all = cards.chain(models.map(Device::Other)).chain(ends.map(Device::End)).chain(others);
        // An igb's virtual functions are 16 and 17 slots above it.
        let mut taken = all.flat_map(|device| [0, 16, 17].map(|above| device.slot() + above));
        assert!(taken.all(|slot| slot != CHANNEL_SLOT));
    }

    #[test]
    fn an_address_is_written_for_xl_and_as_the_trace_has_it() {
        for (device, bdf, traced) in [
            (Device::Nic, "0000:00:05.0", "00:05.00"),
            (Device::Second, "0000:00:02.1", "00:02.01"),
            (Device::Pullable, "0000:01:00.0", "01:00.00"),
            (Device::Reporting, "0000:02:00.0", "02:00.00"),
            (Device::Bridged, "0000:03:01.0", "03:00.00"),
        ] {
            assert_eq!((device.bdf(), device.traced()), (bdf.to_owned(), traced.to_owned()));
        }
    }
}

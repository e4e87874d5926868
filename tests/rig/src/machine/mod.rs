//! The machine that QEMU plays: which parts it has, and the command line that says so.

mod accel;
mod argv;
mod end;
mod iommu;
mod medium;
mod models;
mod qmp;
mod relay;
mod running;
mod setting;
mod start;

pub(crate) use accel::{Accel, probe};
pub(crate) use argv::{COM2_LOG, Plan, memory_gib};
pub(crate) use end::{End, Wire};
pub(crate) use iommu::Iommu;
pub(crate) use medium::Medium;
pub(crate) use models::{CARDS, Card, DEFAULT_NIC, Model, NO_MIRROR};
pub(crate) use qmp::Qmp;
pub(crate) use relay::{Mischief, Side};
pub(crate) use running::{Machine, Next, Source};
pub(crate) use setting::{Setting, Without};
pub(crate) use start::Start;

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
    /// The network card as the second function of a device whose first is none of the guest's.
    Second,
}

impl Device {
    /// Its slot on bus 0, or that of the port it is behind.
    pub(crate) const fn slot(self) -> u8 {
        match self {
            Self::Nic | Self::Unplugged => 5,
            Self::LonelyNic => 6,
            Self::Card(card) => card.slot,
            Self::End(end) => end.slot(),
            Self::Other(model) => model.slot,
            Self::Undriven => 8,
            Self::Pullable => 9,
            Self::Second => 2,
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
        traced(&self.bdf())
    }

    /// Its address on the host, as xl and pciback write it.
    pub(crate) fn bdf(self) -> String {
        match self {
            // The only bus that the firmware finds behind a bridge.
            Self::Pullable => "0000:01:00.0".to_owned(),
            Self::Second => format!("0000:00:{:02x}.1", self.slot()),
            _ => format!("0000:00:{:02x}.0", self.slot()),
        }
    }
}

/// An address on the host as QEMU's trace writes it: the function with two digits.
pub(crate) fn traced(bdf: &str) -> String {
    bdf.trim_start_matches("0000:").replace('.', ".0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_for_xl_and_as_the_trace_has_it() {
        for (device, bdf, traced) in [
            (Device::Nic, "0000:00:05.0", "00:05.00"),
            (Device::Second, "0000:00:02.1", "00:02.01"),
            (Device::Pullable, "0000:01:00.0", "01:00.00"),
        ] {
            assert_eq!((device.bdf(), device.traced()), (bdf.to_owned(), traced.to_owned()));
        }
    }
}

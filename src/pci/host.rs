//! The way to a domain's functions: config space, and the PIRQs that their interrupts arrive at.
//!
//! | rung | who sets it up | what it costs |
//! |---|---|---|
//! | MSI-X | the host, in the device's own table | one vector here |
//! | MSI | the host, in config space | one vector |
//! | INTx | firmware or dom0, before | a line that others may share |

use super::{Bdf, ConfigAccess, Resources};
use crate::{report::Reason, xen::events::Pirq};
use core::fmt;

/// How a function delivers its interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// By its pin: a level, on a line that may be shared.
    Intx,
    /// By a message that config space describes.
    Msi,
    /// By messages that a table in the device's memory describes.
    Msix,
}

impl Delivery {
    /// All of them, the best first.
    pub const LADDER: [Self; 3] = [Self::Msix, Self::Msi, Self::Intx];
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intx => "INTx",
            Self::Msi => "MSI",
            Self::Msix => "MSI-X",
        })
    }
}

/// Who carries out what a guest may not do to its functions itself: pciback behind pcifront, Xen for dom0.
pub trait Host: ConfigAccess {
    /// The functions there are, in the order of their addresses.
    fn functions(&self) -> &[Bdf];

    /// What there is against driving a function: where firmware placed it, or that Xen does not know it.
    fn object(&self, _: Bdf) -> Result<(), Reason> {
        Ok(())
    }

    /// Has a function interrupt that way, with one vector; the PIRQ at which it arrives.
    ///
    /// Memory decoding must be on ([`super::Decoding::on`]).
    fn turn_on(&self, function: &Resources, how: Delivery) -> Result<Pirq, Reason>;

    /// Ends that. Close the event channel first.
    fn turn_off(&self, bdf: Bdf, how: Delivery) -> Result<(), Reason>;
}

/// A function has no such capability, or no pin that is routed anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bdf} has {} {how}", if *.unknown { "a pin, and nobody here knows where it leads:" } else { "no" })]
pub struct Lacks {
    /// The function.
    pub bdf: Bdf,
    /// The way asked for.
    pub how: Delivery,
    /// Whether there is a pin, of which only firmware's bytecode says where it leads.
    pub unknown: bool,
}

impl Lacks {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self.how {
            Delivery::Intx if self.unknown => "pci-no-gsi",
            Delivery::Intx => "pci-no-intx",
            Delivery::Msi => "pci-no-msi",
            Delivery::Msix => "pci-no-msix",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self.how {
            Delivery::Intx if self.unknown => {
                "pass it through to a domU for its line, which dom0's Linux then knows; with MSI it needs none"
            }
            Delivery::Intx => {
                "see `lspci -v` in dom0: firmware routed no line; a device with MSI needs none"
            }
            Delivery::Msi | Delivery::Msix => "nothing: there are other ways to interrupt",
        }
    }
}

protocol::coded!(Lacks);

impl Resources {
    /// Whether the function has what it takes to interrupt that way.
    pub const fn offers(&self, how: Delivery) -> bool {
        match how {
            Delivery::Intx => self.line().is_some(),
            Delivery::Msi => self.msi.is_some(),
            Delivery::Msix => self.msix.is_some(),
        }
    }

    /// Why it does not interrupt that way.
    pub const fn lacks(&self, how: Delivery) -> Lacks {
        let unknown = matches!(how, Delivery::Intx) && self.pin.is_some() && !self.routed;
        Lacks { bdf: self.bdf, how, unknown }
    }

    /// The line its pin is routed to; through pciback this is the PIRQ. 0 and 255 stand for none.
    pub const fn line(&self) -> Option<Pirq> {
        match self.pin {
            Some(pin) if self.routed && pin.line != 0 && pin.line != u8::MAX => {
                Some(Pirq(pin.line as u32))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::fake::{FakeBus, FakeDevice};
    use alloc::string::ToString as _;

    #[test]
    fn what_a_function_lacks_has_a_code_for_each_way_and_a_remedy() {
        let bdf = "00:03.0".parse().unwrap();
        let lacks = Delivery::LADDER.map(|how| Lacks { bdf, how, unknown: false });
        let codes = lacks.map(|lacks| lacks.code());
        assert_eq!(codes, ["pci-no-msix", "pci-no-msi", "pci-no-intx"]);
        assert!(lacks[2].remedy().contains("lspci") && lacks[0].remedy().contains("other ways"));
        let unknown = Lacks { unknown: true, ..lacks[2] };
        assert!(unknown.code() == "pci-no-gsi" && unknown.remedy().contains("domU"));
        assert!(unknown.to_string().contains("nobody here knows where it leads"));
    }

    #[test]
    fn a_function_offers_what_its_config_space_has() {
        let bdf = "00:03.0".parse().unwrap();
        let offered = |device: FakeDevice| {
            let found = Resources::read(&FakeBus::hardware().with(bdf, device), bdf);
            let resources = found.unwrap().unwrap();
            Delivery::LADDER.map(|how| resources.offers(how))
        };
        let bare = || FakeDevice::new(1, 2, 0);
        assert_eq!(offered(bare()), [false; 3]);
        assert_eq!(offered(bare().interrupt(1, 0x0b)), [false, false, true]);
        assert_eq!(offered(bare().interrupt(1, 0xff)), [false; 3], "no line");
        assert_eq!(offered(bare().interrupt(1, 0)), [false; 3], "no line either");
        let msi = bare().capability(0x50, 0x05, &[0x80, 0x00]);
        assert_eq!(offered(msi), [false, true, false]);
        let msix = bare().capability(0x70, 0x11, &[4, 0, 0, 0, 0, 0, 0, 0x30, 0, 0]);
        assert_eq!(offered(msix), [true, false, false]);
    }
}

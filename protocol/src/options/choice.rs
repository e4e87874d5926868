//! What is chosen by lists of names: suites, and the devices that they are about.

use crate::Bdf;

/// Every suite by its name on the command line, in running order.
pub const SUITES: [&str; 13] = [
    "boot",
    "memory",
    "swiotlb",
    "board",
    "pci",
    "irq",
    "dma",
    "net",
    "pair",
    "isolation",
    "hog",
    "hotplug",
    "bench",
];

/// How many of them, from the first, make up `smoke`: the rest run only when named.
const IN_SMOKE: usize = 8;

/// Suite `pci` among [`SUITES`].
const PCI: u16 = 1 << 4;

/// Every driver by its name on the command line.
pub const DRIVERS: [&str; 14] = [
    "rtl8139",
    "rtl8139-cplus",
    "rtl8168",
    "rtl8125",
    "pcnet",
    "e1000",
    "e1000e",
    "igb",
    "igc",
    "virtio-net",
    "edu",
    "nvme",
    "ahci",
    "xhci",
];

/// A choice of suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteSet(u16);

impl SuiteSet {
    /// All that test the machine, in one domain.
    pub const SMOKE: Self = Self((1 << IN_SMOKE) - 1);

    /// Reads `smoke` or names with commas between. Suites that drive the card bring `pci`, which says why
    /// when there is none to drive.
    pub fn parse(list: &str) -> Option<Self> {
        list.split(',').try_fold(Self(0), |set, name| match name {
            "smoke" => Some(Self::SMOKE),
            name => {
                let index = SUITES.iter().position(|known| *known == name)?;
                let pci =
                    if matches!(name, "dma" | "net" | "pair" | "isolation") { PCI } else { 0 };
                Some(Self(set.0 | 1 << index | pci))
            }
        })
    }

    /// Whether the suite `name` is in.
    pub fn contains(self, name: &str) -> bool {
        SUITES.iter().position(|known| *known == name).is_some_and(|i| self.0 >> i & 1 != 0)
    }
}

/// How many functions can be named.
const MOST_FUNCTIONS: usize = 8;

/// A choice among the domain's functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FunctionSet {
    /// Whatever there is.
    #[default]
    All,
    /// None is even looked for.
    None,
    /// These.
    Named([Option<Bdf>; MOST_FUNCTIONS]),
}

impl FunctionSet {
    /// Reads `none`, or addresses as the guest sees them, with commas between.
    pub(super) fn parse(list: &str) -> Option<Self> {
        if list == "none" {
            return Some(Self::None);
        }
        let mut named = [None; MOST_FUNCTIONS];
        for (at, text) in list.split(',').enumerate() {
            *named.get_mut(at)? = Some(text.parse().ok()?);
        }
        Some(Self::Named(named))
    }

    /// Those that were named.
    pub fn named(&self) -> impl Iterator<Item = Bdf> {
        let named = if let Self::Named(named) = *self { named } else { [None; MOST_FUNCTIONS] };
        named.into_iter().flatten()
    }
}

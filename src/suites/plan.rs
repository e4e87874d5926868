//! Which suites there are, in the order they run, and which of them a run asks for.

/// Every suite by its name on the command line, in running order.
pub const NAMES: [&str; 7] = ["boot", "memory", "swiotlb", "pci", "irq", "dma", "net"];

/// A choice of suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteSet(u8);

impl SuiteSet {
    /// All of them, in one domain.
    pub const SMOKE: Self = Self((1 << NAMES.len()) - 1);

    /// Reads `smoke` or names with commas between.
    pub fn parse(list: &str) -> Option<Self> {
        list.split(',').try_fold(Self(0), |set, name| match name {
            "smoke" => Some(Self::SMOKE),
            name => {
                let index = NAMES.iter().position(|known| *known == name)?;
                Some(Self(set.0 | 1 << index))
            }
        })
    }

    /// Whether the suite `name` is in.
    pub fn contains(self, name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_some_and(|i| self.0 >> i & 1 != 0)
    }
}

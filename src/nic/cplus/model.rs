//! Which of the chips it is.

/// Which of the chips it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// RTL8139C+.
    Rtl8139,
    /// RTL8168, RTL8111, and the RTL8101 family with the same registers.
    Rtl8168,
    /// RTL8125.
    Rtl8125,
}

impl Model {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rtl8139 => "rtl8139-cplus",
            Self::Rtl8168 => "rtl8168",
            Self::Rtl8125 => "rtl8125",
        }
    }
}

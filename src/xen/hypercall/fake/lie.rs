//! What an exchange may answer that no Xen should.

/// What an exchange answers that no Xen should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Everything was swapped, yet it reports failure.
    FailsAfterSwap,
    /// Nothing was, yet it reports success.
    SucceedsIdle,
    /// The frames given are gone, those that came belong to somebody else.
    Foreign,
    /// The same, and their M2P entries have our names all the same.
    ForeignByOurNames,
    /// All extents that came are the same one.
    Duplicate,
    /// The address limit was not looked at.
    TooHigh,
    /// The block that came is not aligned to its size.
    Misaligned,
    /// The numbers that came are no frames'.
    NoFrames,
    /// The M2P does not know of the swap.
    Untold,
}

impl Lie {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::FailsAfterSwap,
        Self::SucceedsIdle,
        Self::Foreign,
        Self::ForeignByOurNames,
        Self::Duplicate,
        Self::TooHigh,
        Self::Misaligned,
        Self::NoFrames,
        Self::Untold,
    ];
}

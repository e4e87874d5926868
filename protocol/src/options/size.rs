//! Numbers of the command line that have bounds.

/// Bytes in a slot of the pool.
pub const SLOT_SIZE: usize = 2048;

/// How large a pool is: 1 MiB to 1 GiB, whichever way it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolSize {
    /// In MiB.
    Mib(usize),
    /// In slots of [`SLOT_SIZE`].
    Slots(usize),
}

impl PoolSize {
    /// Reads `<MiB>` or `slots=<slots>`.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (count, size, within) = match value.strip_prefix("slots=") {
            Some(slots) => (slots, Self::Slots as fn(usize) -> Self, 512..=524_288),
            None => (value, Self::Mib as fn(usize) -> Self, 1..=1024),
        };
        count.parse().ok().filter(|count| within.contains(count)).map(size)
    }

    /// In bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Mib(count) => count << 20,
            Self::Slots(count) => count * SLOT_SIZE,
        }
    }
}

/// How many address lines a device is held to: 24 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaBits(u32);

impl DmaBits {
    /// Reads the number.
    pub(super) fn parse(value: &str) -> Option<Self> {
        value.parse().ok().filter(|bits| (24..=64).contains(bits)).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_a_mib_at_least_and_a_gib_at_most() {
        for (word, bytes) in [
            ("1", Some(1 << 20)),
            ("1024", Some(1 << 30)),
            ("slots=512", Some(1 << 20)),
            ("slots=524288", Some(1 << 30)),
            ("0", None),
            ("1025", None),
            ("slots=511", None),
            ("slots=524289", None),
            ("slots=", None),
        ] {
            assert_eq!(PoolSize::parse(word).map(|size| size.bytes()), bytes, "{word}");
        }
    }

    #[test]
    fn a_device_is_held_to_24_lines_at_least() {
        let bits = |word| DmaBits::parse(word).map(DmaBits::get);
        assert_eq!(["23", "24", "64", "65"].map(bits), [None, Some(24), Some(64), None]);
    }
}

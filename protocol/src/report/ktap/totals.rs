//! What a whole run comes to, a line each between the suites and the last line: `# NAME field=value …`.
//!
//! Fields stand in the order in which they are declared, each once, and no others: a line that says less, or more, than
//! its reader knows is not believed.

use core::{fmt, ops::AddAssign, str::FromStr};

/// Frames that went through the device, as the guest counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Frames the device was given to send.
    pub sent: u64,
    /// Frames the device delivered.
    pub received: u64,
    /// Frames of which each byte was compared with what was sent.
    pub compared: u64,
    /// The bytes in those.
    pub bytes: u64,
}

impl AddAssign for Transfers {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.compared += other.compared;
        self.bytes += other.bytes;
    }
}

impl fmt::Display for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received, compared, bytes } = self;
        write!(f, "out={sent} in={received} compared={compared} bytes={bytes}")
    }
}

impl FromStr for Transfers {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let [sent, received, compared, bytes] =
            numbers(text, ["out", "in", "compared", "bytes"]).ok_or(BadTotals)?;
        Ok(Self { sent, received, compared, bytes })
    }
}

/// How much of the bounce pool the device was made to use, of all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolWalk {
    /// Slots of 2 KiB that held a frame.
    pub slots: u64,
    /// All slots.
    pub all_slots: u64,
    /// Segments with such a slot.
    pub segments: u64,
    /// All segments.
    pub all_segments: u64,
}

impl fmt::Display for PoolWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slots, all_slots, segments, all_segments } = self;
        write!(f, "slots={slots}/{all_slots} segments={segments}/{all_segments}")
    }
}

impl FromStr for PoolWalk {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let [slots, segments] = fields(text, ["slots", "segments"]).ok_or(BadTotals)?;
        let (slots, all_slots) = part(slots).ok_or(BadTotals)?;
        let (segments, all_segments) = part(segments).ok_or(BadTotals)?;
        Ok(Self { slots, all_slots, segments, all_segments })
    }
}

/// What bounds the ranges that a device may touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DmaLimits {
    /// The highest address within the device's reach.
    pub mask: u64,
    /// The bytes of the domain's memory.
    pub memory: u64,
}

impl fmt::Display for DmaLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mask={:#x} memory={}", self.mask, self.memory)
    }
}

impl FromStr for DmaLimits {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let [mask, memory] = fields(text, ["mask", "memory"]).ok_or(BadTotals)?;
        let mask = super::hex(mask).ok_or(BadTotals)?;
        Ok(Self { mask, memory: number(memory).ok_or(BadTotals)? })
    }
}

/// What the guest took from Xen and dom0 and has not given back; all zero after an orderly close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Frames outside the frame allocator.
    pub frames: u64,
    /// Grant references in use.
    pub grants: u64,
    /// Event channels bound, beyond the two that Xen gave at start.
    pub ports: u64,
    /// PIRQs mapped.
    pub pirqs: u64,
    /// Slots of the bounce pool in use.
    pub slots: u64,
}

impl Taken {
    /// Whether everything went back.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, grants, ports, pirqs, slots } = self;
        write!(f, "frames={frames} grants={grants} ports={ports} pirqs={pirqs} slots={slots}")
    }
}

impl FromStr for Taken {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let names = ["frames", "grants", "ports", "pirqs", "slots"];
        let [frames, grants, ports, pirqs, slots] = numbers(text, names).ok_or(BadTotals)?;
        Ok(Self { frames, grants, ports, pirqs, slots })
    }
}

/// A line of totals that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not these totals: a field is missing, unknown, out of order or no number")]
pub struct BadTotals;

/// The values of exactly these fields in this order.
pub(super) fn fields<'t, const N: usize>(text: &'t str, names: [&str; N]) -> Option<[&'t str; N]> {
    let mut words = text.split(' ');
    let mut values = [""; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = words.next()?.strip_prefix(name)?.strip_prefix('=')?;
    }
    words.next().is_none().then_some(values)
}

fn numbers<const N: usize>(text: &str, names: [&str; N]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for (to, value) in numbers.iter_mut().zip(fields(text, names)?) {
        *to = number(value)?;
    }
    Some(numbers)
}

/// `A/B` with A not above B.
fn part(text: &str) -> Option<(u64, u64)> {
    let (part, all) = text.split_once('/')?;
    Some((number(part)?, number(all)?)).filter(|(part, all)| part <= all)
}

/// Digits only: `parse` alone takes a sign, too.
pub(super) fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_printed_is_what_is_read() {
        let transfers = Transfers { sent: 3, received: 2, compared: 1, bytes: 1514 };
        assert_eq!(transfers.to_string().parse(), Ok(transfers));
        let walk = PoolWalk { slots: 1, all_slots: 8, segments: 2, all_segments: 2 };
        assert_eq!(walk.to_string().parse(), Ok(walk));
        let limits = DmaLimits { mask: 0xffff_ffff, memory: 16 << 20 };
        assert_eq!(limits.to_string().parse(), Ok(limits));
        let taken = Taken { frames: 1, grants: 2, ports: 3, pirqs: 4, slots: 5 };
        assert_eq!(taken.to_string().parse(), Ok(taken));
    }

    #[test]
    fn less_or_more_or_other_fields_are_refused() {
        let all = "out=1 in=2 compared=3 bytes=4";
        assert!(all.parse::<Transfers>().is_ok());
        for (what, other) in [
            (" bytes=4", ""),
            ("bytes=4", "bytes=4 more=5"),
            ("out=1 in=2", "in=2 out=1"),
            ("in=2", "in=+2"),
            ("in=2", "in=0x2"),
            ("in=2", "in="),
            (" in", "  in"),
            ("out", "OUT"),
        ] {
            assert_eq!(all.replace(what, other).parse::<Transfers>(), Err(BadTotals), "{other}");
        }
        for text in ["slots=9/8 segments=1/1", "slots=1 segments=1/1", "slots=1/8 segments=2/1"] {
            assert_eq!(text.parse::<PoolWalk>(), Err(BadTotals), "{text}");
        }
        for text in ["mask=4294967295 memory=1", "mask=0xff memory=-1", "mask=0xff"] {
            assert_eq!(text.parse::<DmaLimits>(), Err(BadTotals), "{text}");
        }
    }
}

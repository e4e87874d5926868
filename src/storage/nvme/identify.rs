//! What Identify tells (NVM Express Base Specification 2.0, section 5.17.2; NVM Command Set Specification 1.0, section
//! 4.1.5): 4096 bytes of the controller's, of which nothing is believed that can't be.

use super::{prp::MOST, regs::PAGE};
use alloc::string::String;
use core::time::Duration;

/// Bytes of what Identify returns.
pub(super) const BYTES: usize = 4096;

/// The controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Model and serial number.
    pub(super) label: String,
    /// The most bytes of one command that the driver makes use of.
    pub(super) most: usize,
    /// ONCS bit 0: whether it has Compare.
    pub(super) compares: bool,
    /// How long it may take to be ready to lose power.
    pub(super) shutdown: Duration,
}

/// How long a shutdown may take where a controller says nothing of it, or less than this; and at most.
const SHUTDOWN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

impl Identity {
    pub(super) fn read(bytes: &[u8; BYTES]) -> Self {
        // MDTS: a power of two of pages; 0 is without limit.
        let most = match bytes[77] {
            0 => None,
            exponent => 1_usize.checked_shl(exponent.into()).and_then(|n| n.checked_mul(PAGE)),
        };
        let text = |range: core::ops::Range<usize>| {
            let printable = bytes[range].iter().filter(|byte| (b' '..=b'~').contains(byte));
            printable.map(|byte| char::from(*byte)).collect::<String>()
        };
        let (model, serial) = (text(24..64), text(4..24));
        let label = alloc::format!("{} {}", model.trim(), serial.trim());
        Self {
            label,
            most: most.map_or(MOST, |most| most.min(MOST)),
            compares: bytes[520] & 1 != 0,
            // RTD3E, in microseconds.
            shutdown: Duration::from_micros(
                u32::from_le_bytes([bytes[88], bytes[89], bytes[90], bytes[91]]).into(),
            )
            .clamp(SHUTDOWN[0], SHUTDOWN[1]),
        }
    }

    /// One that was not asked yet.
    pub(super) const fn unknown() -> Self {
        Self { label: String::new(), most: MOST, compares: false, shutdown: SHUTDOWN[0] }
    }
}

/// A namespace whose blocks can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    /// Its number.
    pub(super) number: u32,
    /// NSZE: its blocks.
    pub(super) blocks: u64,
    /// Bytes of a block.
    pub(super) block: usize,
}

impl Namespace {
    /// `None` if it is empty, or its blocks don't go into a command, or have metadata.
    pub(super) fn read(number: u32, bytes: &[u8; BYTES]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, ..] = *bytes;
        let blocks = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let flbas = usize::from(bytes[26]);
        let format = 128 + 4 * (flbas & 0xf | (flbas >> 5 & 0b11) << 4);
        let [ms_low, ms_high, lbads] = [bytes[format], bytes[format + 1], bytes[format + 2]];
        let fits = (9..=16).contains(&lbads) && [ms_low, ms_high] == [0, 0] && blocks > 0;
        fits.then(|| Self { number, blocks, block: 1 << lbads })
    }
}

/// The numbers of the first active namespaces.
pub(super) fn active(bytes: &[u8; BYTES]) -> impl Iterator<Item = u32> {
    /// A disk has one; who looks at more of them than this looks for too long.
    const MOST_LOOKED_AT: usize = 8;
    let numbers = bytes.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number));
    numbers.take_while(|number| *number != 0).take(MOST_LOOKED_AT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(bytes: &[(usize, &[u8])]) -> [u8; BYTES] {
        let mut all = [0; BYTES];
        bytes.iter().for_each(|&(at, some)| all[at..at + some.len()].copy_from_slice(some));
        all
    }

    #[test]
    fn a_controller_says_how_much_it_moves_and_whether_it_compares() {
        let read = |mdts, oncs| Identity::read(&with(&[(77, &[mdts]), (520, &[oncs])]));
        for (mdts, most) in
            [(0, MOST), (1, 8192), (2, 16384), (7, MOST), (63, MOST), (64, MOST), (255, MOST)]
        {
            assert_eq!(read(mdts, 0).most, most, "{mdts}");
        }
        assert!(read(0, 0xff).compares && !read(0, 0xfe).compares);
        let shutdown =
            |micros: u32| Identity::read(&with(&[(88, &micros.to_le_bytes())])).shutdown.as_secs();
        assert_eq!([0, 7_000_000, u32::MAX].map(shutdown), [5, 7, 60]);
        let named = with(&[(4, b"SN 1   "), (24, b"Model\x07\xff  ")]);
        assert_eq!(Identity::read(&named).label, "Model SN 1");
    }

    #[test]
    fn a_namespace_is_one_whose_plain_blocks_can_be_read() {
        let read = |size: u64, flbas: u8, format: usize, ms: u16, lbads: u8| {
            let (format_at, [low, high]) = (128 + 4 * format, ms.to_le_bytes());
            let format = [low, high, lbads];
            let bytes = with(&[(0, &size.to_le_bytes()), (26, &[flbas]), (format_at, &format)]);
            Namespace::read(5, &bytes)
        };
        let found = |blocks, block| Some(Namespace { number: 5, blocks, block });
        assert_eq!(read(100, 0, 0, 0, 9), found(100, 512));
        assert_eq!(read(1, 3, 3, 0, 12), found(1, 4096));
        assert_eq!(read(1, 0b010_0001, 17, 0, 16), found(1, 65536));
        for (size, ms, lbads) in
            [(0, 0, 9), (1, 8, 9), (1, 0x100, 9), (1, 0, 8), (1, 0, 17), (1, 0, 255)]
        {
            assert_eq!(read(size, 0, 0, ms, lbads), None, "{size} {ms} {lbads}");
        }
    }

    #[test]
    fn active_namespaces_are_those_before_the_first_zero_and_not_too_many() {
        assert!(active(&with(&[(0, &[1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3])])).eq([1, 9]));
        assert_eq!(active(&[1; BYTES]).count(), 8);
        assert_eq!(active(&[0; BYTES]).count(), 0);
    }
}

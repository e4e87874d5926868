//! What Xen says of dom0's screen (`public/xen.h`, `struct dom0_vga_console_info`), and whether a page fits on it.
//!
//! The numbers are the firmware's or the boot loader's. One that can't be right makes the screen none, never a write
//! beside it.

use super::cell::{COLUMNS, PALETTE, ROWS};
use crate::{addr::BusAddr, mm::memory::MemoryError, xen::start_info::VIDEO};
use core::fmt;

/// `XEN_VGATYPE_TEXT_MODE_3`.
const TEXT_MODE_3: u8 = 0x03;
/// `XEN_VGATYPE_VESA_LFB`.
const VESA_LFB: u8 = 0x23;
/// `XEN_VGATYPE_EFI_LFB`.
const EFI_LFB: u8 = 0x70;
/// Where VGA's text is, and how much there can be of it.
const TEXT: (BusAddr, usize) = (BusAddr(0xb8000), 0x8000);
/// The largest framebuffer that is believed: 5120 by 2880 of 32 bits have 59 MB.
const LARGEST: usize = 64 << 20;
/// The smallest cell of which letters can be read, in pixels across; down it has twice as many.
const SMALLEST_CELL: usize = 6;

/// Why there is no screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoScreen {
    /// A domU has none.
    #[error("only dom0 is told of a screen")]
    NotTold,
    /// A kind that is not known, or none: it is zero where Xen says nothing.
    #[error("Xen names a screen of type {0:#x}, and 0x3, 0x23 and 0x70 are known")]
    Type(u8),
    /// Text of another size than a page needs.
    #[error("text of {columns} by {rows}, and a page needs 80 by 25")]
    Text {
        /// Cells in a row.
        columns: usize,
        /// Rows.
        rows: usize,
    },
    /// Too few pixels.
    #[error("{width} by {height} pixels, and a page needs 480 by 300")]
    Small {
        /// Pixels in a line.
        width: usize,
        /// Lines.
        height: usize,
    },
    /// A depth that is not known.
    #[error("{0} bits for a pixel, and 16, 24 and 32 are known")]
    Depth(u16),
    /// A colour without bits, or one that shares them with another or has them outside the pixel.
    #[error("colours of {sizes:?} bits at {places:?} in a pixel of {depth}")]
    Colours {
        /// How many bits red, green and blue have.
        sizes: [u8; 3],
        /// Their lowest bits.
        places: [u8; 3],
        /// Bits in a pixel.
        depth: u16,
    },
    /// Lines that overlap, or more of them than there is memory for.
    #[error("{height} lines of {width} pixels in {pitch} bytes each, in memory of {len} bytes")]
    Extent {
        /// Pixels in a line.
        width: usize,
        /// Lines.
        height: usize,
        /// Bytes from line to line.
        pitch: usize,
        /// Bytes in all.
        len: usize,
    },
    /// Its memory can't be mapped.
    #[error("its memory can't be mapped: {0}")]
    Mapping(MemoryError),
}

impl NoScreen {
    /// Stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotTold | Self::Type(_) => "no-screen",
            Self::Mapping(_) => "screen-unmapped",
            _ => "screen-unfit",
        }
    }
}

/// A screen on which a page fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// VGA's text mode.
    Text {
        /// Cells in a row.
        columns: usize,
        /// Rows.
        rows: usize,
    },
    /// A framebuffer.
    Linear(Linear),
}

/// A framebuffer whose numbers agree with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Where it is.
    pub base: BusAddr,
    /// Pixels in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Bytes from line to line.
    pub pitch: usize,
    /// Bytes in a pixel: 2, 3 or 4.
    pub depth: usize,
    /// VGA's colours as its pixels have them.
    pub palette: [u32; 16],
}

impl Mode {
    /// Takes the numbers out of Xen's structure.
    pub fn read(raw: &[u8; VIDEO]) -> Result<Self, NoScreen> {
        let byte = |at: usize| raw[at];
        let word = |at| u16::from_le_bytes([byte(at), byte(at + 1)]);
        match byte(0) {
            TEXT_MODE_3 => {
                let (rows, columns) = (usize::from(word(10)), usize::from(word(12)));
                let fits = columns >= COLUMNS && rows >= ROWS && columns * rows * 2 <= TEXT.1;
                fits.then_some(Self::Text { columns, rows }).ok_or(NoScreen::Text { columns, rows })
            }
            VESA_LFB | EFI_LFB => Linear::read(raw).map(Self::Linear),
            other => Err(NoScreen::Type(other)),
        }
    }

    /// The memory to map: where, and how many bytes.
    pub const fn memory(&self) -> (BusAddr, usize) {
        match *self {
            Self::Text { columns, rows } => (TEXT.0, columns * rows * 2),
            Self::Linear(linear) => (linear.base, linear.pitch * linear.height),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { columns, rows } => write!(f, "VGA text, {columns} by {rows}"),
            Self::Linear(Linear { base, width, height, depth, .. }) => {
                write!(f, "framebuffer at {base}, {width} by {height} of {} bits", depth * 8)
            }
        }
    }
}

impl Linear {
    fn read(raw: &[u8; VIDEO]) -> Result<Self, NoScreen> {
        let word = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let [width, height, pitch] = [4, 6, 8].map(|at| usize::from(word(at)));
        let bits = word(10);
        if !matches!(bits, 16 | 24 | 32) {
            return Err(NoScreen::Depth(bits));
        }
        let depth = usize::from(bits) / 8;
        if cell_width(width, height) < SMALLEST_CELL {
            return Err(NoScreen::Small { width, height });
        }
        let (places, sizes) = ([raw[20], raw[22], raw[24]], [raw[21], raw[23], raw[25]]);
        let colours = NoScreen::Colours { sizes, places, depth: bits };
        let palette = palette(places, sizes, bits).ok_or(colours)?;
        // In units of 64 KiB.
        let len = (long(16) as usize) << 16;
        let base = BusAddr(u64::from(long(36)) << 32 | u64::from(long(12)));
        let need = pitch * height;
        let fits = width * depth <= pitch && need <= len.min(LARGEST);
        if !fits || base.0 == 0 || base.checked_add(need as u64).is_none() {
            return Err(NoScreen::Extent { width, height, pitch, len });
        }
        Ok(Self { base, width, height, pitch, depth, palette })
    }

    /// Pixels across a cell; down it has twice as many.
    pub fn cell_width(&self) -> usize {
        cell_width(self.width, self.height)
    }
}

fn cell_width(width: usize, height: usize) -> usize {
    (width / COLUMNS).min(height / (2 * ROWS))
}

/// VGA's colours as pixels; `None` if the bits of a colour are none, another's or outside.
fn palette(places: [u8; 3], sizes: [u8; 3], bits: u16) -> Option<[u32; 16]> {
    let mut taken = 0u64;
    for (place, size) in places.into_iter().zip(sizes) {
        let inside = size != 0 && u16::from(place) + u16::from(size) <= bits;
        let mask = inside.then(|| ((1u64 << size) - 1) << place)?;
        if taken & mask != 0 {
            return None;
        }
        taken |= mask;
    }
    Some(PALETTE.map(|colour| {
        let parts = colour.into_iter().zip(places.into_iter().zip(sizes));
        parts.fold(0, |pixel, (value, (place, size))| pixel | scaled(value, size) << place)
    }))
}

/// 8 bits of a colour as `size` bits, which are 1 to 32.
const fn scaled(value: u8, size: u8) -> u32 {
    u32::from_be_bytes([value, 0, 0, 0]) >> (32 - size as u32)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use alloc::string::ToString as _;

    /// A framebuffer as Xen describes it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Told {
        pub(crate) kind: u8,
        pub(crate) size: [u16; 2],
        pub(crate) pitch: u16,
        pub(crate) bits: u16,
        pub(crate) base: u64,
        /// In units of 64 KiB.
        pub(crate) len: u32,
        pub(crate) colours: [[u8; 2]; 3],
    }

    impl Told {
        /// What OVMF has.
        pub(crate) const OVMF: Self = Self {
            kind: EFI_LFB,
            size: [1280, 800],
            pitch: 5120,
            bits: 32,
            base: 0x8000_0000,
            len: 63,
            colours: [[16, 8], [8, 8], [0, 8]],
        };

        pub(crate) fn raw(&self) -> [u8; VIDEO] {
            let mut raw = [0; VIDEO];
            raw[0] = self.kind;
            let words = [self.size[0], self.size[1], self.pitch, self.bits];
            for (at, word) in words.into_iter().enumerate() {
                raw[4 + 2 * at..6 + 2 * at].copy_from_slice(&word.to_le_bytes());
            }
            let base = self.base.to_le_bytes();
            raw[12..16].copy_from_slice(&base[..4]);
            raw[36..40].copy_from_slice(&base[4..]);
            raw[16..20].copy_from_slice(&self.len.to_le_bytes());
            raw[20..26].copy_from_slice(self.colours.as_flattened());
            raw
        }

        pub(crate) fn read(&self) -> Result<Linear, NoScreen> {
            match Mode::read(&self.raw())? {
                Mode::Linear(linear) => Ok(linear),
                text => panic!("{text}"),
            }
        }
    }

    fn text(columns: u16, rows: u16) -> Result<Mode, NoScreen> {
        let mut raw = [0; VIDEO];
        raw[0] = TEXT_MODE_3;
        raw[10..12].copy_from_slice(&rows.to_le_bytes());
        raw[12..14].copy_from_slice(&columns.to_le_bytes());
        Mode::read(&raw)
    }

    #[test]
    fn text_has_room_for_a_page_and_is_no_longer_than_its_memory() {
        assert_eq!(text(80, 25).unwrap().memory(), (BusAddr(0xb8000), 4000));
        assert_eq!(text(80, 50).unwrap().memory().1, 8000);
        for (columns, rows) in [(79, 25), (80, 24), (0, 0), (65535, 65535), (128, 129)] {
            assert_eq!(text(columns, rows).unwrap_err().code(), "screen-unfit");
        }
    }

    #[test]
    fn a_framebuffer_is_where_and_as_large_as_told() {
        let linear = Told { base: 0x12_8000_0000, ..Told::OVMF }.read().unwrap();
        assert_eq!(Mode::Linear(linear).memory(), (BusAddr(0x12_8000_0000), 5120 * 800));
        assert_eq!((linear.cell_width(), linear.depth), (16, 4));
        assert_eq!(linear.palette[15], 0xff_ffff);
        assert_eq!(linear.palette[6], 0xaa_5500);
        let sixteen = Told { bits: 16, colours: [[11, 5], [5, 6], [0, 5]], ..Told::OVMF };
        let palette = sixteen.read().unwrap().palette;
        assert_eq!((palette[15], palette[12], palette[2]), (0xffff, 0xfaaa, 0x0540));
        let ten = Told { colours: [[20, 10], [10, 10], [0, 10]], ..Told::OVMF };
        assert_eq!(ten.read().unwrap().palette[4], 0xaa << 22);
        let all = Told { colours: [[0, 1], [1, 1], [2, 30]], ..Told::OVMF };
        assert_eq!(all.read().unwrap().palette[9], 0xff << 24);
    }

    #[test]
    fn a_screen_and_why_there_is_none_are_told_in_words() {
        let linear = Mode::Linear(Told::OVMF.read().unwrap());
        assert!(linear.to_string().ends_with(", 1280 by 800 of 32 bits"), "{linear}");
        assert_eq!(text(80, 25).unwrap().to_string(), "VGA text, 80 by 25");
        let unmapped = NoScreen::Mapping(MemoryError::NoAddresses { pages: 1 });
        assert_eq!(unmapped.code(), "screen-unmapped");
    }

    #[test]
    fn what_can_not_be_right_is_no_screen() {
        let good = Told::OVMF;
        let code = |told: Told| told.read().unwrap_err().code();
        assert_eq!(code(Told { kind: 0, ..good }), "no-screen");
        assert_eq!(Mode::read(&[0xff; VIDEO]).unwrap_err().code(), "no-screen");
        let colours = |colours| Told { colours, ..good };
        for told in [
            Told { size: [479, 800], ..good },
            Told { size: [1280, 299], ..good },
            Told { size: [0, 0], ..good },
            Told { bits: 0, ..good },
            Told { bits: 8, ..good },
            Told { bits: 15, ..good },
            Told { bits: 33, ..good },
            Told { pitch: 5119, ..good },
            Told { pitch: 0, ..good },
            Told { len: 62, ..good },
            Told { base: 0, ..good },
            Told { base: u64::MAX - 4_095_998, ..good },
            Told { size: [16000, 16000], pitch: u16::MAX, len: u32::MAX, ..good },
            colours([[16, 8], [8, 8], [0, 0]]),
            colours([[16, 8], [8, 9], [0, 8]]),
            colours([[25, 8], [8, 8], [0, 8]]),
            colours([[255, 255], [8, 8], [0, 8]]),
            Told { bits: 16, ..good },
        ] {
            assert_eq!(code(told), "screen-unfit", "{told:?}");
        }
        assert!(Told { base: u64::MAX - 4_096_000, ..good }.read().is_ok());
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_told_fits_or_is_refused(raw: [u8; VIDEO]) {
            let mut raw = raw;
            for kind in [TEXT_MODE_3, VESA_LFB, EFI_LFB, raw[0]] {
                raw[0] = kind;
                let Ok(mode) = Mode::read(&raw) else { continue };
                let (base, len) = mode.memory();
                assert!(base.checked_add(len as u64).is_some() && len <= LARGEST);
                let Mode::Linear(linear) = mode else { continue };
                assert!(linear.cell_width() * COLUMNS <= linear.width);
                assert!(linear.cell_width() * 2 * ROWS <= linear.height);
                assert!(linear.width * linear.depth <= linear.pitch);
            }
        }
    }
}

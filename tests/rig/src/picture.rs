//! What is on a machine's screen: a picture of it, as QEMU writes it, and the QR code on that.

use std::path::Path;

use crate::error::{Context, Error, Result};

/// A picture in grey.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    width: usize,
    height: usize,
    grey: Vec<u8>,
}

impl Picture {
    /// Reads a picture that QEMU wrote as PPM.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).on("read", path)?;
        Self::of(&bytes).ok_or_else(|| {
            Error::unfit(format!("{} is no picture", path.display()), "see qemu.log beside it")
        })
    }

    /// Netpbm's `P6` with 8 bits for each colour, as `screendump` writes it: without comments.
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut word = || {
            let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
            let end = start + rest[start..].iter().position(u8::is_ascii_whitespace)?;
            let word = std::str::from_utf8(&rest[start..end]).ok()?;
            // One blank follows each word, also the last.
            rest = &rest[end + 1..];
            Some(word)
        };
        let (kind, width, height, depth) = (word()?, word()?, word()?, word()?);
        let (width, height) = (width.parse::<usize>().ok()?, height.parse::<usize>().ok()?);
        let whole = width.checked_mul(height)?.checked_mul(3)?;
        if (kind, depth, rest.len()) != ("P6", "255", whole) {
            return None;
        }
        let grey = |pixel: &[u8]| pixel.iter().copied().max().unwrap_or(0);
        Some(Self { width, height, grey: rest.chunks_exact(3).map(grey).collect() })
    }

    /// What the QR code on it says; `None` if none can be read.
    pub(crate) fn code(&self) -> Option<String> {
        let pixel = |x, y| self.grey[y * self.width + x];
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(self.width, self.height, pixel);
        image.detect_grids().into_iter().find_map(|grid| Some(grid.decode().ok()?.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvbounce::screen::code::{SIZE, modules};

    /// A picture with the code of a text in white and black, its modules of `size` pixels, as QEMU writes it.
    fn picture(text: &str, size: usize) -> Vec<u8> {
        let lines = modules(text).unwrap();
        let side = (SIZE + 8) * size;
        let mut bytes = format!("P6\n{side} {side}\n255\n").into_bytes();
        for at in 0..side * side {
            let (x, y) = ((at % side / size).wrapping_sub(4), (at / side / size).wrapping_sub(4));
            let dark = x < SIZE && y < SIZE && lines[y] >> x & 1 != 0;
            bytes.extend([if dark { 0 } else { 255 }; 3]);
        }
        bytes
    }

    #[test]
    fn the_guests_code_is_read() {
        for text in ["PVBOUNCE 0.1.0 SUCCESS 59/72", "PVBOUNCE 0.1.0 FAILURE 41/43 DMA-OVERRUN +2"]
        {
            assert_eq!(Picture::of(&picture(text, 9)).unwrap().code().unwrap(), text);
        }
    }

    #[test]
    fn a_screen_without_one_says_nothing() {
        let mut blank = picture("X", 8);
        let pixels = blank.len() - 3 * 296 * 296;
        blank[pixels..].fill(0);
        assert_eq!(Picture::of(&blank).unwrap().code(), None);
        blank[pixels..].fill(255);
        assert_eq!(Picture::of(&blank).unwrap().code(), None);
        let mut half = picture("PVBOUNCE", 8);
        let middle = half.len() / 2;
        half[middle..].fill(0);
        assert_eq!(Picture::of(&half).unwrap().code(), None);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bytes in [&b""[..], b"P6", b"P6 1 1 255\n", b"P5 1 1 255\nabc", b"P6 1 1 65535\nabc"] {
            assert!(Picture::of(bytes).is_none(), "{bytes:?}");
        }
        assert!(Picture::of(b"P6 99999999999 99999999999 255\nabc").is_none());
        assert!(Picture::of(b"P6 1 1 255\nabc").is_some());
    }
}

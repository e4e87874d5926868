//! The two kinds of screen: VGA's text and a framebuffer, each over a window on its memory.

use super::{
    cell::{COLUMNS, Cell, Paper, ROWS, Shape, Surface},
    mode::{Linear, Mode},
};
use crate::arch::volatile::Window;
use alloc::boxed::Box;

/// The surface of a mode, all of it black. The window is on the mode's whole memory.
pub fn of(mode: Mode, window: Window<'static>) -> Box<dyn Surface + Send> {
    match mode {
        Mode::Text { columns, rows } => Box::new(Text::new(window, columns, rows)),
        Mode::Linear(linear) => Box::new(Frame::new(window, linear)),
    }
}

/// VGA's text: two bytes a cell, a character of code page 437 and its colours.
#[derive(Debug)]
struct Text {
    window: Window<'static>,
    columns: usize,
}

impl Text {
    fn new(window: Window<'static>, columns: usize, rows: usize) -> Self {
        let text = Self { window, columns };
        for at in 0..columns * rows {
            text.window.write_u16(at * 2, code(Cell::BLANK));
        }
        text
    }
}

/// A cell as text memory has it.
const fn code(cell: Cell) -> u16 {
    let character = match cell.shape {
        Shape::Letter(letter) => letter,
        Shape::Full => 0xdb,
        Shape::Lower => 0xdc,
        Shape::Upper => 0xdf,
    };
    u16::from_le_bytes([character, (cell.paper as u8) << 4 | cell.ink as u8])
}

impl Surface for Text {
    fn put(&mut self, column: usize, row: usize, cell: Cell) {
        self.window.write_u16((row * self.columns + column) * 2, code(cell));
    }
}

/// A framebuffer. A cell is twice as high as wide, so that half of one is a square, and the page as large as fits.
#[derive(Debug)]
struct Frame {
    window: Window<'static>,
    linear: Linear,
    cell: usize,
    left: usize,
    top: usize,
}

impl Frame {
    fn new(window: Window<'static>, linear: Linear) -> Self {
        let cell = linear.cell_width();
        let left = (linear.width - cell * COLUMNS) / 2;
        let top = (linear.height - cell * 2 * ROWS) / 2;
        let frame = Self { window, linear, cell, left, top };
        let black = linear.palette[Paper::Black as usize];
        for y in 0..linear.height {
            (0..linear.width).for_each(|x| frame.pixel(x, y, black));
        }
        frame
    }

    fn pixel(&self, x: usize, y: usize, value: u32) {
        let at = y * self.linear.pitch + x * self.linear.depth;
        let bytes = value.to_le_bytes();
        let aligned =
            self.window.as_ptr().wrapping_add(at).addr().is_multiple_of(self.linear.depth);
        match self.linear.depth {
            4 if aligned => self.window.write_u32(at, value),
            2 if aligned => self.window.write_u16(at, u16::from_le_bytes([bytes[0], bytes[1]])),
            depth => self.window.write(at, &bytes[..depth]),
        }
    }
}

impl Surface for Frame {
    fn put(&mut self, column: usize, row: usize, cell: Cell) {
        let (width, height) = (self.cell, self.cell * 2);
        let (left, top) = (self.left + column * width, self.top + row * height);
        let [ink, paper] =
            [cell.ink as usize, cell.paper as usize].map(|at| self.linear.palette[at]);
        for y in 0..height {
            let bits = line(cell.shape, y, height);
            let colour = |x| if bits >> (x * GLYPH / width) & 1 != 0 { ink } else { paper };
            (0..width).for_each(|x| self.pixel(left + x, top + y, colour(x)));
        }
    }
}

/// Pixels across and down in a glyph.
pub(super) const GLYPH: usize = 8;

/// Line `y` of a shape that is `height` high: the leftmost pixel is bit 0.
fn line(shape: Shape, y: usize, height: usize) -> u8 {
    let lower = y >= height / 2;
    match shape {
        Shape::Letter(letter) => glyph(letter)[y * GLYPH / height],
        Shape::Upper if lower => 0,
        Shape::Lower if !lower => 0,
        _ => 0xff,
    }
}

/// The lines of a letter.
pub(super) fn glyph(letter: u8) -> [u8; GLYPH] {
    font8x8::legacy::BASIC_LEGACY[usize::from(letter & 0x7f)]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{cell::Ink, mode::tests::Told},
        *,
    };
    use crate::arch::volatile::host::shared;

    /// White on green.
    const fn marked(shape: Shape) -> Cell {
        Cell { shape, ink: Ink::White, paper: Paper::Green }
    }

    #[test]
    fn text_memory_has_character_and_colours() {
        let window = shared(80 * 50 * 2);
        let mut text = of(Mode::Text { columns: 80, rows: 50 }, window);
        assert_eq!(window.read_u16(7998), 0x0720);
        for (column, shape, character) in [
            (0, Shape::Letter(b'A'), 0x41),
            (1, Shape::Upper, 0xdf),
            (2, Shape::Lower, 0xdc),
            (79, Shape::Full, 0xdb),
        ] {
            text.put(column, 24, marked(shape));
            assert_eq!(window.read_u16((24 * 80 + column) * 2), 0x2f00 | character);
        }
        assert_eq!(window.read_u16(25 * 160), 0x0720, "no row but that one");
    }

    #[test]
    fn a_longer_row_of_text_is_skipped_to_its_end() {
        let window = shared(100 * 25 * 2);
        let mut text = of(Mode::Text { columns: 100, rows: 25 }, window);
        text.put(79, 1, marked(Shape::Full));
        assert_eq!(window.read_u16(179 * 2), 0x2fdb);
    }

    /// What a pixel's memory has.
    fn pixel(window: Window<'static>, linear: &Linear, x: usize, y: usize) -> u32 {
        let mut bytes = [0; 4];
        window.read(y * linear.pitch + x * linear.depth, &mut bytes[..linear.depth]);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn each_depth_and_pitch_has_its_corners_where_they_belong() {
        let [white, green] = [15, 2];
        let narrow = [[11, 5], [5, 6], [0, 5]];
        for told in [
            Told { size: [650, 410], pitch: 2604, ..Told::OVMF },
            Told { size: [480, 300], pitch: 1441, bits: 24, ..Told::OVMF },
            Told { size: [480, 300], pitch: 1923, ..Told::OVMF },
            Told { size: [490, 300], pitch: 981, bits: 16, colours: narrow, ..Told::OVMF },
            Told { size: [490, 300], pitch: 982, bits: 16, colours: narrow, ..Told::OVMF },
        ] {
            let linear = told.read().unwrap();
            let window = shared(Mode::Linear(linear).memory().1);
            window.write(linear.pitch * linear.height - linear.pitch, &[0x77; 3]);
            let mut frame = of(Mode::Linear(linear), window);
            for (column, row) in [(0, 0), (79, 0), (0, 24), (79, 24)] {
                frame.put(column, row, marked(Shape::Lower));
            }
            let cell = linear.cell_width();
            let (left, top) = ((linear.width - 80 * cell) / 2, (linear.height - 50 * cell) / 2);
            let (right, bottom) = (left + 80 * cell - 1, top + 50 * cell - 1);
            let at = |x, y| pixel(window, &linear, x, y);
            assert_eq!([at(left, top), at(right, top)], [linear.palette[green]; 2], "{told:?}");
            assert_eq!([at(left, bottom), at(right, bottom)], [linear.palette[white]; 2]);
            let middle = top + 24 * 2 * cell + cell;
            assert_eq!(
                (at(left, middle - 1), at(left, middle)),
                (linear.palette[green], linear.palette[white])
            );
            assert_eq!(at(left + cell, top), 0, "the next cell is black");
            if left > 0 {
                assert_eq!(at(left - 1, top), 0, "nothing beside the page");
            }
            assert_eq!(
                at(0, linear.height - 1),
                if top > 0 || left > 0 { 0 } else { linear.palette[white] }
            );
        }
    }

    #[test]
    fn a_letter_is_as_its_glyph_twice_as_high() {
        let linear = Told { size: [640, 400], ..Told::OVMF }.read().unwrap();
        let window = shared(Mode::Linear(linear).memory().1);
        of(Mode::Linear(linear), window).put(1, 1, marked(Shape::Letter(b'F')));
        let lines = glyph(b'F');
        for at in 0..8 * 16 {
            let (x, y) = (at % 8, at / 8);
            let wanted = linear.palette[if lines[y / 2] >> x & 1 != 0 { 15 } else { 2 }];
            assert_eq!(pixel(window, &linear, 8 + x, 16 + y), wanted);
        }
    }
}

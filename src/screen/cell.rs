//! What a page is made of: cells in a grid, each a letter or a block in one colour on another. What VGA's text mode can
//! show, a framebuffer can, too.

/// Cells in a row.
pub const COLUMNS: usize = 80;
/// Rows.
pub const ROWS: usize = 25;

/// What a cell's shape is drawn in, by its number in VGA's palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// For what is beside the point.
    Grey = 7,
    /// For what held.
    Green = 10,
    /// For what did not.
    Red = 12,
    /// For what could not be tried or told.
    Yellow = 14,
    /// For what is to be read first.
    White = 15,
}

/// What is behind it. None of the bright ones: text mode may take their bit for blinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paper {
    /// The page's own.
    Black = 0,
    /// It runs.
    Blue = 1,
    /// SUCCESS.
    Green = 2,
    /// SKIP.
    Cyan = 3,
    /// FAILURE, and a crash.
    Red = 4,
    /// ERROR.
    Magenta = 5,
    /// INCONCLUSIVE.
    Brown = 6,
}

/// Red, green and blue of VGA's palette, 8 bits each.
pub const PALETTE: [[u8; 3]; 16] = [
    [0x00, 0x00, 0x00],
    [0x00, 0x00, 0xaa],
    [0x00, 0xaa, 0x00],
    [0x00, 0xaa, 0xaa],
    [0xaa, 0x00, 0x00],
    [0xaa, 0x00, 0xaa],
    [0xaa, 0x55, 0x00],
    [0xaa, 0xaa, 0xaa],
    [0x55, 0x55, 0x55],
    [0x55, 0x55, 0xff],
    [0x55, 0xff, 0x55],
    [0x55, 0xff, 0xff],
    [0xff, 0x55, 0x55],
    [0xff, 0x55, 0xff],
    [0xff, 0xff, 0x55],
    [0xff, 0xff, 0xff],
];

/// The shape in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A printable ASCII character.
    Letter(u8),
    /// The upper half filled.
    Upper,
    /// The lower half.
    Lower,
    /// Both.
    Full,
}

impl Shape {
    /// A character; what is not printable ASCII is a question mark.
    pub fn letter(letter: char) -> Self {
        let printable = u8::try_from(letter).ok().filter(|byte| (b' '..=b'~').contains(byte));
        Self::Letter(printable.unwrap_or(b'?'))
    }

    /// Halves that are filled or not.
    pub const fn halves(upper: bool, lower: bool) -> Self {
        match (upper, lower) {
            (true, true) => Self::Full,
            (true, false) => Self::Upper,
            (false, true) => Self::Lower,
            (false, false) => Self::Letter(b' '),
        }
    }
}

/// One place of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What is in it.
    pub shape: Shape,
    /// In which colour.
    pub ink: Ink,
    /// On which.
    pub paper: Paper,
}

impl Cell {
    /// Nothing, on black.
    pub const BLANK: Self =
        Self { shape: Shape::Letter(b' '), ink: Ink::Grey, paper: Paper::Black };
}

/// A page: rows of cells.
pub type Grid = [[Cell; COLUMNS]; ROWS];

/// Something that shows a page.
pub trait Surface {
    /// Shows a cell; its column and row are within [`COLUMNS`] and [`ROWS`].
    fn put(&mut self, column: usize, row: usize, cell: Cell);
}

/// Shows what differs between what is shown and what is to be.
pub fn update(surface: &mut dyn Surface, shown: &mut Grid, next: &Grid) {
    for (row, (old, new)) in shown.iter_mut().zip(next).enumerate() {
        for (column, (old, new)) in old.iter_mut().zip(new).enumerate() {
            if old != new {
                surface.put(column, row, *new);
                *old = *new;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! A surface that remembers, and refuses what lies outside.

    use super::{COLUMNS, Cell, Grid, ROWS, Surface};

    /// What was put where.
    #[derive(Debug)]
    pub(crate) struct Fake {
        pub(crate) grid: Grid,
        pub(crate) puts: usize,
    }

    impl Default for Fake {
        fn default() -> Self {
            Self { grid: [[Cell::BLANK; COLUMNS]; ROWS], puts: 0 }
        }
    }

    impl Surface for Fake {
        fn put(&mut self, column: usize, row: usize, cell: Cell) {
            assert!(column < COLUMNS && row < ROWS, "a cell at {column}, {row}");
            self.grid[row][column] = cell;
            self.puts += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fake::Fake, *};

    #[test]
    fn only_what_changed_is_shown_again() {
        let (mut surface, mut shown) = (Fake::default(), [[Cell::BLANK; COLUMNS]; ROWS]);
        let mut next = shown;
        next[24][79] = Cell { shape: Shape::letter('x'), ..Cell::BLANK };
        update(&mut surface, &mut shown, &next);
        update(&mut surface, &mut shown, &next);
        assert_eq!((surface.puts, surface.grid, shown), (1, next, next));
    }

    #[test]
    fn what_has_no_glyph_is_a_question_mark() {
        for (letter, shape) in
            [('a', b'a'), ('~', b'~'), ('\u{7f}', b'?'), ('é', b'?'), ('\n', b'?')]
        {
            assert_eq!(Shape::letter(letter), Shape::Letter(shape));
        }
    }
}

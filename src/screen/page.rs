//! Where everything stands on a page.
//!
//! ```text
//!      0                                          43                                  79
//!   0  pvbounce 0.1.0 on Xen 4.20, dom0, 512 MiB
//!   1  the verdict in letters four rows high, on its colour, over the whole width
//!   5  41 passed, 2 failed, 5 skipped
//!   6
//!   7  suites, a row each                          the QR code with its margin,
//!      what did not hold, two rows each            rows 6 to 24, once there is a verdict
//!  24  what to do
//! ```
//!
//! It takes no memory, so that a panic can be shown, too.

use super::{
    board::{Board, End, Row, Trouble},
    cell::{COLUMNS, Cell, Grid, Ink, Paper, ROWS, Shape},
    code::{self, SIZE, Text},
    surface::{GLYPH, glyph},
};
use crate::report::Verdict;
use core::fmt::{self, Write};

/// Rows of the band on top, which has the verdict's colour.
const BAND: usize = 6;
/// Where the column of text ends, and the code with its margin of four modules begins.
const SPLIT: usize = COLUMNS - (SIZE + 2 * MARGIN);
const MARGIN: usize = 4;
/// The rows of text below the band.
const FIRST: usize = BAND + 1;
const LAST: usize = ROWS - 1;
/// Rows kept for what did not hold, if there is that much.
const TROUBLE_ROWS: usize = 8;

/// Draws the whole page.
pub fn draw(board: &Board) -> Grid {
    let mut grid = [[Cell::BLANK; COLUMNS]; ROWS];
    band(&mut grid, board);
    let troubles = board.troubles().count() * 2;
    let room = LAST - FIRST - troubles.min(TROUBLE_ROWS);
    let row = suites(&mut grid, board, room);
    let spare = row + troubles < LAST || row % 2 != LAST % 2;
    complaints(&mut grid, board, row + usize::from(spare));
    if board.end != End::Running {
        code(&mut grid, Text::of(board).as_str());
    }
    let mut pen = Pen::at(&mut grid, LAST, Ink::Grey);
    // Too long a line is cut.
    let _ = pen.write_str(match (board.end, board.stays) {
        (End::Running, _) => "It ends by itself.",
        (End::Crashed, _) => "See the serial line for where.",
        (_, true) => "Press a key to restart.",
        (_, false) => "",
    });
    grid
}

const fn paper(end: End) -> Paper {
    match end {
        End::Running => Paper::Blue,
        End::Crashed | End::Over(Verdict::Failure) => Paper::Red,
        End::Over(Verdict::Success) => Paper::Green,
        End::Over(Verdict::Skip) => Paper::Cyan,
        End::Over(Verdict::Inconclusive) => Paper::Brown,
        End::Over(Verdict::Error) => Paper::Magenta,
    }
}

const fn ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Success => Ink::Green,
        Verdict::Skip | Verdict::Inconclusive => Ink::Yellow,
        Verdict::Failure | Verdict::Error => Ink::Red,
    }
}

fn band(grid: &mut Grid, board: &Board) {
    let paper = paper(board.end);
    for row in &mut grid[..BAND] {
        row.fill(Cell { paper, ink: Ink::White, ..Cell::BLANK });
    }
    big(grid, board.word());
    let _ = Pen { end: COLUMNS - 1, ..Pen::at(grid, 0, Ink::White) }.write_str(&board.title);
    let tally = board.tally();
    let counts = [
        (tally.passed, "passed"),
        (tally.failed, "failed"),
        (tally.errors, "errors"),
        (tally.inconclusive, "inconclusive"),
        (tally.skipped, "skipped"),
    ];
    let mut pen = Pen { end: COLUMNS - 1, ..Pen::at(grid, BAND - 1, Ink::White) };
    let mut comma = "";
    for (count, word) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(pen, "{comma}{count} {word}");
        comma = ", ";
    }
}

/// A word in letters four rows high, in the middle of the band; narrower ones if it is long.
fn big(grid: &mut Grid, word: &str) {
    let width = GLYPH.min(COLUMNS / word.len().max(1));
    let left = (COLUMNS - width * word.len()) / 2;
    for (letter, at) in word.bytes().zip((left..).step_by(width)) {
        let lines = glyph(letter);
        for (row, pair) in lines.chunks_exact(2).enumerate() {
            for x in 0..width {
                let filled = |line: u8| line >> (x * GLYPH / width) & 1 != 0;
                grid[1 + row][at + x].shape = Shape::halves(filled(pair[0]), filled(pair[1]));
            }
        }
    }
}

/// A row for each suite; where there are too many, the first of those that held are left out. Returns the row behind.
fn suites(grid: &mut Grid, board: &Board, room: usize) -> usize {
    let held = |row: &Row| row.verdict == Some(Verdict::Success);
    let mut over = board.suites.len().saturating_sub(room);
    let shown = board.suites.iter().filter(|row| {
        let left_out = over > 0 && held(row);
        over -= usize::from(left_out);
        !left_out
    });
    let mut at = FIRST;
    for row in shown.take(room) {
        suite(&mut Pen::at(grid, at, Ink::White), row);
        at += 1;
    }
    at
}

fn suite(pen: &mut Pen<'_>, row: &Row) {
    let _ = write!(pen, "{:<17.17} {:>3}/{:<3} ", row.name, row.tally.passed, row.planned);
    pen.ink = row.verdict.map_or(Ink::White, ink);
    let _ = pen.write_str(row.verdict.map_or("...", Verdict::word));
}

/// Two rows for each of what did not hold, as many as there is room for.
fn complaints(grid: &mut Grid, board: &Board, mut row: usize) {
    for Trouble { verdict, code, suite, check } in board.troubles() {
        if row + 2 > LAST {
            return;
        }
        let _ = write!(Pen::at(grid, row, ink(*verdict)), "{verdict} {code}");
        let _ = write!(Pen::at(grid, row + 1, Ink::Grey), "  {suite} {check}");
        row += 2;
    }
}

/// The code, dark on white as readers expect it, two modules in a cell.
fn code(grid: &mut Grid, text: &str) {
    let Some(lines) = code::modules(text) else {
        return;
    };
    let light = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(MARGIN).filter(|at| *at < SIZE);
        inside(x).zip(inside(y)).is_none_or(|(x, y)| lines[y] >> x & 1 == 0)
    };
    for (row, cells) in grid[BAND..].iter_mut().enumerate() {
        for (column, cell) in cells[SPLIT..].iter_mut().enumerate() {
            let shape = Shape::halves(light(column, 2 * row), light(column, 2 * row + 1));
            *cell = Cell { shape, ink: Ink::White, paper: Paper::Black };
        }
    }
}

/// Writes into a row of the grid, up to where the code begins.
struct Pen<'g> {
    row: &'g mut [Cell; COLUMNS],
    column: usize,
    end: usize,
    ink: Ink,
}

impl<'g> Pen<'g> {
    fn at(grid: &'g mut Grid, row: usize, ink: Ink) -> Self {
        Pen { row: &mut grid[row], column: 1, end: SPLIT - 1, ink }
    }
}

impl Write for Pen<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if self.column >= self.end {
                return Err(fmt::Error);
            }
            let cell = &mut self.row[self.column];
            (cell.shape, cell.ink) = (Shape::letter(letter), self.ink);
            self.column += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            board::tests::{board, fails},
            cell::{fake::Fake, update},
        },
        *,
    };
    use crate::report::{Event, Outcome, Reason};
    use alloc::{format, string::String, vec::Vec};

    /// The text of a row; a block is a `#`.
    fn row(grid: &Grid, row: usize, columns: core::ops::Range<usize>) -> String {
        let letter = |cell: &Cell| match cell.shape {
            Shape::Letter(letter) => char::from(letter),
            _ => '#',
        };
        grid[row][columns].iter().map(letter).collect::<String>().trim_end().into()
    }

    fn whole(grid: &Grid) -> String {
        (0..ROWS).map(|at| row(grid, at, 0..COLUMNS) + "\n").collect()
    }

    /// The code on the page, as lines of modules.
    fn modules(grid: &Grid) -> Vec<u32> {
        let light = |x: usize, y: usize| match grid[BAND + y / 2][SPLIT + x].shape {
            Shape::Full => true,
            Shape::Upper => y.is_multiple_of(2),
            Shape::Lower => !y.is_multiple_of(2),
            Shape::Letter(_) => false,
        };
        let line = |y| (0..SIZE).fold(0, |bits, x| bits | u32::from(!light(x + MARGIN, y)) << x);
        (MARGIN..MARGIN + SIZE).map(line).collect()
    }

    #[test]
    fn each_end_is_a_word_that_fills_the_band_in_a_colour_of_its_own() {
        let mut papers = Vec::new();
        let mut ends: Vec<Board> = Verdict::ALL.into_iter().map(board).collect();
        ends.push(Board::default());
        for ended in ends {
            let grid = draw(&ended);
            let filled =
                |column: &usize| (1..5).any(|row| grid[row][*column].shape != Shape::Letter(b' '));
            let filled: Vec<usize> = (0..COLUMNS).filter(filled).collect();
            let (first, last) = (filled[0], filled[filled.len() - 1]);
            assert!(last - first >= 4 * ended.word().len(), "{}", ended.word());
            assert!(first + last >= 74 && first + last <= 80, "{first} to {last}: in the middle");
            assert!(grid[..BAND].iter().flatten().all(|cell| cell.paper == grid[0][0].paper));
            papers.push(grid[0][0].paper as u8);
        }
        papers.sort_unstable();
        papers.dedup();
        assert_eq!(papers.len(), 6);
        let mut crashed = Board::default();
        crashed.end = End::Crashed;
        let crashed = draw(&crashed);
        assert_eq!(crashed[0][0].paper, Paper::Red);
    }

    #[test]
    fn suites_and_what_did_not_hold_are_there_with_their_codes() {
        let grid = draw(&fails(&["dma-overrun"]));
        assert_eq!(row(&grid, 0, 0..COLUMNS), " pvbounce on Xen");
        assert_eq!(row(&grid, 5, 0..COLUMNS), " 1 passed, 1 failed, 1 skipped");
        assert_eq!(row(&grid, 7, 0..SPLIT), " dma                 1/3   FAILURE");
        assert_eq!(row(&grid, 8, 0..SPLIT), "");
        assert_eq!(row(&grid, 9, 0..SPLIT), " FAILURE dma-overrun");
        assert_eq!(row(&grid, 10, 0..SPLIT), "   dma every_length_comes_back");
        assert_eq!(row(&grid, 11, 0..SPLIT), " SKIP no-com-port");
        assert_eq!(
            (grid[7][30].ink, grid[9][1].ink, grid[11][1].ink),
            (Ink::Red, Ink::Red, Ink::Yellow)
        );
    }

    #[test]
    fn the_code_on_it_is_that_of_its_verdict_and_comes_with_it() {
        let ended = fails(&["dma-overrun"]);
        let lines = code::modules(Text::of(&ended).as_str()).unwrap();
        assert_eq!(modules(&draw(&ended)), lines);
        let grid = draw(&ended);
        // Its margin is light all around.
        for at in 0..2 * MARGIN + SIZE {
            assert_eq!(grid[BAND][SPLIT + at].shape, Shape::Full);
            assert_eq!(grid[ROWS - 2][SPLIT + at].shape, Shape::Full);
        }
        for row in &grid[BAND..] {
            assert_eq!((row[SPLIT].shape, row[COLUMNS - 1].shape), (Shape::Full, Shape::Full));
        }
        let running = draw(&Board::default());
        assert!(
            running[BAND..].iter().all(|row| row[SPLIT..].iter().all(|cell| *cell == Cell::BLANK))
        );
    }

    #[test]
    fn many_suites_leave_room_for_what_did_not_hold() {
        let mut run = fails(&["leak", "leak", "leak", "leak", "leak"]);
        for number in 0..40 {
            let name = format!("dma@0000:{number:02x}:00.0");
            run.told(&Event::Suite { name: &name, checks: 1 });
            run.told(&Event::Ended { verdict: Verdict::Success, why: None });
        }
        let text = whole(&draw(&run));
        assert!(text.contains(" dma                 1/7   FAILURE"), "{text}");
        assert!(text.contains("dma@0000:27:00.0") && !text.contains("dma@0000:00:00.0"), "{text}");
        assert_eq!(text.matches("FAILURE leak").count(), 4, "{text}");
    }

    #[test]
    fn what_is_too_long_is_cut_before_the_code() {
        let long = "a-code-that-is-longer-than-the-column-of-text-that-it-stands-in";
        let grid = draw(&fails(&[long]));
        let cut = &format!(" FAILURE {long}")[..SPLIT - 1];
        assert_eq!(row(&grid, 9, 0..SPLIT), cut);
        assert_eq!(grid[9][SPLIT - 1], Cell::BLANK);
    }

    /// A run of so many suites, of which the first has so many checks that did not hold.
    fn run_of(suites: usize, troubles: usize) -> Board {
        let mut run = Board::default();
        for number in 0..suites {
            run.told(&Event::Suite { name: "irq", checks: 1 });
            let leak = Outcome::Failure(Reason::new("leak", ""));
            let troubles = if number == 0 { troubles } else { 0 };
            (0..troubles).for_each(|_| run.told(&Event::Check { name: "", outcome: &leak }));
            run.told(&Event::Ended { verdict: Verdict::Success, why: None });
        }
        run
    }

    #[test]
    fn a_row_is_left_blank_before_what_did_not_hold_unless_that_costs_one() {
        for (suites, troubles) in (1..30).flat_map(|n| (0..6).map(move |t| (n, t))) {
            let text = whole(&draw(&run_of(suites, troubles)));
            let lines: Vec<&str> = text.lines().collect();
            let rows = lines.iter().filter(|line| line.starts_with(" irq")).count();
            let shown = text.matches("FAILURE leak").count();
            assert_eq!(rows, suites.min(LAST - FIRST - (2 * troubles).min(TROUBLE_ROWS)));
            assert_eq!(shown, troubles.min((LAST - FIRST - rows) / 2), "{text}");
            if shown > 0 {
                let blank = lines[FIRST + rows].is_empty();
                assert_eq!(blank, FIRST + rows + 2 * shown < LAST, "{text}");
            }
        }
    }

    #[test]
    fn the_word_stands_in_letters_in_the_middle() {
        let grid = draw(&Board::default());
        let word = [
            "            ####### ##  ##  ###  ## ###  ##  ####   ###  ##  ######",
            "             ###### ##  ##  ####### #######   ##    ####### ##",
            "             ## ### ##  ##  ##  ### ##  ###   ##    ##  ### ### ###",
            "            ###  ## ######  ##   ## ##   ##  ####   ##   ##   #####",
        ];
        assert!((1..5).map(|at| row(&grid, at, 0..COLUMNS)).eq(word));
    }

    #[test]
    fn the_band_is_as_wide_as_the_page() {
        let mut run = Board::new("x".repeat(2 * COLUMNS), false);
        run.told(&Event::Suite { name: "dma", checks: 4 });
        let reason = || Reason::new("leak", "");
        for outcome in [
            Outcome::Failure(reason()),
            Outcome::Error(reason()),
            Outcome::Inconclusive(reason()),
            Outcome::Skip(reason()),
        ] {
            run.told(&Event::Check { name: "", outcome: &outcome });
        }
        let grid = draw(&run);
        assert_eq!(row(&grid, 0, 0..COLUMNS), format!(" {}", "x".repeat(COLUMNS - 2)));
        let counts = " 1 failed, 1 errors, 1 inconclusive, 1 skipped";
        assert_eq!(row(&grid, BAND - 1, 0..COLUMNS), counts);
        assert!(grid[..BAND].iter().flatten().all(|cell| cell.ink == Ink::White));
    }

    #[test]
    fn a_suite_that_runs_says_so() {
        let mut run = Board::new("pvbounce".into(), true);
        run.told(&Event::Suite { name: "memory", checks: 12 });
        let grid = draw(&run);
        assert_eq!(row(&grid, 7, 0..SPLIT), " memory              0/12  ...");
        assert_eq!(row(&grid, LAST, 0..COLUMNS), " It ends by itself.");
        run.told(&Event::Over { verdict: Verdict::Success, why: None });
        assert_eq!(row(&draw(&run), LAST, 0..SPLIT), " Press a key to restart.");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_told_stays_on_the_page(
            title: String,
            names in proptest::collection::vec(proptest::string::string_regex(".{0,90}").unwrap(), 0..40),
            codes in 0usize..30,
        ) {
            let mut run = fails(&["a-code-that-is-longer-than-all-that-there-are-and-then-some"; 30][..codes]);
            run.title = title;
            for name in &names {
                run.told(&Event::Suite { name, checks: usize::MAX });
            }
            let mut surface = Fake::default();
            update(&mut surface, &mut [[Cell::BLANK; COLUMNS]; ROWS], &draw(&run));
            assert!(surface.grid[BAND].iter().skip(SPLIT).all(|cell| cell.shape == Shape::Full));
        }
    }
}

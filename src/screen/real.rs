//! The page of the running guest, in a static so that the report and a panic find it.

use super::{
    board::{Board, End},
    cell::{COLUMNS, Cell, Grid, ROWS, Surface, update},
    mode::{Mode, NoScreen},
    page, surface,
};
use crate::{
    mm::{memory::Memory, pages::DeviceMemory},
    report::Event,
    xen::start_info::VIDEO,
};
use alloc::{boxed::Box, string::String};

struct Screen {
    board: Board,
    surface: Box<dyn Surface + Send>,
    shown: Grid,
}

impl Screen {
    fn show(&mut self) {
        update(&mut *self.surface, &mut self.shown, &page::draw(&self.board));
    }
}

/// On the heap: in the image it would be 8 KiB, as an empty page is not all zero.
static SCREEN: spin::Mutex<Option<Box<Screen>>> = spin::Mutex::new(None);

/// Shows the page on the screen that Xen describes, from now on.
pub fn open(
    memory: &'static Memory<'static>,
    video: &[u8; VIDEO],
    title: String,
    stays: bool,
) -> Result<Mode, NoScreen> {
    let mode = Mode::read(video)?;
    let (base, len) = mode.memory();
    let mapped = DeviceMemory::map(memory, base, len).map_err(NoScreen::Mapping)?;
    // Mapped for good: a panic may come at any time.
    let surface = surface::of(mode, Box::leak(Box::new(mapped)).window());
    let shown = [[Cell::BLANK; COLUMNS]; ROWS];
    let mut screen = Screen { board: Board::new(title, stays), surface, shown };
    screen.show();
    *SCREEN.lock() = Some(Box::new(screen));
    Ok(mode)
}

/// Shows a step of the report.
pub fn told(event: &Event<'_>) {
    if let Some(screen) = &mut *SCREEN.lock() {
        screen.board.told(event);
        screen.show();
    }
}

/// Shows that the guest panicked; nothing if that was while showing something.
pub fn crashed() {
    if let Some(Some(screen)) = SCREEN.try_lock().as_deref_mut() {
        screen.board.end = End::Crashed;
        screen.show();
    }
}

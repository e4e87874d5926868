//! The image's own layout, from the linker script, and the way back through its stack frames.
#![expect(unsafe_code, reason = "symbols of the linker script")]

use crate::arch::probe;
use core::ops::Range;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __stack_guard: u8;
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __image_end: u8;
}

fn at(symbol: *const u8) -> u64 {
    symbol.addr() as u64
}

/// What a part of the image may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Instructions: readable and executable.
    Execute,
    /// Constants: readable.
    Read,
    /// Variables and stack: readable and writable.
    Write,
    /// Nothing at all: the guard page.
    None,
}

/// The parts of the image in address order, page-aligned and without gaps.
pub fn parts() -> [(Range<u64>, Access); 5] {
    let (start, text_end) = (at(&raw const __image_start), at(&raw const __text_end));
    let (rodata_end, guard) = (at(&raw const __rodata_end), at(&raw const __stack_guard));
    let (stack, end) = (at(&raw const __stack_bottom), at(&raw const __image_end));
    [
        (start..text_end, Access::Execute),
        (text_end..rodata_end, Access::Read),
        (rodata_end..guard, Access::Write),
        (guard..stack, Access::None),
        (stack..end, Access::Write),
    ]
}

/// Whether the address lies in the image's RAM, guard page aside.
pub fn contains(address: u64) -> bool {
    parts().iter().any(|(range, access)| *access != Access::None && range.contains(&address))
}

/// Return addresses from the current frame outwards, at most 24.
pub fn backtrace() -> impl Iterator<Item = u64> {
    let mut frame: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack)) };
    let stack = at(&raw const __stack_bottom)..at(&raw const __stack_top);
    core::iter::from_fn(move || {
        if !stack.contains(&frame) || !frame.is_multiple_of(8) {
            return None;
        }
        let return_address = probe::read_u64(frame + 8).ok()?;
        frame = probe::read_u64(frame).ok()?;
        (return_address != 0).then_some(return_address)
    })
    .take(24)
}

//! The image's own layout, from the linker script, and the way back through its stack frames.
#![expect(unsafe_code, reason = "symbols of the linker script")]

use crate::arch::probe;
use core::{ops::Range, ptr::NonNull};

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __shared_info: u8;
    static __stack_guard: u8;
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __image_end: u8;
}

fn at(symbol: *const u8) -> u64 {
    symbol.addr() as u64
}

/// Where the shared info page is to be mapped: a page of the image kept free for it.
pub fn shared_info_page() -> NonNull<u8> {
    NonNull::new((&raw const __shared_info).cast_mut()).unwrap_or(NonNull::dangling())
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

/// The parts of the image in address order, page-aligned. Between variables and guard page lies the shared
/// info page, which is Xen's.
pub fn parts() -> [(Range<u64>, Access); 5] {
    let (start, text_end) = (at(&raw const __image_start), at(&raw const __text_end));
    let (rodata_end, shared) = (at(&raw const __rodata_end), at(&raw const __shared_info));
    let (guard, stack) = (at(&raw const __stack_guard), at(&raw const __stack_bottom));
    [
        (start..text_end, Access::Execute),
        (text_end..rodata_end, Access::Read),
        (rodata_end..shared, Access::Write),
        (guard..stack, Access::None),
        (stack..at(&raw const __image_end), Access::Write),
    ]
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

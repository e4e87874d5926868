//! Copies into and out of memory that a device may be writing at the same time.
//!
//! The copying is done in assembly, so the compiler makes no assumption about bytes that change under
//! it and never turns the loop into a call. Which instruction is best differs by more than seven times
//! between an emulator and hardware with fast string moves, and between 64 bytes and 64 KiB; so there
//! are several, and [`measure`] lets the machine decide at boot, once for short and once for long copies.
//!
//! No vector registers: the guest never saves them.
#![expect(unsafe_code, reason = "string moves through raw pointers are what this module is for")]

use core::{
    arch::{asm, global_asm},
    fmt,
    sync::atomic::{AtomicU8, Ordering},
};

/// Copies of fewer bytes than this are "short".
pub const SHORT: usize = 512;

/// Rounds of measuring, of which the best counts. An emulated CPU takes the first half of them to warm up.
const ROUNDS: usize = 16;

/// A way to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CopyKind {
    /// `rep movsq` and up to seven bytes: good everywhere, best under emulation.
    Words = 0,
    /// `rep movsb`: best for long copies on hardware with fast string moves (ERMS).
    Bytes = 1,
    /// A loop of eight 8-byte moves: no start-up cost.
    Unrolled = 2,
}

impl CopyKind {
    /// Every kind, in the order they are measured.
    pub const ALL: [Self; 3] = [Self::Words, Self::Bytes, Self::Unrolled];

    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            1 => Self::Bytes,
            2 => Self::Unrolled,
            _ => Self::Words,
        }
    }
}

impl fmt::Display for CopyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Words => "rep movsq",
            Self::Bytes => "rep movsb",
            Self::Unrolled => "unrolled mov",
        })
    }
}

/// Which kind is used for which length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Below [`SHORT`] bytes.
    pub short: CopyKind,
    /// From [`SHORT`] bytes.
    pub long: CopyKind,
}

/// Short kind in bits 0-1, long kind in bits 2-3; zero is `rep movsq` for both.
static CHOICE: AtomicU8 = AtomicU8::new(0);

/// Uses `choice` from now on.
pub fn select(choice: Choice) {
    CHOICE.store(choice.short as u8 | (choice.long as u8) << 2, Ordering::Relaxed);
}

/// What is in use.
pub fn selected() -> Choice {
    let bits = CHOICE.load(Ordering::Relaxed);
    Choice { short: CopyKind::from_bits(bits), long: CopyKind::from_bits(bits >> 2) }
}

/// What one kind cost, in ticks of the clock that was passed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The kind.
    pub kind: CopyKind,
    /// The cheapest of several rounds of 64 copies of 64 bytes.
    pub short: u64,
    /// The cheapest of several copies of the whole scratch buffer.
    pub long: u64,
}

/// Times every kind between the two buffers and selects the cheapest ones; returns the table.
///
/// The buffers should be 64 KiB each; the shorter one counts. `ticks` is any clock finer than a
/// microsecond, such as the time stamp counter.
pub fn measure(to: &mut [u8], from: &[u8], ticks: &mut dyn FnMut() -> u64) -> [Cost; 3] {
    let len = to.len().min(from.len());
    let (to, from) = (&mut to[..len], &from[..len]);
    let short = len.min(64);
    let mut costs = CopyKind::ALL.map(|kind| Cost { kind, short: u64::MAX, long: u64::MAX });
    for index in (0..ROUNDS).flat_map(|_| 0..CopyKind::ALL.len()) {
        let cost = &mut costs[index];
        let start = ticks();
        (0..64).for_each(|_| copy_slice(cost.kind, &mut to[..short], &from[..short]));
        let between = ticks();
        copy_slice(cost.kind, to, from);
        cost.short = cost.short.min(between.wrapping_sub(start));
        cost.long = cost.long.min(ticks().wrapping_sub(between));
    }
    let cheapest = |cost: fn(&Cost) -> u64| {
        let best = costs.iter().min_by_key(|entry| cost(entry));
        best.map_or(CopyKind::Words, |entry| entry.kind)
    };
    select(Choice { short: cheapest(|entry| entry.short), long: cheapest(|entry| entry.long) });
    costs
}

/// Copies as much of `from` as `to` holds, the given way: the yardstick of a benchmark.
#[inline]
pub fn copy_slice(kind: CopyKind, to: &mut [u8], from: &[u8]) {
    let len = to.len().min(from.len());
    // SAFETY: both slices hold `len` bytes, and a shared and an exclusive slice never overlap.
    unsafe { copy(kind, to.as_mut_ptr(), from.as_ptr(), len) }
}

/// Copies `from` to `to`, where a device may look.
///
/// # Safety
/// `to` must be valid for writes of `from.len()` bytes, overlap no Rust reference in use, and not
/// overlap `from`.
#[inline(always)]
pub unsafe fn copy_to_device(to: *mut u8, from: &[u8]) {
    // SAFETY: the caller vouches for `to`; `from` is a slice of that length.
    unsafe { copy(kind_for(from.len()), to, from.as_ptr(), from.len()) }
}

/// Copies what a device may have written at `from` to `to`, reading each byte once.
///
/// # Safety
/// `from` must be valid for reads of `to.len()` bytes and not overlap `to`.
#[inline(always)]
pub unsafe fn copy_from_device(to: &mut [u8], from: *const u8) {
    // SAFETY: the caller vouches for `from`; `to` is a slice of that length.
    unsafe { copy(kind_for(to.len()), to.as_mut_ptr(), from, to.len()) }
}

/// The kind in use for a copy of `len` bytes.
#[inline(always)]
pub fn kind_for(len: usize) -> CopyKind {
    let bits = CHOICE.load(Ordering::Relaxed);
    CopyKind::from_bits(if len < SHORT { bits } else { bits >> 2 })
}

/// # Safety
/// `to` must be valid for writes and `from` for reads of `len` bytes, and they must not overlap.
#[inline(always)]
unsafe fn copy(kind: CopyKind, to: *mut u8, from: *const u8, len: usize) {
    if cfg!(miri) {
        // SAFETY: the caller's promise is passed on.
        return unsafe { from.copy_to_nonoverlapping(to, len) };
    }
    match kind {
        // SAFETY: the caller's promise is passed on.
        CopyKind::Words => unsafe { words(to, from, len) },
        // SAFETY: the caller's promise is passed on.
        CopyKind::Bytes => unsafe { bytes(to, from, len) },
        // SAFETY: the caller's promise is passed on.
        CopyKind::Unrolled => unsafe { unrolled(to, from, len) },
    }
}

/// # Safety
/// As for [`copy`].
#[inline]
unsafe fn bytes(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: exactly `len` bytes are read and written, for which the caller vouches; the direction
    // flag is clear at every function boundary of the System V ABI.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}

/// # Safety
/// As for [`copy`].
#[inline]
unsafe fn words(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: 8 * (len / 8) + len % 8 = len bytes are moved, for which the caller vouches. The flags
    // are clobbered by the test that skips the second move, which costs more than the branch.
    unsafe {
        asm!(
            "rep movsq",
            "test {rest:e}, {rest:e}",
            "jz 2f",
            "mov ecx, {rest:e}",
            "rep movsb",
            "2:",
            rest = in(reg) len % 8,
            inout("rcx") len / 8 => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack)
        );
    }
}

// to in rdi, from in rsi, length in rdx. Once and aligned, not inlined: an emulated CPU pays for each time
// round a loop that lies across two pages.
global_asm!(
    ".section .text.pvbounce_copy_unrolled, \"ax\", @progbits",
    ".balign 256",
    ".globl pvbounce_copy_unrolled",
    "pvbounce_copy_unrolled:",
    "    mov rcx, rdx",
    "    shr rcx, 6",
    "    jz 3f",
    ".balign 16",
    "2:  mov rax, [rsi]",
    "    mov r8, [rsi + 8]",
    "    mov [rdi], rax",
    "    mov [rdi + 8], r8",
    "    mov rax, [rsi + 16]",
    "    mov r8, [rsi + 24]",
    "    mov [rdi + 16], rax",
    "    mov [rdi + 24], r8",
    "    mov rax, [rsi + 32]",
    "    mov r8, [rsi + 40]",
    "    mov [rdi + 32], rax",
    "    mov [rdi + 40], r8",
    "    mov rax, [rsi + 48]",
    "    mov r8, [rsi + 56]",
    "    mov [rdi + 48], rax",
    "    mov [rdi + 56], r8",
    "    add rsi, 64",
    "    add rdi, 64",
    "    dec rcx",
    "    jnz 2b",
    "3:  and edx, 63",
    "    jz 9f",
    "    mov ecx, edx",
    "    shr ecx, 3",
    "    jz 5f",
    "4:  mov rax, [rsi]",
    "    mov [rdi], rax",
    "    add rsi, 8",
    "    add rdi, 8",
    "    dec ecx",
    "    jnz 4b",
    "5:  and edx, 7",
    "    jz 9f",
    "6:  mov al, [rsi]",
    "    mov [rdi], al",
    "    inc rsi",
    "    inc rdi",
    "    dec edx",
    "    jnz 6b",
    "9:  ret",
    ".text",
);

unsafe extern "sysv64" {
    #[link_name = "pvbounce_copy_unrolled"]
    unsafe fn unrolled(to: *mut u8, from: *const u8, len: usize);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    #[test]
    fn every_kind_copies_every_length_at_every_offset() {
        for kind in CopyKind::ALL {
            for len in (0..140).chain([255, 256, 257, 384]) {
                (0..9).for_each(|offset| copies_exactly(kind, len, offset));
            }
        }
    }

    fn copies_exactly(kind: CopyKind, len: usize, offset: usize) {
        let from: Vec<u8> = (0..=255).cycle().skip(3).step_by(7).take(len + 1).collect();
        let mut to = vec![0xee; len + 16];
        copy_slice(kind, &mut to[offset..offset + len], &from[1..]);
        assert_eq!(to[offset..offset + len], from[1..], "{kind} {len}");
        assert!(to[..offset].iter().all(|&b| b == 0xee), "{kind} before {len}");
        assert!(to[offset + len..].iter().all(|&b| b == 0xee), "{kind} after {len}");
    }

    #[test]
    fn measuring_selects_the_cheapest_of_each_length() {
        // By this clock, short and long: words 3 and 9, bytes 5 and 2, unrolled 1 and 4.
        let mut steps = [0, 3, 9, 0, 5, 2, 0, 1, 4].into_iter().cycle();
        let mut now = 0;
        let mut clock = || {
            now += steps.next().unwrap();
            now
        };
        let before = selected();
        measure(&mut [0; 64], &[0; 64], &mut clock);
        let choice = selected();
        let used = [0, SHORT - 1, SHORT, SHORT + 1].map(kind_for);
        select(before);
        assert_eq!((choice.short, choice.long), (CopyKind::Unrolled, CopyKind::Bytes));
        assert_eq!(used, [choice.short, choice.short, choice.long, choice.long]);
        let names = CopyKind::ALL.map(|kind| alloc::string::ToString::to_string(&kind));
        assert_eq!(names, ["rep movsq", "rep movsb", "unrolled mov"]);
    }
}

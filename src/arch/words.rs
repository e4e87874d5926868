//! Whole words to and from memory that a device may be writing at the same time, at any alignment.
//!
//! In assembly for the same reason as the copies of [`copy`](super::copy): the compiler assumes nothing about
//! bytes that change under it.
#![expect(
    unsafe_code,
    reason = "loads and stores through raw pointers are what this module is for"
)]

use crate::addr::PAGE_SIZE;
use core::arch::asm;

/// Writes the bytes of `word`, the lowest first, over and over to `len` bytes at `to`.
///
/// # Safety
/// `to` must be valid for writes of `len` bytes and overlap no Rust reference in use.
pub unsafe fn fill_device(to: *mut u8, word: u64, len: usize) {
    if cfg!(miri) {
        // In one piece: byte by byte it takes a minute for a MiB.
        let bytes = word.to_le_bytes().repeat(len.div_ceil(size_of::<u64>()));
        // SAFETY: the caller vouches for `len` bytes, and there are no fewer in the list.
        return unsafe { bytes.as_ptr().copy_to_nonoverlapping(to, len) };
    }
    // SAFETY: the caller vouches for `len` bytes; 64 * (len / 64) + 8 * (len % 64 / 8) + len % 8 = len of them are
    // written.
    unsafe {
        asm!(
            "mov {n}, {len}",
            "shr {n}, 6",
            "jz 3f",
            "2:",
            "mov [{to}], {word}",
            "mov [{to} + 8], {word}",
            "mov [{to} + 16], {word}",
            "mov [{to} + 24], {word}",
            "mov [{to} + 32], {word}",
            "mov [{to} + 40], {word}",
            "mov [{to} + 48], {word}",
            "mov [{to} + 56], {word}",
            "add {to}, 64",
            "dec {n}",
            "jnz 2b",
            "3:",
            "mov {n:e}, {len:e}",
            "and {n:e}, 56",
            "jz 5f",
            "4:",
            "mov [{to}], {word}",
            "add {to}, 8",
            "sub {n:e}, 8",
            "jnz 4b",
            "5:",
            "and {len:e}, 7",
            "jz 7f",
            "6:",
            "mov [{to}], {word:l}",
            "inc {to}",
            "shr {word}, 8",
            "dec {len:e}",
            "jnz 6b",
            "7:",
            to = inout(reg) to => _,
            len = inout(reg) len => _,
            word = inout(reg) word => _,
            n = out(reg) _,
            options(nostack)
        );
    }
}

/// Reads a word at any alignment, once.
///
/// # Safety
/// `from` must be valid for reads of 8 bytes.
#[inline(always)]
pub unsafe fn load_word(from: *const u8) -> u64 {
    if cfg!(miri) {
        // SAFETY: the caller vouches for the bytes.
        return unsafe { from.cast::<u64>().read_unaligned() };
    }
    let word;
    // SAFETY: 8 bytes are read, for which the caller vouches. Not `pure`: a device may write them.
    unsafe {
        asm!(
            "mov {word}, [{from}]",
            from = in(reg) from,
            word = out(reg) word,
            options(nostack, preserves_flags, readonly)
        );
    }
    word
}

/// Writes zero to `len` bytes at `to`.
///
/// # Safety
/// As for [`fill_device`].
pub unsafe fn zero_device(to: *mut u8, len: usize) {
    // SAFETY: the caller's promise is passed on.
    unsafe { fill_device(to, 0, len) }
}

/// Fills `pages` pages at `to` with zero, and says how many of them held anything else: only those are written.
///
/// # Safety
/// `to` must be valid for reads and writes of that many pages, and overlap no Rust reference in use.
pub unsafe fn wipe(to: *mut u8, pages: usize) -> u64 {
    const PAIR: usize = 16;
    (0..pages).fold(0, |soiled, page| {
        let page = to.wrapping_add(page * PAGE_SIZE);
        let mut pairs = (0..PAGE_SIZE).step_by(PAIR).map(|at| page.wrapping_add(at));
        // SAFETY: the caller vouches for the page, and pairs fill it.
        if pairs.all(|pair| unsafe { compare_pair(pair, 0) } == 0) {
            return soiled;
        }
        // SAFETY: the same.
        unsafe { zero_device(page, PAGE_SIZE) };
        soiled + 1
    })
}

/// Writes one word twice, at any alignment.
///
/// # Safety
/// `to` must be valid for writes of 16 bytes and overlap no Rust reference in use.
#[inline(always)]
pub unsafe fn store_pair(to: *mut u8, word: u64) {
    if cfg!(miri) {
        // SAFETY: the caller vouches for 16 bytes.
        return unsafe { to.cast::<[u64; 2]>().write_unaligned([word; 2]) };
    }
    // SAFETY: 16 bytes are written, for which the caller vouches.
    unsafe {
        asm!(
            "mov [{to}], {word}",
            "mov [{to} + 8], {word}",
            to = in(reg) to,
            word = in(reg) word,
            options(nostack, preserves_flags)
        );
    }
}

/// Reads two words at any alignment, each once; zero if both are `word`.
///
/// What differs is gathered here, not by the compiler: it would branch after each word, and an emulated CPU
/// pays for a branch as for five other instructions.
///
/// # Safety
/// `from` must be valid for reads of 16 bytes.
#[inline(always)]
pub unsafe fn compare_pair(from: *const u8, word: u64) -> u64 {
    if cfg!(miri) {
        // SAFETY: the caller vouches for 16 bytes.
        let [first, second] = unsafe { from.cast::<[u64; 2]>().read_unaligned() };
        return (first ^ word) | (second ^ word);
    }
    let mut differing = word;
    // SAFETY: 16 bytes are read, for which the caller vouches. Not `pure`: a device may write them.
    unsafe {
        asm!(
            "xor {differing}, [{from}]",
            "xor {word}, [{from} + 8]",
            "or {differing}, {word}",
            from = in(reg) from,
            word = inout(reg) word => _,
            differing = inout(reg) differing,
            options(nostack, readonly)
        );
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    #[test]
    fn fill_writes_exactly_its_length() {
        let word = 0x0807_0605_0403_0201;
        for len in (0..200).chain([511, 512, 4096, 4097]) {
            let mut to = vec![0xee; len + 2];
            // SAFETY: `len` bytes from index 1 lie inside the vector.
            unsafe { fill_device(to[1..].as_mut_ptr(), word, len) };
            assert!(
                to[1..=len].iter().zip((1..=8).cycle()).all(|(&byte, expected)| byte == expected)
            );
            assert_eq!((to[0], to[len + 1]), (0xee, 0xee));
        }
    }

    #[test]
    fn what_is_not_zero_is_wiped_and_counted_by_pages() {
        let mut bytes = vec![0; 4 * PAGE_SIZE + 1];
        let mut wipe_all = |soiled: &[usize]| {
            soiled.iter().for_each(|at| bytes[*at] = 1);
            // SAFETY: the vector is longer than that.
            let count = unsafe { wipe(bytes.as_mut_ptr(), 4) };
            let left = bytes.iter().position(|byte| *byte != 0);
            (count, left)
        };
        assert_eq!(wipe_all(&[]), (0, None));
        assert_eq!(wipe_all(&[0, PAGE_SIZE - 1]), (1, None));
        assert_eq!(wipe_all(&[PAGE_SIZE, PAGE_SIZE + 8, 3 * PAGE_SIZE + 17]), (2, None));
        assert_eq!(wipe_all(&[4 * PAGE_SIZE - 1, 4 * PAGE_SIZE]), (1, Some(4 * PAGE_SIZE)));
    }

    #[test]
    fn words_are_read_and_compared_at_any_alignment() {
        let bytes: Vec<u8> = (0..40).collect();
        for at in 0..16 {
            // SAFETY: 8 bytes from there lie inside the vector.
            let word = unsafe { load_word(bytes[at..].as_ptr()) };
            assert_eq!(word.to_le_bytes(), bytes[at..at + 8]);
            let mut twice = [0; 40];
            // SAFETY: 16 bytes from there lie inside the vector.
            unsafe { store_pair(twice[at..].as_mut_ptr(), word) };
            assert_eq!(
                (&twice[at..at + 8], &twice[at + 8..at + 16]),
                (&bytes[at..at + 8], &bytes[at..at + 8])
            );
            assert!(twice[..at].iter().chain(&twice[at + 16..]).all(|byte| *byte == 0));
            for changed in 0..16 {
                // SAFETY: as before.
                assert_eq!(unsafe { compare_pair(twice[at..].as_ptr(), word) }, 0);
                twice[at + changed] ^= 1;
                // SAFETY: as before.
                assert_ne!(unsafe { compare_pair(twice[at..].as_ptr(), word) }, 0);
                twice[at + changed] ^= 1;
            }
        }
    }
}

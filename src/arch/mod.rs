//! All that is x86: instructions no library has, traps, copies, barriers and the time stamp counter.

pub mod copy;
pub mod time;
pub mod volatile;
pub mod wait;
pub mod words;

#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
pub mod image;
#[cfg(target_os = "none")]
pub mod probe;
#[cfg(target_os = "none")]
pub mod traps;

/// Where the builder maps PFN 0: `VIRT_BASE` in linker.ld and boot/notes.S.
pub const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;

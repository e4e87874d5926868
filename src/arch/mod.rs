//! All that is x86: instructions no library has, traps, copies, barriers and the time stamp counter.

pub mod time;
pub mod volatile;

#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
pub mod image;
#[cfg(target_os = "none")]
pub mod probe;
#[cfg(target_os = "none")]
pub mod traps;

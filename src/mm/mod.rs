//! The guest's memory: what it is made of, who holds which part, and how it is mapped.

pub mod contiguous;
#[cfg(target_os = "none")]
pub mod heap;
pub mod translate;

//! The guest's memory: what it is made of, who holds which part, and how it is mapped.

pub mod builder;
pub mod contiguous;
pub mod e820;
pub mod error;
pub mod exchange;
pub mod frames;
pub mod granted;
#[cfg(target_os = "none")]
pub mod heap;
pub mod hole;
pub mod m2p_sync;
pub mod memory;

pub mod order;
pub mod p2m;
pub mod page_table;
pub mod pages;
pub mod region;
pub mod reserve;
pub mod translate;

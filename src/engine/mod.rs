//! DMA engines: devices that copy bytes between memory and a buffer of their own, and do nothing else.
//!
//! ```text
//! EngineError          what went wrong with a copy
//!   edu                regs (the specification's offsets) - chip (which register when) - mod (order of operations)
//! ```

pub mod edu;
pub mod error;
#[cfg(not(target_os = "none"))]
pub mod fake;

pub use error::EngineError;

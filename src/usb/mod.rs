//! USB host controllers, of which only what they do with memory is looked at: no transfer is made over a bus, and no port's
//! register is written.
//!
//! ```text
//! xhci       any controller of class 0c.03.30
//! ```

#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod xhci;

//! USB host controllers, of which only what they do with memory is looked at: nothing is ever sent over a bus, and no port
//! is touched.
//!
//! ```text
//! xhci       any controller of class 0c.03.30
//! ```

#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod xhci;

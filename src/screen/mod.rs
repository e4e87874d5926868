//! The status page: how a run goes and how it ended, on the screen of a machine that has no other.
//!
//! | room | what |
//! |---|---|
//! | [`mode`] | which screen Xen says there is, and whether a page fits on it |
//! | [`cell`] | what a page is made of, and the trait [`cell::Surface`] that shows it |
//! | [`surface`] | VGA's text and framebuffers |
//! | [`board`] | what a page tells, from the steps of the report |
//! | [`page`] | where it stands |
//! | [`code`] | the QR code on it |
//!
//! Only dom0 has a screen. Xen writes to it, too, until dom0 starts; with `vga=keep` it goes on.

pub mod board;
pub mod cell;
pub mod code;
pub mod mode;
pub mod page;
pub mod surface;

#[cfg(target_os = "none")]
mod real;
#[cfg(target_os = "none")]
pub use real::{crashed, open, told};

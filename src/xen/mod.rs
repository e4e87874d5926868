//! What Xen and its toolstack offer a PV guest, each service behind a small trait.
//!
//! The traits are what the layers above and the host tests see; the real implementations issue hypercalls.

pub mod abi;
pub mod command_line;
pub mod console;
pub mod errno;
pub mod events;
pub mod failing;
#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod grants;
pub mod hypercall;
pub mod keyboard;
#[cfg(target_os = "none")]
pub mod local_events;
pub mod physdev;
pub mod shared_info;
pub mod start_info;
pub mod store;
pub mod xenbus;

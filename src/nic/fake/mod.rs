//! The other side, for host tests: chips that react to each register access.

pub mod cplus;
pub mod intel;
pub mod pcnet;
pub mod played;
mod rtl8139;
pub mod virtio;

pub use rtl8139::{FakeRtl8139, Fault};

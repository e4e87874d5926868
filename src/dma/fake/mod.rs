//! The other side, for host tests: a Xen that owns machine frames and a device that sees only what it
//! was given. Both refuse more than the real ones do.
//!
//! ```text
//! FakeMachine   Xen: frames, who owns them, exchange with its rules, P2M and M2P   (ContiguousMemory, Translate)
//! FakeDevice    the device: bus addresses within its mask, and only where a mapping allows
//! Faulty        a wrapper that makes the n-th acquire or release fail
//! ```

mod device;
mod faulty;
mod frames;
mod host;
mod machine;

pub use device::{BusFault, FakeDevice};
pub use faulty::Faulty;
pub use frames::{Balance, Frames};
pub use machine::{FakeMachine, FakePages, Reused};

//! PCI: addresses, config space and what is in it, and the three ways to reach it.
//!
//! ```text
//! function   typed view of one function's config space: ids, command, status, interrupt
//!   bar        base address registers: sizing without moving them
//!   cap, msi   the capability list and the two interrupt capabilities
//!   ids        class codes
//!   resources  all of it, read once
//!   place      where its memory ranges are: none under RAM, no two at one address
//!   writes     which bits take what is written
//!   mastering  when a function may do DMA
//! access     the trait all of that goes through, with its errors
//! host       who carries it out, and gives functions their interrupts
//!   front      pcifront: a shared page, pciback answers (domU)
//!   board      all functions of the machine, and Xen's routing (dom0)
//! direct     config space of the board, by ports 0xcf8 and 0xcfc and in memory
//!   fake       devices in memory, and a pciback to play, for host tests
//! ```

pub mod access;
pub mod bar;
pub mod board;
pub mod cap;
pub mod direct;
#[cfg(not(target_os = "none"))]
pub mod fake;
pub mod front;
pub mod function;
mod host;
pub mod ids;
pub mod mastering;
pub mod msi;
pub mod place;
mod resources;
pub mod writes;

pub use access::{ConfigAccess, ConfigError, Width};
pub use bar::{Bar, BarKind};
pub use cap::{Capability, CapabilityId};
pub use function::{Command, Function, PciError, Status};
pub use host::{Delivery, Host, Lacks};
pub use mastering::{Decoding, MasteringError};
pub use place::Objection;
pub use protocol::{Bdf, Bus, ParseError};
pub use resources::{NoBar, Resources};

//! DMA: the bounce pool, and mappings that know their direction.
//!
//! ```text
//!   &[u8] &mut [u8] Vec Pages      Device::map::<D, _>         Mapping: bus address, owns the buffer
//!   ----------------------->  dma_capable?  -- yes: direct ------------------------------->  device
//!                                   | no: why
//!                                   v
//!                             Pool: a run of slots, copy in, guard bytes around  ----------->  device
//!                                   table -> segment (a Region) -> slots
//! ```
//!
//! A frame that a device writes, from the pool's start to the last byte:
//!
//! ```
//! use pvbounce::{addr::DmaMask, dma::{Device, FromDevice, Limits, Plan, Policy, Pool, Table}};
//! # use pvbounce::dma::fake::FakeMachine;
//! # let xen = FakeMachine::default();
//! let mut table = Box::new(Table::new());
//! let pool = Pool::new(&mut table, &xen);
//! pool.start(&Plan::new(4 << 20), &mut |step| println!("{step:?}"))?;
//!
//! let nic = Device::new(&pool, &xen, Limits::new(DmaMask::BITS_32), Policy::Auto);
//! let mapping = nic.map::<FromDevice, _>(vec![0; 1514])?;
//! assert!(mapping.bounced() && mapping.bus().0 < 1 << 32);
//! # xen.bus_write(mapping.bus(), &[7; 60]);
//! // ... the address goes into a descriptor, the device reports 60 bytes ...
//! let frame = mapping.finish(60)?;
//! assert_eq!((frame[59], frame[60]), (7, 0));
//!
//! let stopped = pool.stop(&mut drop);
//! assert_eq!((stopped.released, stopped.slots_in_use), (4 << 20, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | `want` | what a run of slots has to be for a device; pure |
//! | [`run`] | slots of 2 KiB, and runs of them |
//! | [`slots`] | which 2 KiB slots of one segment are taken; pure |
//! | `segment`, `table` | up to 64 segments and the choice among them; pure |
//! | [`pool`], [`start`] | where segments come from and go to |
//! | `raw` | the only code that touches shared bytes |
//! | [`limits`], [`capable`], `layout` | what a device demands, and whether and how a buffer meets it |
//! | [`device`], [`mapping`], [`list`], [`coherent`] | what a driver uses |
//! | [`source`] | what a device is told to read: bytes, or a page that it is tried on |
//! | [`lent`], [`owned`] | what keeps memory from everybody else while a device may use it |
//!
//! Invariants: a slot is in at most one mapping; a segment with a slot in use never leaves the pool; of
//! what a device wrote only the reported bytes reach the caller; a device writes into slots or into memory that
//! its mapping owns, and no other; all memory comes back, or is counted.

mod aside;
mod bits;
mod bounce;
pub mod buffer;
pub mod capable;
pub mod coherent;
pub mod device;
pub mod direction;
pub mod error;
#[cfg(not(target_os = "none"))]
pub mod fake;
mod finish;
mod layout;
pub mod lent;
pub mod limits;
pub mod list;
pub mod mapping;
pub mod owned;
mod places;
pub mod pool;
mod raw;
pub mod run;
mod segment;
pub mod slots;
pub mod source;
pub mod start;
pub mod stats;
mod table;
mod want;

pub use buffer::{Buffer, HalfPage};
pub use capable::dma_capable;
pub use coherent::{Coherent, CoherentError};
pub use device::Device;
pub use direction::{Bidirectional, Direction, FromDevice, Readable, ToDevice, Writable};
pub use error::{AdoptError, FinishError, GrowError, MapError, Why};
pub use lent::{DeviceStopped, Lent};
pub use limits::{Limits, Policy, PowerOfTwo};
pub use list::{List, Span};
pub use mapping::Mapping;
pub use owned::OwnedSlice;
pub use pool::{Pool, Stopped};
pub use segment::{Origin, SegmentInfo};
pub use source::{Probe, Source};
pub use start::{Plan, StartError, Started, Step};
pub use stats::Stats;
pub use table::{MAX_SEGMENTS, Table};
pub use want::Want;

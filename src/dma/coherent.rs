//! Memory that CPU and device use at the same time: descriptor rings, status blocks.
//!
//! Taken from the pool when it has a run, since its memory is low and contiguous already; else traded
//! for one by itself and traded back at the end. Access is by volatile reads and writes of up to 8 bytes,
//! each of which happens once and whole, or by copies of many.

use super::{
    device::Device,
    error::MapError,
    layout::Shape,
    limits::PowerOfTwo,
    pool::Pool,
    raw::{Held, SharedBytes},
    segment::Lease,
};
use crate::{
    addr::{BusAddr, PAGE_SIZE},
    arch::volatile::Window,
    mm::contiguous::{AcquireError, Order, ReleaseError},
};

/// Why there is no memory to share with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoherentError {
    /// Nothing was asked for.
    #[error("no bytes asked for")]
    Empty,
    /// More than Xen hands out in one piece, or more than the device's boundary allows.
    #[error("{len} bytes; the limit is {limit}")]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// The most there can be.
        limit: usize,
    },
    /// Neither the pool nor an exchange had any.
    #[error("not from the pool, and no own region: {0}")]
    NoMemory(#[from] AcquireError),
}

impl CoherentError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "dma-empty",
            Self::TooLarge { .. } => "dma-coherent-too-large",
            Self::NoMemory(_) => "dma-coherent-no-memory",
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Empty => MapError::Empty.remedy(),
            Self::TooLarge { .. } => "ask for a smaller ring",
            Self::NoMemory(_) => {
                "start a pool (`swiotlb=early` or `swiotlb=late`), or free memory below 4 GiB"
            }
        }
    }
}

/// Where the bytes came from.
#[derive(Debug)]
enum Source {
    Pool(Lease),
    Region(Held, SharedBytes),
}

/// Zeroed, page-aligned, machine-contiguous memory within a device's reach.
///
/// [`Coherent::close`] gives it back once the device was stopped. Dropped, it is kept for good and counted
/// ([`super::Stats::in_flight`]), since the device may still write to it.
#[derive(Debug)]
#[must_use = "the memory is lost unless it is closed"]
pub struct Coherent<'m> {
    pool: &'m Pool<'m>,
    source: Source,
    bus: BusAddr,
    len: usize,
}

macro_rules! access {
    ($($read:ident, $write:ident, $ty:ty;)*) => {$(
        #[doc = concat!("Reads one `", stringify!($ty), "` at byte `offset`; panics outside or unaligned.")]
        #[inline]
        pub fn $read(&self, offset: usize) -> $ty {
            self.window().$read(offset)
        }

        #[doc = concat!("Writes one `", stringify!($ty), "` at byte `offset`; panics outside or unaligned.")]
        #[inline]
        pub fn $write(&self, offset: usize, value: $ty) {
            self.window().$write(offset, value);
        }
    )*};
}

impl<'m> Device<'m> {
    /// `len` bytes to share with the device, zeroed, at a page boundary or what more it demands.
    pub fn coherent(&self, len: usize) -> Result<Coherent<'m>, CoherentError> {
        let (limits, pool) = (self.limits(), self.pool());
        let limit = limits.boundary.map_or(Order::MAX.bytes(), PowerOfTwo::bytes);
        let too_large = CoherentError::TooLarge { len, limit: limit.min(Order::MAX.bytes()) };
        if len == 0 {
            return Err(CoherentError::Empty);
        }
        if len > limit {
            return Err(too_large);
        }
        let page = PowerOfTwo::new(PAGE_SIZE).unwrap_or(PowerOfTwo::ONE);
        let paged = limits.aligned_to(limits.alignment.max(page));
        let layout = Shape::new(&paged).bare(0, len).ok_or(too_large)?;
        if let Some(mut lease) = pool.lease_run(layout.want) {
            lease.bytes.zero();
            let bus = lease.bus();
            return Ok(Coherent { pool, source: Source::Pool(lease), bus, len });
        }
        let order = Order::holding(len.max(limits.alignment.bytes())).ok_or(too_large)?;
        let region = pool.acquire_shared(order, limits.mask)?;
        let (bus, bytes) = (region.bus(), SharedBytes::of_region(&region, 0, region.len()));
        let source = Source::Region(Held(region), bytes);
        Ok(Coherent { pool, source, bus, len })
    }
}

impl Coherent<'_> {
    #[inline]
    const fn window(&self) -> Window<'_> {
        match &self.source {
            Source::Pool(lease) => lease.bytes.window(),
            Source::Region(_, bytes) => bytes.window(),
        }
    }

    /// The first byte's address, for the device.
    pub const fn bus(&self) -> BusAddr {
        self.bus
    }

    /// Bytes asked for.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the bytes are slots of the pool, not a region of their own.
    pub const fn from_pool(&self) -> bool {
        matches!(self.source, Source::Pool(_))
    }

    access! {
        read_u8, write_u8, u8;
        read_u16, write_u16, u16;
        read_u32, write_u32, u32;
        read_u64, write_u64, u64;
    }

    /// Copies `to.len()` bytes out from byte `offset`; panics outside.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        match &self.source {
            Source::Pool(lease) => lease.bytes.read(offset, to),
            Source::Region(_, bytes) => bytes.read(offset, to),
        }
    }

    /// Copies `from` in at byte `offset`; panics outside.
    pub fn write(&mut self, offset: usize, from: &[u8]) {
        match &mut self.source {
            Source::Pool(lease) => lease.bytes.write(offset, from),
            Source::Region(_, bytes) => bytes.write(offset, from),
        }
    }

    /// Gives the memory back: the device has let go of it.
    pub fn close(self) -> Result<(), ReleaseError> {
        match self.source {
            Source::Pool(lease) => self.pool.end(lease, 0),
            Source::Region(held, _) => return self.pool.release_shared(held.0),
        }
        Ok(())
    }
}

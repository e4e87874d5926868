//! Starting the pool: how much, from how low, and what to do when there isn't enough.
//!
//! ```text
//! attempt(64 MiB): order 12, 12, refused -> 11, refused -> 10, 10, ... -> order 0 refused: give all back
//! attempt(32 MiB): ...
//!      ...
//! attempt(floor):  refused -> StartError::NoLowMemory
//! ```
//!
//! Each step is reported to the caller as it happens, with Xen's answer. An order that Xen does not
//! permit is not asked for again during the same start; orders that merely were not to be had are.

use super::{error::GrowError, pool::Pool, segment::Origin};
use crate::{
    addr::{BusAddr, DmaMask, PAGE_SIZE},
    mm::contiguous::{AcquireError, Order, ReleaseError},
    xen::errno::XenError,
};
use core::fmt;

/// What to start a pool with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes wanted; rounded down to whole pages.
    pub bytes: usize,
    /// How low the memory must lie.
    pub mask: DmaMask,
    /// The fewest bytes worth starting with.
    pub floor: usize,
    /// The largest segments to ask for.
    pub max_order: Order,
    /// By how much a full pool grows; `None` if it must not.
    pub growth: Option<Order>,
}

impl Plan {
    /// `bytes` below 4 GiB in the largest segments Xen gives, at least 1 MiB, no growth.
    pub const fn new(bytes: usize) -> Self {
        Self { bytes, mask: DmaMask::BITS_32, floor: 1 << 20, max_order: Order::MAX, growth: None }
    }

    /// Growing by segments of `order` when full.
    pub const fn growing_by(self, order: Order) -> Self {
        Self { growth: Some(order), ..self }
    }
}

/// Something that happened during a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A segment was had.
    Acquired {
        /// Its size.
        order: Order,
        /// Bytes of this attempt still missing.
        missing: usize,
    },
    /// No segment of this order; the next one down is tried.
    Refused {
        /// The order asked for.
        order: Order,
        /// Why not.
        error: AcquireError,
    },
    /// The table could not hold as many small segments as the rest would take.
    TooScattered {
        /// The order that was left to use.
        order: Order,
        /// Bytes of this attempt still missing.
        missing: usize,
    },
    /// The attempt failed and its segments went back.
    GaveBack {
        /// Bytes given back.
        bytes: usize,
    },
    /// A segment of a failed attempt could not be given back; it is lost to the pool.
    Stuck(ReleaseError),
    /// The next attempt, with half as much.
    Halved {
        /// Bytes now asked for.
        bytes: usize,
    },
}

/// A pool that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Bytes in the pool: less than planned if the total was halved.
    pub bytes: usize,
    /// Segments they are in.
    pub segments: usize,
    /// The lowest bus address.
    pub lowest: BusAddr,
    /// How often memory was asked for, refusals included.
    pub requests: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquired { order, missing } => write!(f, "{order}, {missing} bytes to go"),
            Self::Refused { order, error } => write!(f, "{order} refused: {error}"),
            Self::TooScattered { order, missing } => {
                write!(
                    f,
                    "{missing} bytes in pieces of {order} are more segments than the pool holds"
                )
            }
            Self::GaveBack { bytes } => write!(f, "{} KiB given back", bytes >> 10),
            Self::Stuck(error) => write!(f, "kept low: {error}"),
            Self::Halved { bytes } => write!(f, "halved to {} KiB", bytes >> 10),
        }
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, segments, lowest, requests } = self;
        write!(f, "{} KiB from {lowest}; segments: {segments}, exchanges: {requests}", bytes >> 10)
    }
}

/// Why a pool was not started. Everything acquired went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It has memory already.
    #[error("the pool is started already, with {bytes} bytes")]
    AlreadyStarted {
        /// How much.
        bytes: usize,
    },
    /// Less was planned than the floor, or less than a page.
    #[error("a pool of {bytes} bytes is below the floor of {floor}")]
    BelowFloor {
        /// Planned.
        bytes: usize,
        /// The least.
        floor: usize,
    },
    /// Not even the floor could be had.
    #[error("no low memory for {bytes} bytes: {last}")]
    NoLowMemory {
        /// The last total tried.
        bytes: usize,
        /// The last refusal.
        last: GrowError,
    },
}

impl StartError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AlreadyStarted { .. } => "pool-already-started",
            Self::BelowFloor { .. } => "pool-below-floor",
            Self::NoLowMemory { .. } => "pool-no-low-memory",
        }
    }

    /// What to change.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::AlreadyStarted { .. } => "stop the pool first",
            Self::BelowFloor { .. } => "ask for more: `swiotlb=late,64` is 64 MiB",
            Self::NoLowMemory { .. } => {
                "free memory below 4 GiB: start this guest before others, or give dom0 less \
                 (`dom0_mem=`); a guest using all of the host's memory can't exchange any"
            }
        }
    }
}

/// One attempt at a total, and what it learns for the next.
struct Attempt<'a, 'm> {
    pool: &'a Pool<'m>,
    mask: DmaMask,
    /// The largest order Xen permits, as far as known.
    permitted: Order,
    /// Why the order last had to be lowered.
    refusal: Option<AcquireError>,
    requests: usize,
    log: &'a mut dyn FnMut(Step),
}

impl Pool<'_> {
    /// Acquires the planned memory, or half of it, or half of that, down to the floor.
    pub fn start(&self, plan: &Plan, log: &mut dyn FnMut(Step)) -> Result<Started, StartError> {
        let present = self.stats().bytes;
        if present > 0 {
            return Err(StartError::AlreadyStarted { bytes: present });
        }
        let floor = plan.floor.max(PAGE_SIZE);
        let mut bytes = whole_pages(plan.bytes);
        if bytes < floor {
            return Err(StartError::BelowFloor { bytes, floor });
        }
        let (mask, permitted) = (plan.mask, plan.max_order);
        let mut attempt = Attempt { pool: self, mask, permitted, refusal: None, requests: 0, log };
        while let Err(last) = attempt.run(bytes) {
            attempt.give_back();
            let half = whole_pages(bytes / 2);
            if half < floor {
                return Err(StartError::NoLowMemory { bytes, last });
            }
            bytes = half;
            (attempt.log)(Step::Halved { bytes });
        }
        let requests = attempt.requests;
        let mut books = self.books();
        books.growth = plan.growth;
        let lowest = books.lowest().map_or(BusAddr(0), |info| info.bus);
        Ok(Started { bytes, segments: books.stats.segments, lowest, requests })
    }
}

impl Attempt<'_, '_> {
    fn run(&mut self, bytes: usize) -> Result<(), GrowError> {
        let (mut missing, mut ceiling) = (bytes, self.permitted);
        while let Some(order) = Order::within(missing).map(|order| order.min(ceiling)) {
            if order.bytes().saturating_mul(self.pool.books().places_left()) < missing {
                (self.log)(Step::TooScattered { order, missing });
                return Err(self.refusal.map_or(GrowError::TableFull, GrowError::Acquire));
            }
            self.requests += 1;
            match self.pool.add_acquired(order, self.mask, Origin::Started) {
                Ok(()) => {
                    missing -= order.bytes();
                    (self.log)(Step::Acquired { order, missing });
                }
                Err(error) => ceiling = self.step_down(order, error)?,
            }
        }
        Ok(())
    }

    /// The next smaller order, or the error if there is none.
    fn step_down(&mut self, order: Order, error: GrowError) -> Result<Order, GrowError> {
        let GrowError::Acquire(refusal) = error else {
            return Err(error);
        };
        (self.log)(Step::Refused { order, error: refusal });
        self.refusal = Some(refusal);
        let smaller = order.smaller().ok_or(error)?;
        if matches!(refusal, AcquireError::Refused { error: XenError::NotPermitted, .. }) {
            self.permitted = smaller;
        }
        Ok(smaller)
    }

    fn give_back(&mut self) {
        let mut bytes = 0;
        loop {
            let idle = self.pool.books().remove_where(|info| info.origin == Origin::Started);
            let Some((region, _)) = idle else { break };
            let len = region.len();
            match self.pool.release(region) {
                Ok(()) => bytes += len,
                Err(error) => (self.log)(Step::Stuck(error)),
            }
        }
        (self.log)(Step::GaveBack { bytes });
    }
}

const fn whole_pages(bytes: usize) -> usize {
    bytes - bytes % PAGE_SIZE
}

//! A device's view of DMA: what it can reach, what it may do, and the decision for each buffer.

use super::{
    bounce::Bounce,
    buffer::Buffer,
    capable::dma_capable,
    direction::{Direction, Flow},
    error::{MapError, Why},
    layout::{Layout, Shape},
    limits::{Limits, Policy},
    mapping::{Given, Home, Mapping},
    pool::{Pool, Shortage},
    segment::Lease,
};
use crate::mm::translate::Translate;
use core::fmt;

/// Maps buffers for one device.
#[derive(Clone, Copy)]
pub struct Device<'m> {
    home: Home<'m>,
    limits: Limits,
    shape: Shape,
    policy: Policy,
}

impl fmt::Debug for Device<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("limits", &self.limits)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<'m> Device<'m> {
    /// A device with its limits, which bounces through `pool` as `policy` says.
    pub const fn new(
        pool: &'m Pool<'m>,
        translate: &'m dyn Translate,
        limits: Limits,
        policy: Policy,
    ) -> Self {
        let home = Home { pool, translate, fills: true };
        Self { home, limits, shape: Shape::new(&limits), policy }
    }

    /// The same, but slots are not filled before the device writes to them: for measuring what that costs.
    ///
    /// A device that reports more than it wrote then passes, and hands over what was in the slots before.
    pub const fn without_fill(self) -> Self {
        Self { home: Home { fills: false, ..self.home }, ..self }
    }

    /// What the device demands of addresses.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether its mappings are bounced.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// The pool it bounces through.
    pub const fn pool(&self) -> &'m Pool<'m> {
        self.home.pool
    }

    /// The longest buffer that can be bounced in one mapping, in bytes, whatever its address.
    ///
    /// What it takes is one empty segment within the device's reach; 0 if there is none at all.
    pub fn max_mapping(&self) -> usize {
        self.shape.largest(self.home.pool.largest_segment(self.limits.mask))
    }

    /// Gives `buffer` to the device, in place if the device can use it there, else through the pool.
    ///
    /// On failure the buffer is gone; [`Device::try_map`] returns it. What is done is behind a call, once for all kinds
    /// of buffers, where that is part of the caller: the suites map in many places, and none of them is in a hurry.
    pub fn map<D: Direction, B: Buffer<D>>(
        &self,
        buffer: B,
    ) -> Result<Mapping<'m, D, B>, MapError> {
        let given = match buffer.stays() {
            true => self.lend_in_place(buffer.bytes()),
            false => self.lend_called(buffer.bytes(), B::DIRECT, D::FLOW),
        }?;
        Ok(Mapping::new(&self.home, given, buffer))
    }

    /// As [`Device::map`], with the buffer returned on failure.
    #[inline(always)]
    pub fn try_map<D: Direction, B: Buffer<D>>(
        &self,
        buffer: B,
    ) -> Result<Mapping<'m, D, B>, (MapError, B)> {
        let given = match buffer.stays() {
            true => self.lend_in_place(buffer.bytes()),
            false => self.lend(buffer.bytes(), B::DIRECT, D::FLOW),
        };
        match given {
            Ok(given) => Ok(Mapping::new(&self.home, given, buffer)),
            Err(error) => Err((error, buffer)),
        }
    }

    fn lend_called(
        &self,
        bytes: &[u8],
        may_be_direct: bool,
        flow: Flow,
    ) -> Result<Given, MapError> {
        self.lend(bytes, may_be_direct, flow)
    }

    /// The bytes where they lie, or nothing: for what is to be tried, not moved.
    fn lend_in_place(&self, bytes: &[u8]) -> Result<Given, MapError> {
        let policy = match self.policy {
            Policy::Refuse => Policy::Refuse,
            Policy::Auto | Policy::Force | Policy::Direct => Policy::Direct,
        };
        match (Self { policy, ..*self }).way_for(bytes, true) {
            Ok(Way::Direct(bus)) => {
                self.home.pool.begin_direct();
                Ok(Given::Buffer(bus))
            }
            Ok(Way::Bounce(why)) => Err(self.failed(MapError::DirectOnly(why))),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What the device gets for these bytes, counted.
    #[inline(always)]
    fn lend(&self, bytes: &[u8], may_be_direct: bool, flow: Flow) -> Result<Given, MapError> {
        let way = match self.policy {
            Policy::Force if !bytes.is_empty() => Ok(Way::Bounce(Why::Forced)),
            _ => self.way_for(bytes, may_be_direct),
        };
        match way {
            Ok(Way::Bounce(why)) => match self.bounce(bytes, &why, flow) {
                Ok(bounce) => Ok(Given::Slots(bounce.begun(bytes, flow, self.home.fills), why)),
                Err(error) => Err(self.failed(error)),
            },
            Ok(Way::Direct(bus)) => {
                self.home.pool.begin_direct();
                Ok(Given::Buffer(bus))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: MapError) -> MapError {
        self.home.pool.books().stats.failures += 1;
        error
    }

    fn way_for(&self, bytes: &[u8], may_be_direct: bool) -> Result<Way, MapError> {
        if bytes.is_empty() {
            return Err(MapError::Empty);
        }
        match self.policy {
            Policy::Refuse => return Err(MapError::Refused),
            Policy::Force => return Ok(Way::Bounce(Why::Forced)),
            Policy::Auto | Policy::Direct => {}
        }
        let capable = dma_capable(self.home.translate, bytes, &self.limits)
            .and_then(|place| if may_be_direct { Ok(place) } else { Err(Why::Borrowed) });
        match capable {
            Ok(_) if bytes.len() > self.limits.max_len => Err(self.too_large(bytes.len())),
            Ok(place) => Ok(Way::Direct(place.bus)),
            Err(why) if self.policy == Policy::Direct => Err(MapError::DirectOnly(why)),
            Err(why) => Ok(Way::Bounce(why)),
        }
    }

    #[inline(always)]
    fn bounce(&self, bytes: &[u8], why: &Why, flow: Flow) -> Result<Bounce, MapError> {
        let (address, len, shape) = (bytes.as_ptr().addr(), bytes.len(), &self.shape);
        let to_device = if flow.to_device { len } else { 0 };
        let layout =
            if flow.from_device { shape.guarded(address, len) } else { shape.bare(address, len) };
        let leased = layout.and_then(|layout| {
            self.home.pool.lease(layout.want, to_device).map(|lease| (lease, layout))
        });
        let (lease, layout) = match leased {
            Some(leased) => leased,
            None => self.lease_hard(bytes, layout, to_device, why)?,
        };
        Ok(Bounce::new(lease, layout.head, len))
    }

    /// What there is when the pool has no run of this layout.
    fn lease_hard(
        &self,
        bytes: &[u8],
        layout: Option<Layout>,
        to_device: usize,
        why: &Why,
    ) -> Result<(Lease, Layout), MapError> {
        let (address, len) = (bytes.as_ptr().addr(), bytes.len());
        let bare = self.shape.bare(address, len).ok_or_else(|| self.too_large(len))?;
        let leased = self.home.pool.lease_hard(layout.unwrap_or(bare), bare, to_device);
        leased.map_err(|shortage| self.explain(shortage, len, *why))
    }

    fn explain(&self, shortage: Shortage, len: usize, why: Why) -> MapError {
        match shortage {
            Shortage::NotStarted => MapError::NoPool(why),
            Shortage::NoneInReach(lowest) => {
                MapError::OutOfMask { mask: self.limits.mask, lowest: lowest.bus }
            }
            Shortage::TooLarge => self.too_large(len),
            Shortage::Exhausted { wanted, free, largest } => {
                MapError::Exhausted { wanted, free, largest }
            }
        }
    }

    fn too_large(&self, len: usize) -> MapError {
        MapError::TooLarge { len, limit: self.max_mapping() }
    }
}

/// The decision for one buffer.
enum Way {
    Direct(crate::addr::BusAddr),
    Bounce(Why),
}

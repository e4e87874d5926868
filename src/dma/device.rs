//! A device's view of DMA: what it can reach, what it may do, and the decision for each buffer.

use super::{
    bounce::Bounce,
    buffer::Buffer,
    capable::dma_capable,
    direction::Direction,
    error::{MapError, Why},
    layout::Layout,
    limits::{Limits, Policy},
    mapping::Mapping,
    pool::{Pool, Shortage},
};
use crate::mm::translate::Translate;
use core::fmt;

/// Maps buffers for one device.
#[derive(Clone, Copy)]
pub struct Device<'m> {
    pub(super) pool: &'m Pool<'m>,
    translate: &'m dyn Translate,
    limits: Limits,
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
        Self { pool, translate, limits, policy }
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
        self.pool
    }

    /// The longest buffer that can be bounced in one mapping, in bytes, whatever its address.
    ///
    /// What it takes is one empty segment within the device's reach; 0 if there is none at all.
    pub fn max_mapping(&self) -> usize {
        Layout::largest(self.pool.largest_segment(self.limits.mask), &self.limits)
    }

    /// Gives `buffer` to the device, in place if the device can use it there, else through the pool.
    ///
    /// On failure the buffer is gone; [`Device::try_map`] returns it.
    #[inline]
    pub fn map<D: Direction, B: Buffer<D>>(
        &self,
        buffer: B,
    ) -> Result<Mapping<'m, D, B>, MapError> {
        self.try_map(buffer).map_err(|(error, _)| error)
    }

    /// As [`Device::map`], with the buffer returned on failure.
    #[inline]
    pub fn try_map<D: Direction, B: Buffer<D>>(
        &self,
        buffer: B,
    ) -> Result<Mapping<'m, D, B>, (MapError, B)> {
        let bytes = buffer.bytes();
        let bounced = match self.way_for(bytes) {
            Ok(Way::Direct(bus)) => {
                let mut books = self.pool.books();
                books.stats.maps += 1;
                books.stats.direct += 1;
                drop(books);
                return Ok(Mapping::direct(buffer, bus, self.translate));
            }
            Ok(Way::Bounce(why)) => self.bounce::<D>(bytes, why).map(|bounce| (bounce, why)),
            Err(error) => Err(error),
        };
        match bounced {
            Ok((bounce, why)) => Ok(Mapping::through(bounce, why, buffer, self.translate)),
            Err(error) => {
                self.pool.books().stats.failures += 1;
                Err((error, buffer))
            }
        }
    }

    #[inline]
    fn way_for(&self, bytes: &[u8]) -> Result<Way, MapError> {
        if bytes.is_empty() {
            return Err(MapError::Empty);
        }
        match self.policy {
            Policy::Refuse => return Err(MapError::Refused),
            Policy::Force => return Ok(Way::Bounce(Why::Forced)),
            Policy::Auto | Policy::Direct => {}
        }
        match dma_capable(self.translate, bytes, &self.limits) {
            Ok(_) if bytes.len() > self.limits.max_len => Err(self.too_large(bytes.len())),
            Ok(place) => Ok(Way::Direct(place.bus)),
            Err(why) if self.policy == Policy::Direct => Err(MapError::DirectOnly(why)),
            Err(why) => Ok(Way::Bounce(why)),
        }
    }

    #[inline]
    fn bounce<D: Direction>(&self, bytes: &[u8], why: Why) -> Result<Bounce<'m>, MapError> {
        let (address, len, limits) = (bytes.as_ptr().addr(), bytes.len(), &self.limits);
        let bare = Layout::bare(address, len, limits).ok_or_else(|| self.too_large(len))?;
        let guarded = if D::FROM_DEVICE { Layout::guarded(address, len, limits) } else { None };
        let to_device = if D::TO_DEVICE { len } else { 0 };
        let leased = self.pool.lease(guarded.unwrap_or(bare), bare, limits.mask, to_device);
        let (lease, layout) = leased.map_err(|shortage| self.explain(shortage, len, why))?;
        let bounce = Bounce::new(self.pool, lease, layout);
        // The table chose by mask, so this holds; a bounce address out of reach would be worse than
        // an error, and the check is two comparisons.
        if limits.mask.covers(bounce.bus(), len) {
            Ok(bounce)
        } else {
            Err(MapError::OutOfMask { mask: limits.mask, lowest: bounce.bus() })
        }
    }

    #[cold]
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

    #[cold]
    fn too_large(&self, len: usize) -> MapError {
        MapError::TooLarge { len, limit: self.max_mapping() }
    }
}

/// The decision for one buffer.
enum Way {
    Direct(crate::addr::BusAddr),
    Bounce(Why),
}

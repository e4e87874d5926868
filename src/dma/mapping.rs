//! A buffer that a device owns for a while.
//!
//! The mapping holds the buffer, so the CPU can't touch it in flight; what it may do with the device's
//! bytes depends on the direction, and what the direction forbids does not compile:
//!
//! ```compile_fail,E0599
//! # use pvbounce::dma::{Device, ToDevice};
//! fn reads_what_no_device_wrote(device: &Device<'_>) {
//!     let mapping = device.map::<ToDevice, _>(&[1u8, 2][..]).unwrap();
//!     mapping.read(0, &mut [0; 2]); // only FromDevice and Bidirectional have `read`
//! }
//! ```
//! ```compile_fail,E0277
//! # use pvbounce::dma::{Device, FromDevice};
//! fn a_device_writes_to_what_is_only_borrowed(device: &Device<'_>, buffer: &[u8]) {
//!     let _ = device.map::<FromDevice, _>(buffer); // `&[u8]` is no buffer for FromDevice
//! }
//! ```
//! ```compile_fail,E0382
//! # use pvbounce::dma::{Device, FromDevice};
//! fn finishes_twice(device: &Device<'_>, buffer: &mut [u8]) {
//!     let mapping = device.map::<FromDevice, _>(buffer).unwrap();
//!     let _ = mapping.finish(10);
//!     let _ = mapping.finish(10); // moved
//! }
//! ```
//! ```compile_fail,E0382
//! # use pvbounce::dma::{Device, FromDevice};
//! fn uses_the_address_after_the_end(device: &Device<'_>, buffer: &mut [u8]) {
//!     let mapping = device.map::<FromDevice, _>(buffer).unwrap();
//!     let _ = mapping.finish(10);
//!     let _ = mapping.bus(); // moved
//! }
//! ```
//! ```compile_fail,E0382
//! # use pvbounce::dma::{Device, FromDevice};
//! fn changes_what_a_forgotten_mapping_left_to_the_device(device: &Device<'_>, mut buffer: Vec<u8>) {
//!     std::mem::forget(device.map::<FromDevice, _>(buffer));
//!     buffer[0] = 1; // the mapping has it for good
//! }
//! ```
//! ```compile_fail,E0502
//! # use pvbounce::dma::{Device, FromDevice};
//! fn looks_into_the_buffer_in_flight(device: &Device<'_>, buffer: &mut [u8]) {
//!     let mapping = device.map::<FromDevice, _>(&mut *buffer).unwrap();
//!     assert_eq!(buffer[0], 0); // borrowed by the mapping
//!     mapping.abandon();
//! }
//! ```

use super::{
    bounce::Bounce,
    buffer::Buffer,
    direction::{Direction, FromDevice, Readable, Writable},
    error::{FinishError, Why},
    pool::Pool,
    raw::{self, SharedBytes},
};
use crate::{
    addr::BusAddr,
    arch::volatile,
    mm::{
        memory::{Memory, MemoryError},
        pages::DeviceMemory,
        translate::{Place, Translate},
    },
};
use core::{fmt, marker::PhantomData, mem::ManuallyDrop, ops::Range, ptr};

/// Where a device's mappings come from, and how they begin.
#[derive(Clone, Copy)]
pub(super) struct Home<'m> {
    pub(super) pool: &'m Pool<'m>,
    pub(super) translate: &'m dyn Translate,
    /// Whether slots are filled before a device writes to them.
    pub(super) fills: bool,
}

/// What a device gets for a buffer.
#[derive(Debug)]
pub(super) enum Given {
    /// The buffer itself, where it lies.
    Buffer(BusAddr),
    /// Slots, and why.
    Slots(Bounce, Why),
}

/// How the device gets at the buffer.
#[derive(Debug)]
enum Path {
    /// Where it lies.
    Direct(SharedBytes, BusAddr),
    /// Through slots, and why.
    Bounced(Bounce, Why),
}

/// A buffer in a device's hands, direction `D`.
///
/// It has two ends, both for after the device let go of it: [`Mapping::finish`] after a transfer, and
/// [`Mapping::abandon`] where there was none, or the device was stopped. One that is dropped or forgotten may
/// still be in the device's hands: its slots, with them its segment, and a buffer of its own are kept for good,
/// and [`super::Stats::in_flight`] counts it.
#[must_use = "what the device has is lost unless the mapping is finished or abandoned"]
pub struct Mapping<'m, D: Direction, B: Buffer<D>> {
    pool: &'m Pool<'m>,
    path: Path,
    /// Left alone while the path is direct: then the device has it. Never dropped here.
    buffer: ManuallyDrop<B>,
    translate: &'m dyn Translate,
    direction: PhantomData<D>,
}

impl<D: Direction, B: Buffer<D>> fmt::Debug for Mapping<'_, D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("bus", &self.bus())
            .field("len", &self.len())
            .field("why", &self.why())
            .finish_non_exhaustive()
    }
}

impl<'m, D: Direction, B: Buffer<D>> Mapping<'m, D, B> {
    /// A mapping of `buffer`, for which the device gets what is `given`.
    #[inline(always)]
    pub(super) fn new(home: &Home<'m>, given: Given, mut buffer: B) -> Self {
        let path = match given {
            Given::Buffer(bus) => Path::Direct(SharedBytes::of_buffer(&mut buffer), bus),
            Given::Slots(bounce, why) => Path::Bounced(bounce, why),
        };
        // The doorbell that follows must not overtake the bytes.
        volatile::write_barrier();
        let (pool, translate, buffer) = (home.pool, home.translate, ManuallyDrop::new(buffer));
        Self { pool, path, buffer, translate, direction: PhantomData }
    }

    /// The first byte's address, for the device.
    #[inline(always)]
    pub fn bus(&self) -> BusAddr {
        match &self.path {
            Path::Direct(_, bus) => *bus,
            Path::Bounced(bounce, _) => bounce.bus(),
        }
    }

    /// Bytes mapped.
    #[inline(always)]
    pub fn len(&self) -> usize {
        match &self.path {
            Path::Direct(shared, _) => shared.len(),
            Path::Bounced(bounce, _) => bounce.len(),
        }
    }

    /// Whether the device is only tried on these bytes.
    pub(crate) fn is_probe(&self) -> bool {
        self.buffer.stays()
    }

    /// Whether the device uses slots instead of the buffer.
    pub const fn bounced(&self) -> bool {
        matches!(self.path, Path::Bounced(..))
    }

    /// Why it was bounced; `None` if it wasn't.
    pub const fn why(&self) -> Option<Why> {
        match self.path {
            Path::Direct(..) => None,
            Path::Bounced(_, why) => Some(why),
        }
    }

    /// Where the buffer itself lies, in both numberings; `None` if its first byte is no RAM.
    pub fn place(&self) -> Option<Place> {
        let address = match &self.path {
            Path::Direct(shared, _) => shared.address(),
            Path::Bounced(..) => self.buffer.bytes().as_ptr().addr(),
        };
        self.translate.place_of(ptr::without_provenance(address))
    }

    /// Ends the mapping after the device wrote `written` bytes, and returns the buffer.
    ///
    /// Exactly those bytes are copied back, once; the rest of a bounced buffer is what it was. `written` is 0 where
    /// a device only reads. Whatever comes of it, the slots are back in the pool.
    ///
    /// Nothing that was in the slots before reaches the caller: they were filled with a pattern that no other
    /// mapping had (with the buffer, if the device reads it, too). If the last 8 of the `written` bytes still are that
    /// pattern the device reported more than it wrote: [`FinishError::Overreported`]. A frame from outside ends like
    /// that by chance once in 2^64. Where fewer than 8 bytes are too many, or fewer than 8 reported, there is no telling
    /// them from the device's; they are the pattern. A direct mapping has no slots to fill.
    #[inline(always)]
    pub fn finish(self, written: usize) -> Result<B, FinishError> {
        self.close::<false>(written)
    }

    /// [`Mapping::finish`] with what is done behind a call, where that is part of the caller: for a device that is in no
    /// hurry.
    pub fn end(self, written: usize) -> Result<B, FinishError> {
        self.close::<true>(written)
    }

    #[inline(always)]
    fn close<const CALLED: bool>(self, written: usize) -> Result<B, FinishError> {
        volatile::read_barrier();
        if written > self.len() {
            return Err(self.overlong(written));
        }
        let Self { pool, path, buffer, .. } = self;
        let mut buffer = ManuallyDrop::into_inner(buffer);
        match path {
            Path::Direct(..) => pool.end_direct(),
            Path::Bounced(bounce, _) if CALLED => {
                pool.finish_called(bounce, buffer.bytes_mut(), D::FLOW, written)?;
            }
            Path::Bounced(bounce, _) => {
                pool.finish(bounce, buffer.bytes_mut(), D::FLOW, written)?;
            }
        }
        Ok(buffer)
    }

    fn overlong(self, written: usize) -> FinishError {
        let error = FinishError::Overlong { written, len: self.len(), bus: self.bus() };
        self.abandon();
        error
    }

    /// Ends the mapping without looking at what the device did; a bounced buffer is as it was.
    ///
    /// For a mapping that the device never heard of, and for a device that was stopped.
    pub fn abandon(self) -> B {
        match self.path {
            Path::Direct(..) => self.pool.end_direct(),
            Path::Bounced(bounce, _) => self.pool.end(bounce.into_lease(), 0),
        }
        ManuallyDrop::into_inner(self.buffer)
    }
}

impl<D: Readable, B: Buffer<D>> Mapping<'_, D, B> {
    /// Shows the device what the buffer holds in `range`, bytes from the start of the mapping.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn sync_for_device(&mut self, range: Range<usize>) {
        raw::check("mapping", self.len(), range.start, range.len());
        if let Path::Bounced(bounce, _) = &mut self.path {
            bounce.write(range.start, &self.buffer.bytes()[range]);
        }
        volatile::write_barrier();
    }
}

impl<D: Readable, B: Buffer<D> + Buffer<FromDevice>> Mapping<'_, D, B> {
    /// Puts `from` at byte `offset` of what the device reads; a bounced buffer keeps what it holds.
    ///
    /// # Panics
    /// If the bytes don't lie inside the mapping.
    pub fn write(&mut self, offset: usize, from: &[u8]) {
        match &mut self.path {
            Path::Bounced(bounce, _) => bounce.write(offset, from),
            Path::Direct(shared, _) => shared.write(offset, from),
        }
        volatile::write_barrier();
    }
}

impl<D: Writable, B: Buffer<D>> Mapping<'_, D, B> {
    /// What the device has from byte `offset` of the mapping on, mapped by its address: for code that plays the
    /// device, as one that writes beyond its buffer.
    ///
    /// # Panics
    /// If the byte belongs neither to the mapping nor to the slots that it has.
    pub fn as_device<'a>(
        &'a self,
        memory: &'a Memory<'a>,
        offset: isize,
    ) -> Result<DeviceMemory<'a>, MemoryError> {
        match &self.path {
            Path::Direct(shared, bus) => {
                shared.as_device(memory, *bus, 0usize.wrapping_add_signed(offset))
            }
            Path::Bounced(bounce, _) => bounce.as_device(memory, offset),
        }
    }

    /// Copies from byte `offset` of what the device wrote, straight to where it is wanted.
    ///
    /// # Panics
    /// If the bytes don't lie inside the mapping.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        volatile::read_barrier();
        match &self.path {
            Path::Bounced(bounce, _) => bounce.read(offset, to),
            Path::Direct(shared, _) => shared.read(offset, to),
        }
    }

    /// Brings what the device wrote in `range` into the buffer, bytes from the start of the mapping.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn sync_for_cpu(&mut self, range: Range<usize>) {
        volatile::read_barrier();
        raw::check("mapping", self.len(), range.start, range.len());
        if let (Path::Bounced(bounce, _), Some(bytes)) = (&self.path, self.buffer.bytes_mut()) {
            bounce.read(range.start, &mut bytes[range]);
        }
    }

    /// Whether the device wrote the end of `range`, bytes from the start of the mapping, since that was last filled.
    ///
    /// For a mapping that a device writes to again and again, as a receive ring: what [`Mapping::finish`] tells of the
    /// whole, with the same limits, this tells of the part that the device reported.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn check_written(&self, range: Range<usize>) -> Result<(), FinishError> {
        volatile::read_barrier();
        raw::check("mapping", self.len(), range.start, range.len());
        match &self.path {
            Path::Bounced(bounce, _) if !bounce.is_written_to(range.start, range.end) => {
                Err(bounce.overreported(range.start, range.end))
            }
            _ => Ok(()),
        }
    }

    /// Fills `range` with the pattern again, before the device is told that it may write there once more.
    ///
    /// # Panics
    /// If the range does not lie inside the mapping.
    pub fn rearm(&mut self, range: Range<usize>) {
        raw::check("mapping", self.len(), range.start, range.len());
        if let Path::Bounced(bounce, _) = &mut self.path {
            bounce.refill(range.start, range.len());
        }
        volatile::write_barrier();
    }

    /// Whether the guard bytes around the mapping still hold; nothing to look at when it is direct.
    pub fn check_guards(&self) -> Result<(), FinishError> {
        match &self.path {
            Path::Bounced(bounce, _) => bounce.check_guards(),
            Path::Direct(..) => Ok(()),
        }
    }

    /// The buffer to change while the device works on slots; `None` when it has the buffer itself.
    pub fn buffer_mut(&mut self) -> Option<&mut [u8]> {
        if self.bounced() { self.buffer.bytes_mut() } else { None }
    }
}

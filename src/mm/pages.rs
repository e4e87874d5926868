//! Owned pages and device windows: mappings as values that undo themselves.
#![expect(unsafe_code, reason = "turns mapped addresses into slices and windows")]

use crate::{
    addr::{self, BusAddr, DmaMask, Mfn, PAGE_SIZE, PAGE_SIZE_U64, Pfn, to_usize},
    arch::volatile::Window,
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order, Region},
        memory::{Memory, MemoryError, TableRegion},
        p2m::{P2m, PfnRange},
        page_table,
    },
    xen::{errno::XenError, grants::SharedPage, hypercall::Pte},
};
use alloc::boxed::Box;
use core::{
    ops::{Deref, DerefMut},
    ptr::{NonNull, with_exposed_provenance_mut},
    sync::atomic::AtomicU64,
};
use x86_64::structures::paging::PageTableFlags;

/// Where Xen mapped something for us.
///
/// # Panics
/// On a host, where a fake maps nothing.
fn mapped(virt: u64) -> NonNull<u8> {
    match cfg!(target_os = "none") {
        true => {
            NonNull::new(with_exposed_provenance_mut(to_usize(virt))).unwrap_or(NonNull::dangling())
        }
        false => panic!("{virt:#x} is mapped by a real Xen only"),
    }
}

/// Neighbouring pages of the guest, mapped and owned; a byte slice to whoever holds them.
#[derive(Debug)]
#[must_use = "the pages go back at once unless they are held"]
pub struct Pages<'m> {
    memory: &'m Memory<'m>,
    run: PfnRange,
}

impl<'m> Pages<'m> {
    /// Takes `count` zeroed pages.
    pub fn new(memory: &'m Memory<'m>, count: u64) -> Result<Self, MemoryError> {
        Ok(Self { memory, run: memory.take(count)? })
    }

    /// Takes `count` pages whose machine frames are no neighbours: for what must not count on contiguity.
    pub fn scattered(memory: &'m Memory<'m>, count: u64) -> Result<Self, MemoryError> {
        Ok(Self { memory, run: memory.take_scattered(count)? })
    }

    /// First frame, in the guest's numbering.
    pub const fn pfn(&self) -> Pfn {
        self.run.start
    }

    /// Machine frame of the first page.
    pub fn mfn(&self) -> Option<Mfn> {
        self.memory.p2m().get(self.run.start)
    }

    /// Gives the pages back and says whether that worked.
    pub fn close(self) -> Result<(), MemoryError> {
        let (memory, run) = (self.memory, self.run);
        core::mem::forget(self);
        memory.give(run)
    }

    /// The pages, in the guest's numbering.
    pub const fn run(&self) -> PfnRange {
        self.run
    }

    /// Keeps the pages for the rest of the domain's life; returns where they start and their length.
    pub fn leak(self) -> (NonNull<u8>, usize) {
        let start = (self.base(), self.len());
        core::mem::forget(self);
        start
    }

    fn base(&self) -> NonNull<u8> {
        mapped(page_table::direct(self.run.start).unwrap_or(page_table::DIRECT))
    }
}

impl Deref for Pages<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let len = self.run.iter().len() * PAGE_SIZE;
        // SAFETY: `Memory::take` mapped the run, nobody else holds it, and `Drop` alone unmaps it.
        unsafe { core::slice::from_raw_parts(self.base().as_ptr(), len) }
    }
}

impl DerefMut for Pages<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.run.iter().len() * PAGE_SIZE;
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.base().as_ptr(), len) }
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        // If Xen refuses the unmapping the frames stay taken, and the count at the end shows it.
        let _ = self.memory.give(self.run);
    }
}

/// The memory's P2M as a list of `len` entries: the pages it is in, mapped once more, and new ones behind them.
///
/// The new ones are taken for good, also if Xen then refuses to map them.
///
/// # Safety
/// `pages` are those that the P2M's list starts in and fills, in order, and nothing else uses them.
pub unsafe fn lengthen_p2m<'m>(
    memory: &Memory<'m>,
    pages: PfnRange,
    len: u64,
) -> Result<P2m<'m>, MemoryError> {
    let p2m = memory.p2m();
    let count = addr::pages(to_usize(len) * size_of::<u64>()) as u64;
    let fresh = match count - pages.count {
        0 => PfnRange::EMPTY,
        more => memory.set_aside(more)?,
    };
    let mut frames = pages.iter().chain(fresh.iter()).filter_map(|pfn| p2m.get(pfn));
    let virt = memory.map_list(&mut frames, count, page_table::DATA)?;
    let entries = mapped(virt).cast::<AtomicU64>().as_ptr();
    // SAFETY: `map_list` mapped `count` pages, which hold `len` words; they stay mapped, and nobody else has
    // them. Any bits are a word, and each access is atomic.
    Ok(p2m.lengthened(unsafe { core::slice::from_raw_parts(entries, to_usize(len)) }))
}

/// Neighbouring frames within a device's reach, as bytes: exchanged for, and exchanged back when dropped.
#[derive(Debug)]
#[must_use = "the frames go back at once unless they are held"]
pub struct LowPages<'m> {
    memory: &'m Memory<'m>,
    /// `None` only while being dropped.
    region: Option<Region>,
}

impl<'m> LowPages<'m> {
    /// `2^order` zeroed pages, all within `mask`.
    pub fn new(memory: &'m Memory<'m>, order: Order, mask: DmaMask) -> Result<Self, AcquireError> {
        Ok(Self { memory, region: Some(memory.acquire(order, mask)?) })
    }
}

impl Deref for LowPages<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let Some(region) = &self.region else { return &[] };
        // SAFETY: the region stays mapped until it is released, and it is nobody else's.
        unsafe { core::slice::from_raw_parts(region.cpu().as_ptr(), region.len()) }
    }
}

impl DerefMut for LowPages<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let Some(region) = &self.region else { return &mut [] };
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(region.cpu().as_ptr(), region.len()) }
    }
}

impl Drop for LowPages<'_> {
    fn drop(&mut self) {
        // If Xen refuses, the frames stay the guest's and low, which is counted; what can't be unmapped shows in the
        // final count.
        let _ = self.region.take().map(|region| self.memory.release(region));
    }
}

/// A page table of the guest's own that maps nothing, as bytes to be looked at. Nothing can write to it.
///
/// Its frame is one that Xen keeps from the devices of a domain that is behind an IOMMU.
#[derive(Debug)]
#[must_use = "the frame goes back at once unless it is held"]
pub struct TablePage<'m> {
    memory: &'m Memory<'m>,
    /// `None` only while being dropped.
    table: Option<TableRegion>,
}

impl<'m> TablePage<'m> {
    /// A table within `mask`, whose entries have as much of what is `drawn` for them as an entry can that maps nothing.
    pub fn new(
        memory: &'m Memory<'m>,
        mask: DmaMask,
        mut drawn: impl FnMut(usize) -> u64,
    ) -> Result<Self, AcquireError> {
        let mut page = LowPages::new(memory, Order::ZERO, mask)?;
        for (nth, entry) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *entry = Pte::absent(drawn(nth)).0.to_le_bytes();
        }
        let region = page.region.take().ok_or(AcquireError::Mapping(XenError::BadAddress))?;
        match memory.hang(region) {
            Ok(table) => Ok(Self { memory, table: Some(table) }),
            Err((error, region)) => {
                page.region = region;
                Err(AcquireError::Mapping(error.xen()))
            }
        }
    }
}

impl Deref for TablePage<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Some(table) = &self.table else { return &[] };
        let region = table.region();
        // SAFETY: mapped until it is taken down, and written by nobody: Xen maps a table read-only, and no access goes by
        // this one, which would have the processor mark its entries.
        unsafe { core::slice::from_raw_parts(region.cpu().as_ptr(), region.len()) }
    }
}

impl Drop for TablePage<'_> {
    fn drop(&mut self) {
        let page = self.table.take().and_then(|table| self.memory.take_down(table).ok());
        // What Xen keeps as a table stays taken, and the count at the end shows it.
        let _ = page.map(|region| self.memory.release(region));
    }
}

/// A zeroed page to share with another domain.
pub fn shared_page<'m>(memory: &'m Memory<'m>) -> Result<SharedPage<'m>, MemoryError> {
    let page = Pages::new(memory, 1)?;
    let (base, virt) = (page.base(), page.base().addr().get() as u64);
    let mfn = page.mfn().ok_or(MemoryError::Mapping { virt, error: XenError::BadAddress })?;
    // SAFETY: the page is mapped until its owner, `page`, is dropped, and in there nobody refers to its bytes.
    Ok(unsafe { SharedPage::new(Box::new(page), base, mfn) })
}

/// Memory that is reached by machine address, as a device's registers are: mapped until it is dropped.
///
/// The window on it does not outlive the mapping:
///
/// ```compile_fail,E0505
/// # use pvbounce::mm::pages::DeviceMemory;
/// fn write_after_unmapping(registers: DeviceMemory<'_>) {
///     let window = registers.window();
///     drop(registers);
///     window.write_u8(0, 1);
/// }
/// ```
#[derive(Debug)]
pub struct DeviceMemory<'m> {
    memory: &'m Memory<'m>,
    start: u64,
    pages: u64,
    offset: usize,
    len: usize,
}

impl<'m> DeviceMemory<'m> {
    /// Maps `len` bytes of device memory at machine address `address`, uncached. RAM of this guest is refused.
    pub fn map(memory: &'m Memory<'m>, address: BusAddr, len: usize) -> Result<Self, MemoryError> {
        let pages = pages_of(address, len)?;
        memory.has_room_for(pages)?;
        match memory.first_own(address.frame(), pages) {
            Some(own) => Err(MemoryError::OwnRam(own)),
            None => Self::map_as(memory, address, len, page_table::REGISTERS),
        }
    }

    /// Maps `len` bytes of RAM a second time: to play the device that writes there behind the CPU's back.
    ///
    /// # Safety
    /// Until the result is dropped the bytes are RAM of this guest that no Rust reference reaches, and are given
    /// to nobody.
    pub unsafe fn alias(
        memory: &'m Memory<'m>,
        address: BusAddr,
        len: usize,
    ) -> Result<Self, MemoryError> {
        Self::map_as(memory, address, len, page_table::DATA)
    }

    fn map_as(
        memory: &'m Memory<'m>,
        address: BusAddr,
        len: usize,
        flags: PageTableFlags,
    ) -> Result<Self, MemoryError> {
        let pages = pages_of(address, len)?;
        let start = memory.map_frames(address.frame(), pages, flags)?;
        Ok(Self { memory, start, pages, offset: address.page_offset(), len })
    }

    /// The way to read and write it.
    pub fn window(&self) -> Window<'_> {
        let base = mapped(self.start + self.offset as u64);
        // SAFETY: `map_frames` mapped the range until `Drop`, which the borrow keeps from running. Device registers are
        // never Rust values; for RAM `alias`'s caller vouches.
        unsafe { Window::new(base, self.len) }
    }
}

impl Drop for DeviceMemory<'_> {
    fn drop(&mut self) {
        // What Xen won't unmap is counted there.
        let _ = self.memory.unmap_frames(self.start, self.pages);
    }
}

/// Pages that `len` bytes from `address` touch.
fn pages_of(address: BusAddr, len: usize) -> Result<u64, MemoryError> {
    let bytes = address.page_offset().checked_add(len);
    let last = address.checked_add(len as u64);
    let pages = addr::pages(bytes.unwrap_or(usize::MAX)) as u64;
    last.and(bytes).map(|_| pages).ok_or(MemoryError::NoAddresses { pages })
}

/// A page of Xen's own, mapped for good.
pub fn xens_page(memory: &Memory<'_>, frame: Mfn) -> Result<Window<'static>, MemoryError> {
    if let Some(own) = memory.first_own(frame, 1) {
        return Err(MemoryError::OwnRam(own));
    }
    let base = mapped(memory.map_frames(frame, 1, page_table::DATA)?);
    // SAFETY: mapped just now and never unmapped; no Rust value is in there, since it is no RAM of ours.
    Ok(unsafe { Window::new(base, PAGE_SIZE) })
}

/// Where the builder mapped one of our own frames at the start, as a window on the whole page.
///
/// # Safety
/// The frame must be one that the builder mapped (rings, shared pages), that is never unmapped and that Rust
/// never refers to.
pub unsafe fn builder_page(pfn: Pfn) -> Option<Window<'static>> {
    let virt = crate::arch::VIRT_BASE.checked_add(pfn.0.checked_mul(PAGE_SIZE_U64)?)?;
    // SAFETY: the caller vouches for the page.
    Some(unsafe { Window::new(mapped(virt), PAGE_SIZE) })
}

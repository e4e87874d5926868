//! The books of the fake machine: who has which frame, and where it is mapped.

use super::host::HostPages;
use crate::{
    addr::{BusAddr, DmaMask, Mfn, PAGE_SHIFT, Pfn},
    mm::contiguous::{AcquireError, Order, Region},
    xen::errno::XenError,
};
use alloc::{collections::BTreeMap, vec::Vec};

/// The first frame number given to traded regions in the guest's numbering.
const REGION_PFN: u64 = 0x4000;

/// Free machine frames of a new [`super::FakeMachine`], and what its guest may do.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Runs of free frames: first, and how many.
    pub free: Vec<(Mfn, u64)>,
    /// The largest order the guest may ask for.
    pub order_limit: Order,
    /// Pages the guest has to trade.
    pub guest_pages: usize,
    /// By how many frames blocks miss their natural alignment: 0 in any Xen.
    pub skew: u64,
}

impl Default for Frames {
    /// 8 MiB below 16 MiB, 64 MiB below 256 MiB, 512 MiB below 4 GiB; plenty above.
    fn default() -> Self {
        Self {
            free: [(0x800, 0x800), (0x8000, 0x4000), (0x8_0000, 0x2_0000), (0x20_0000, 0x10_0000)]
                .map(|(first, count)| (Mfn(first), count))
                .to_vec(),
            order_limit: Order::MAX,
            guest_pages: 1 << 20,
            skew: 0,
        }
    }
}

/// What the machine counted. Balanced when nothing is out and nothing was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Regions out now.
    pub out: usize,
    /// Successful exchanges.
    pub acquired: usize,
    /// Refused ones.
    pub refused: usize,
    /// Regions that came back.
    pub released: usize,
    /// Regions that came back twice, or other than they went.
    pub bad_releases: usize,
}

/// A run of frames behind host pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) mfn: Mfn,
    pub(super) pfn: Pfn,
    /// What M2P says; another frame's number when the entry is foreign.
    pub(super) m2p: Pfn,
    pub(super) pages: u64,
    /// Host address of the first byte.
    pub(super) base: usize,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) free: Vec<(u64, u64)>,
    pub(super) order_limit: Order,
    pub(super) guest_pages: usize,
    pub(super) skew: u64,
    pub(super) next_pfn: u64,
    pub(super) balance: Balance,
    /// By first machine frame.
    pub(super) extents: BTreeMap<u64, Extent>,
    /// First machine frame, by host address.
    pub(super) by_host: BTreeMap<usize, u64>,
    /// Memory of the regions out, by first machine frame.
    pub(super) live: BTreeMap<u64, (Order, HostPages)>,
    /// Memory of regions that came back, zeroed.
    pub(super) spare: Vec<HostPages>,
    /// Frames that the IOMMU keeps from devices, and what these read there.
    pub(super) shielded: BTreeMap<u64, u8>,
    /// Addresses that it refused.
    pub(super) faults: Vec<BusAddr>,
}

impl State {
    pub(super) fn new(frames: &Frames) -> Self {
        Self {
            free: frames.free.iter().map(|&(first, count)| (first.0, count)).collect(),
            order_limit: frames.order_limit,
            guest_pages: frames.guest_pages,
            skew: frames.skew,
            next_pfn: REGION_PFN,
            balance: Balance::default(),
            extents: BTreeMap::new(),
            by_host: BTreeMap::new(),
            live: BTreeMap::new(),
            spare: Vec::new(),
            shielded: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn map(&mut self, extent: Extent) {
        self.by_host.insert(extent.base, extent.mfn.0);
        self.extents.insert(extent.mfn.0, extent);
    }

    pub(super) fn unmap(&mut self, mfn: u64) {
        if let Some(extent) = self.extents.remove(&mfn) {
            self.by_host.remove(&extent.base);
        }
    }

    pub(super) fn extent_of(&self, mfn: Mfn) -> Option<Extent> {
        let (_, &extent) = self.extents.range(..=mfn.0).next_back()?;
        (mfn.0 < extent.mfn.0 + extent.pages).then_some(extent)
    }

    /// First frame of the extent that holds a host address.
    pub(super) fn frame_at(&self, address: usize) -> Option<u64> {
        let (&base, &mfn) = self.by_host.range(..=address).next_back()?;
        let pages = self.extents.get(&mfn)?.pages;
        ((address - base) as u64 >> PAGE_SHIFT < pages).then_some(mfn)
    }

    /// Takes the highest naturally aligned block below the mask out of the free list.
    pub(super) fn take_block(&mut self, order: Order, mask: DmaMask) -> Option<u64> {
        let (pages, skew) = (order.pages() as u64, self.skew);
        let limit = mask.highest().0 >> PAGE_SHIFT;
        let top_of = |&(first, count): &(u64, u64)| {
            let end = (first + count).min(limit.saturating_add(1));
            let start = (end.checked_sub(pages + skew)? & !(pages - 1)) + skew;
            (start >= first).then_some(start)
        };
        let (index, start) = (self.free.iter().enumerate())
            .filter_map(|(index, run)| top_of(run).map(|start| (index, start)))
            .max_by_key(|&(_, start)| start)?;
        let (first, count) = self.free.swap_remove(index);
        let rest = [(first, start - first), (start + pages, first + count - start - pages)];
        self.free.extend(rest.into_iter().filter(|&(_, count)| count > 0));
        Some(start)
    }

    /// Puts a block back, joined with its neighbours.
    pub(super) fn put_block(&mut self, mut first: u64, mut count: u64) {
        while let Some(index) =
            self.free.iter().position(|&(f, c)| f + c == first || first + count == f)
        {
            let (other, more) = self.free.swap_remove(index);
            (first, count) = (first.min(other), count + more);
        }
        self.free.push((first, count));
    }

    pub(super) fn host_pages(&mut self, pages: usize) -> HostPages {
        let spare = self.spare.iter().position(|spare| spare.pages() == pages);
        spare.map_or_else(|| HostPages::new(pages), |index| self.spare.swap_remove(index))
    }

    pub(super) fn exchange(&mut self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        let refused = |error| AcquireError::Refused { order, bits: mask.bits(), error };
        if self.guest_pages < order.pages() {
            return Err(AcquireError::NoFreePages { pages: order.pages() });
        }
        if order > self.order_limit {
            return Err(refused(XenError::NotPermitted));
        }
        let first = self.take_block(order, mask).ok_or_else(|| refused(XenError::NoMemory))?;
        let host = self.host_pages(order.pages());
        let (pfn, mfn) = (Pfn(self.next_pfn), Mfn(first));
        self.next_pfn += order.pages() as u64;
        self.guest_pages -= order.pages();
        let base = host.base().as_ptr().expose_provenance();
        self.map(Extent { mfn, pfn, m2p: pfn, pages: order.pages() as u64, base });
        let region = host.region(pfn, mfn, order);
        self.live.insert(first, (order, host));
        Ok(region)
    }

    /// Every region comes back, zeroed; test buffers are forgotten.
    pub(super) fn destroy(&mut self) {
        for (first, (order, mut host)) in core::mem::take(&mut self.live) {
            host.zero();
            self.spare.push(host);
            self.put_block(first, order.pages() as u64);
            self.guest_pages += order.pages();
        }
        (self.next_pfn, self.balance) = (REGION_PFN, Balance::default());
        self.extents.clear();
        self.by_host.clear();
        self.shielded.clear();
        self.faults.clear();
    }

    pub(super) fn give_back(&mut self, region: &Region) -> Result<(), XenError> {
        let (order, host) = self.live.get(&region.mfn().0).ok_or(XenError::Invalid)?;
        if *order != region.order() || host.base() != region.cpu() {
            return Err(XenError::Invalid);
        }
        let Some((order, mut host)) = self.live.remove(&region.mfn().0) else {
            return Err(XenError::Invalid);
        };
        host.zero();
        self.spare.push(host);
        self.unmap(region.mfn().0);
        self.put_block(region.mfn().0, order.pages() as u64);
        self.guest_pages += order.pages();
        Ok(())
    }
}

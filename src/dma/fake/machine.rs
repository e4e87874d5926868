//! A Xen that owns machine frames: exchange with its rules, and both translation tables.
//!
//! Like the real one it hands out the highest block that fits, naturally aligned, refuses orders above
//! the caller's limit with EPERM, has no memory with ENOMEM, and trades only for pages the guest has.
//! Unlike it, it remembers everything: a region given back twice or changed on the way is refused.

use super::{
    frames::{Balance, Extent, Frames, State},
    host::{self, HostPages},
};
use crate::{
    addr::{BusAddr, DmaMask, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr},
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order, Region, ReleaseError},
        translate::{Place, Translate},
    },
};
use alloc::vec::Vec;
use core::{
    cell::Cell,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};
use spin::Mutex;
use std::thread_local;

/// Where the test process's own heap pretends to lie: scattered, from 6 GiB up.
const HEAP_BASE: u64 = 0x18_0000;

/// Pages of the guest, as bytes; they are never given back.
#[derive(Debug)]
pub struct FakePages(HostPages);

impl Deref for FakePages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for FakePages {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

/// A machine with one guest.
#[derive(Debug)]
pub struct FakeMachine {
    state: Mutex<State>,
}

thread_local! {
    static USED: Cell<Option<FakeMachine>> = const { Cell::new(None) };
}

/// A machine of the default kind, in whose memory this thread's last one was: a sweep of thousands of guests,
/// each of which leaves something to its device, takes the memory of one.
#[derive(Debug)]
pub struct Reused(FakeMachine);

impl Default for Reused {
    fn default() -> Self {
        Self(USED.take().unwrap_or_default())
    }
}

impl Deref for Reused {
    type Target = FakeMachine;

    fn deref(&self) -> &FakeMachine {
        &self.0
    }
}

impl Drop for Reused {
    fn drop(&mut self) {
        let mut machine = core::mem::take(&mut self.0);
        machine.reset();
        machine.set_order_limit(Frames::default().order_limit);
        USED.set(Some(machine));
    }
}

impl Default for FakeMachine {
    fn default() -> Self {
        Self::new(Frames::default())
    }
}

impl FakeMachine {
    /// A machine with these frames free.
    pub fn new(frames: Frames) -> Self {
        Self { state: Mutex::new(State::new(&frames)) }
    }

    /// Takes everything back and counts anew, as when the domain is destroyed. What was forgotten is over then.
    pub fn reset(&mut self) {
        self.state.get_mut().destroy();
    }

    /// What was counted so far.
    pub fn balance(&self) -> Balance {
        self.state.lock().balance
    }

    /// Free frames, all zones together.
    pub fn free_frames(&self) -> u64 {
        self.state.lock().free.iter().map(|&(_, count)| count).sum()
    }

    /// Changes the order limit, as the arrival of a device does.
    pub fn set_order_limit(&self, order: Order) {
        self.state.lock().order_limit = order;
    }

    /// A buffer of the guest whose pages lie in these frames, one after another in the CPU's view.
    ///
    /// # Panics
    /// If `frames` is empty or a frame is in use already.
    pub fn buffer(&self, frames: &[(Pfn, Mfn)]) -> &'static mut [u8] {
        self.pages(frames).0.leak()
    }

    /// The same as pages of the guest's own, which a mapping can take.
    ///
    /// # Panics
    /// As [`FakeMachine::buffer`].
    pub fn pages(&self, frames: &[(Pfn, Mfn)]) -> FakePages {
        let pages = HostPages::new(frames.len());
        let start = pages.base().as_ptr().expose_provenance();
        let mut state = self.state.lock();
        for (index, &(pfn, mfn)) in frames.iter().enumerate() {
            let base = start + index * PAGE_SIZE;
            assert!(state.extent_of(mfn).is_none(), "{mfn} is in use");
            state.map(Extent { mfn, pfn, m2p: pfn, pages: 1, base });
        }
        FakePages(pages)
    }

    /// Makes M2P name another frame for the page at `address`, as for a frame of another domain.
    ///
    /// # Panics
    /// If the page is not one of [`FakeMachine::buffer`].
    pub fn plant_foreign(&self, address: *const u8) {
        let mut state = self.state.lock();
        let mfn = state.frame_at(address.addr()).expect("a page of a test buffer");
        let extent = state.extents.get_mut(&mfn).expect("listed in both maps");
        extent.m2p = Pfn(extent.pfn.0 ^ 1);
    }

    /// Reads machine memory as a device does; `false` where there is none.
    pub fn bus_read(&self, bus: BusAddr, to: &mut [u8]) -> bool {
        let mut done = 0;
        while done < to.len() {
            let at = BusAddr(bus.0 + done as u64);
            let Some((from, left)) = self.host_of(at.0) else {
                return false;
            };
            let here = left.min(to.len() - done).min(PAGE_SIZE - at.page_offset());
            let part = &mut to[done..done + here];
            match self.refuses(at) {
                Some(instead) => part.fill(instead),
                None => host::device_read(from, part),
            }
            done += here;
        }
        true
    }

    /// Puts an IOMMU before a frame: a device reads `instead` there, as one does that goes on after a refusal.
    pub fn shield(&self, mfn: Mfn, instead: u8) {
        self.state.lock().shielded.insert(mfn.0, instead);
    }

    /// The addresses that the IOMMU refused.
    pub fn faults(&self) -> Vec<BusAddr> {
        self.state.lock().faults.clone()
    }

    fn refuses(&self, at: BusAddr) -> Option<u8> {
        let mut state = self.state.lock();
        let instead = state.shielded.get(&at.frame().0).copied()?;
        state.faults.push(at);
        Some(instead)
    }

    /// Writes machine memory as a device does; `false` where there is none.
    ///
    /// # Panics
    /// If an IOMMU is before the frame: nothing has a device write there.
    pub fn bus_write(&self, bus: BusAddr, from: &[u8]) -> bool {
        assert_eq!(self.refuses(bus), None, "a device writes to {bus}");
        let mut done = 0;
        while done < from.len() {
            let Some((to, left)) = self.host_of(bus.0 + done as u64) else {
                return false;
            };
            let here = left.min(from.len() - done);
            host::device_write(to, &from[done..done + here]);
            done += here;
        }
        true
    }

    /// Changes a byte of machine memory, whatever it is, as a device does that writes where it must not.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn bus_flip(&self, bus: BusAddr) {
        let mut byte = [0];
        assert!(self.bus_read(bus, &mut byte), "no memory at {bus}");
        assert!(self.bus_write(bus, &[!byte[0]]), "no memory at {bus}");
    }

    /// The host address behind a bus address, and how many bytes follow it.
    fn host_of(&self, bus: u64) -> Option<(NonNull<u8>, usize)> {
        let state = self.state.lock();
        let extent = state.extent_of(BusAddr(bus).frame())?;
        let offset = usize::try_from(bus - extent.mfn.addr().0).ok()?;
        let len = usize::try_from(extent.pages << PAGE_SHIFT).ok()?;
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(extent.base))?;
        Some((host::at(base, offset), len - offset))
    }
}

impl ContiguousMemory for FakeMachine {
    fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        let mut state = self.state.lock();
        let region = state.exchange(order, mask);
        match region {
            Ok(_) => {
                state.balance.acquired += 1;
                state.balance.out += 1;
            }
            Err(_) => state.balance.refused += 1,
        }
        region
    }

    fn release(&self, region: Region) -> Result<(), ReleaseError> {
        let mut state = self.state.lock();
        let given = state.give_back(&region);
        match given {
            Ok(()) => {
                state.balance.released += 1;
                state.balance.out -= 1;
            }
            Err(_) => state.balance.bad_releases += 1,
        }
        given.map_err(|error| ReleaseError { mfn: region.mfn(), order: region.order(), error })
    }
}

impl Translate for FakeMachine {
    /// The frame behind a test buffer or a region, unless M2P disagrees; any other address is heap,
    /// each page of which lies somewhere else above 6 GiB.
    fn place_of(&self, address: *const u8) -> Option<Place> {
        let address = address.addr();
        let state = self.state.lock();
        let offset = (address % PAGE_SIZE) as u64;
        let Some(mfn) = state.frame_at(address) else {
            let page = (address / PAGE_SIZE) as u64;
            let scattered = HEAP_BASE + page.wrapping_mul(5) % 0x40_0000;
            let (pfn, mfn) = (Pfn(0x10_0000 + page % 0x40_0000), Mfn(scattered));
            return Some(place(pfn, mfn, offset));
        };
        let extent = state.extents.get(&mfn)?;
        let page = ((address - extent.base) / PAGE_SIZE) as u64;
        let trusted = extent.m2p == extent.pfn;
        trusted.then(|| place(Pfn(extent.pfn.0 + page), Mfn(extent.mfn.0 + page), offset))
    }
}

fn place(pfn: Pfn, mfn: Mfn, offset: u64) -> Place {
    Place { phys: PhysAddr(pfn.addr().0 + offset), bus: BusAddr(mfn.addr().0 + offset) }
}

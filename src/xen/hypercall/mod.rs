//! The one place where hypercalls are made: `xen-sys` stubs in, typed results out.
//!
//! Nothing outside this folder knows a hypercall number. Memory operations sit behind the trait
//! [`MemoryCalls`], so that everything that decides *which* frames go where runs on the host over a fake. What
//! moves, maps or wipes frames can take memory from under its users, so it is unsafe, and only `mm` calls it:
//!
//! ```compile_fail,E0133
//! # use pvbounce::{mm::memory::Memory, xen::hypercall::{Pte, Remap}};
//! fn unmap_anything(memory: &Memory<'_>) {
//!     memory.xen().remap(&[Remap { virt: 0xffff_ffff_8010_0000, pte: Pte(0) }]).unwrap();
//! }
//! ```
#![expect(unsafe_code, reason = "declares the calls that change memory")]

use core::sync::atomic::AtomicU64;

use crate::{
    addr::{Mfn, Pfn},
    xen::{abi, errno::XenError},
};

/// A page-table entry as Xen takes it: machine frame and flags, zero for "not present".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pte(pub u64);

/// One change to the mapping of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remap {
    /// Any address in the page.
    pub virt: u64,
    /// What it becomes.
    pub pte: Pte,
}

/// One write to a page table or to the M2P, as `HYPERVISOR_mmu_update` takes it.
pub type MmuUpdate = xen_sys::mmu_update;

/// What is traded in one `XENMEM_exchange`: `give.len() << give_order` frames for as many others.
///
/// The lists are atomic because they may be the P2M's own entries.
#[derive(Debug)]
pub struct Trade<'a> {
    /// First machine frames of what we give.
    pub give: &'a [AtomicU64],
    /// Size of each.
    pub give_order: u8,
    /// Going in, the PFN each new extent will carry; coming out, its first machine frame.
    pub want: &'a [AtomicU64],
    /// Size of each new extent.
    pub want_order: u8,
    /// Highest address, as a width; 0 for any.
    pub bits: u32,
}

/// The hypercalls that move or map memory.
pub trait MemoryCalls: Sync {
    /// Changes the mapping of each listed page; each page's table must exist.
    ///
    /// # Safety
    /// Nobody reaches anything through these addresses, or what they reach stays as it is. What a frame holds that
    /// is mapped anew is in no other use.
    unsafe fn remap(&self, changes: &[Remap]) -> Result<(), XenError>;

    /// Writes page-table or M2P entries.
    ///
    /// # Safety
    /// For page tables as for [`MemoryCalls::remap`], of all that the entry maps.
    unsafe fn mmu_update(&self, updates: &[MmuUpdate]) -> Result<(), XenError>;

    /// Fills frames with zero without mapping them.
    ///
    /// # Safety
    /// Nobody has anything in them.
    unsafe fn clear(&self, frames: &mut dyn Iterator<Item = Mfn>) -> Result<(), XenError>;

    /// Fills `pages` pages from address `virt` with zero; how many of them held anything else.
    ///
    /// # Safety
    /// All are ours, mapped writable, and in no other use.
    unsafe fn wipe(&self, virt: u64, pages: u64) -> u64;

    /// `XENMEM_exchange`. How much was traded is not said: whoever needs to know asks [`MemoryCalls::m2p`].
    ///
    /// # Safety
    /// Nobody has anything in the frames that are given, and all that counts frames learns which ones came.
    unsafe fn exchange(&self, trade: &Trade<'_>) -> Result<(), XenError>;

    /// The M2P entry of a frame; `None` if Xen's table does not reach that far.
    fn m2p(&self, mfn: Mfn) -> Option<Pfn>;

    /// How many hypercalls these operations have made so far.
    fn calls(&self) -> u64;
}

/// An [`MmuUpdate`] that makes the M2P say that `mfn` is our `pfn`.
pub const fn machphys_update(mfn: Mfn, pfn: Pfn) -> MmuUpdate {
    MmuUpdate { ptr: mfn.addr().0 | abi::mmu::MMU_MACHPHYS_UPDATE, val: pfn.0 }
}

#[cfg(not(target_os = "none"))]
pub mod fake;
#[cfg(target_os = "none")]
mod real;
#[cfg(target_os = "none")]
pub use real::*;

//! Memory: frames mapped, named, cleared and traded.
#![expect(unsafe_code, reason = "hypercalls take addresses Xen reads and writes")]

use super::super::{MemoryCalls, MmuUpdate, Remap, Trade};
use super::{address, memory_op};
use crate::{
    addr::{Mfn, PAGE_SIZE, Pfn, to_usize},
    arch::{probe, words},
    xen::{
        abi::{
            memory::{self, Exchange, Reservation},
            mmu::{self, MmuExtOp},
        },
        errno::{XenError, decode},
        events::DomainId,
        failing::{self, Operation},
    },
};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use xen_sys::{
    __HYPERVISOR_mmu_update, __HYPERVISOR_mmuext_op, __HYPERVISOR_multicall,
    __HYPERVISOR_update_va_mapping, hypercall_2, hypercall_4,
};

/// Entries a batch holds on the stack: 256 x 64 bytes of multicall are four pages.
const BATCH: usize = 256;
/// Entries of a batch for a change here and there, which need not fill four pages first.
const FEW: usize = 8;
/// A number that no hypercall has: an entry of a batch that Xen refuses.
const NO_HYPERCALL: u64 = 63;
/// Frames cleared in one call.
const CLEARED: usize = 64;

/// Where Xen maps the machine-to-physical table for every PV guest, read-only.
const M2P_BASE: u64 = xen_sys::__MACH2PHYS_VIRT_START.cast_unsigned();
const M2P_END: u64 = xen_sys::__MACH2PHYS_VIRT_END.cast_unsigned();

/// What is in a page that is not zero.
const SOIL: u8 = 0x5a;

/// The hypervisor this guest runs on, and how often it was called on for memory.
#[derive(Debug, Default)]
pub struct Xen {
    calls: AtomicU64,
    dirty: AtomicBool,
}

impl Xen {
    /// Not called yet.
    pub const fn new() -> Self {
        Self { calls: AtomicU64::new(0), dirty: AtomicBool::new(false) }
    }

    /// Soils pages from here on where it is to wipe them, as they may come from elsewhere: a fault on purpose.
    pub fn soil_pages(&self) {
        self.dirty.store(true, Ordering::Relaxed);
    }

    fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes up to `N` mappings in one call.
    ///
    /// # Safety
    /// As for [`MemoryCalls::remap`].
    unsafe fn remap_batch<const N: usize>(&self, changes: &[Remap]) -> Result<(), XenError> {
        let mut calls = [xen_sys::multicall_entry { op: 0, result: 0, args: [0; 6] }; N];
        for (call, change) in calls.iter_mut().zip(changes) {
            call.op = __HYPERVISOR_update_va_mapping.into();
            call.args[..3].copy_from_slice(&[change.virt, change.pte.0, mmu::UVMF_INVLPG]);
        }
        self.count();
        let count = changes.len().min(N) as u64;
        if failing::strikes(Operation::Remap) {
            calls[changes.len() / 2].op = NO_HYPERCALL;
        }
        let list = address(calls.as_mut_ptr());
        // SAFETY: the array holds `count` filled entries, to which Xen writes the results. For what the mappings
        // mean `remap`'s caller vouches.
        decode(unsafe { hypercall_2(__HYPERVISOR_multicall, list, count) })?;
        calls.iter().take(changes.len()).try_for_each(|call| {
            decode(call.result.cast_signed())?;
            Ok(())
        })
    }
}

impl MemoryCalls for Xen {
    unsafe fn remap(&self, changes: &[Remap]) -> Result<(), XenError> {
        if changes.len() <= FEW {
            // SAFETY: the caller's promise is passed on.
            return unsafe { self.remap_batch::<FEW>(changes) };
        }
        changes.chunks(BATCH).try_for_each(|batch| {
            // SAFETY: the same.
            unsafe { self.remap_batch::<BATCH>(batch) }
        })
    }

    unsafe fn mmu_update(&self, updates: &[MmuUpdate]) -> Result<(), XenError> {
        let (list, count) = (address(updates.as_ptr()), updates.len() as u64);
        self.count();
        // Xen stops at the first that it refuses.
        let failed = failing::check(Operation::MmuUpdate);
        let count = if failed.is_err() { count / 2 } else { count };
        // SAFETY: Xen reads `count` entries from the slice; the null pointer means that we don't want
        // the number done. Xen refuses tables and frames that are not ours.
        decode(unsafe {
            hypercall_4(__HYPERVISOR_mmu_update, list, count, 0, DomainId::SELF.0.into())
        })?;
        failed
    }

    unsafe fn clear(&self, frames: &mut dyn Iterator<Item = Mfn>) -> Result<(), XenError> {
        let mut ops = [MmuExtOp { cmd: mmu::MMUEXT_CLEAR_PAGE, arg1: 0, arg2: 0 }; CLEARED];
        loop {
            let mut count = 0;
            for (op, frame) in ops.iter_mut().zip(&mut *frames) {
                op.arg1 = frame.0;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            self.count();
            failing::check(Operation::ClearPage)?;
            // SAFETY: Xen reads `count` operations; it clears only frames of ours, for which the caller vouches.
            decode(unsafe {
                let list = address(ops.as_ptr());
                hypercall_4(__HYPERVISOR_mmuext_op, list, count, 0, DomainId::SELF.0.into())
            })?;
        }
    }

    unsafe fn wipe(&self, virt: u64, pages: u64) -> u64 {
        let (start, pages) =
            (core::ptr::with_exposed_provenance_mut::<u8>(to_usize(virt)), to_usize(pages));
        if self.dirty.load(Ordering::Relaxed) {
            // SAFETY: the caller vouches for the pages.
            unsafe { start.write_bytes(SOIL, pages * PAGE_SIZE) };
            return pages as u64;
        }
        // SAFETY: the same.
        unsafe { words::wipe(start, pages) }
    }

    unsafe fn exchange(&self, trade: &Trade<'_>) -> Result<(), XenError> {
        let mut exchange = Exchange {
            give: Reservation::own(
                address(trade.give.as_ptr()),
                trade.give.len() as u64,
                trade.give_order.into(),
                0,
            ),
            want: Reservation::own(
                address(trade.want.as_ptr()),
                trade.want.len() as u64,
                trade.want_order.into(),
                trade.bits,
            ),
            nr_exchanged: 0,
        };
        self.count();
        failing::check(Operation::Exchange)?;
        memory_op(memory::EXCHANGE, &mut exchange)?;
        failing::check(Operation::ExchangeDone)
    }

    fn m2p(&self, mfn: Mfn) -> Option<Pfn> {
        let entry = mfn.0.checked_mul(8)?.checked_add(M2P_BASE)?;
        if entry >= M2P_END {
            return None;
        }
        probe::read_u64(entry).ok().map(Pfn)
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

const _: () = assert!(BATCH * size_of::<xen_sys::multicall_entry>() == 4 * PAGE_SIZE);

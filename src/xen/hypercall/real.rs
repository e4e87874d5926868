//! The calls themselves, each in the shape Xen's public header gives its argument.
#![expect(unsafe_code, reason = "hypercalls take addresses Xen reads and writes")]

use super::{MemoryCalls, MmuUpdate, Remap, Trade};
use crate::{
    addr::{Mfn, PAGE_SIZE, Pfn, to_usize},
    arch::{probe, time::Instant, words},
    xen::{
        abi::{
            memory::{self, Exchange, MemoryMap, Reservation},
            mmu::{self, MmuExtOp},
            physdev::{self, IrqStatusQuery},
        },
        errno::{XenError, decode},
        events::{DomainId, Pirq, Port, Sharing},
    },
};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use xen_sys::{
    __HYPERVISOR_console_io, __HYPERVISOR_event_channel_op, __HYPERVISOR_grant_table_op,
    __HYPERVISOR_memory_op, __HYPERVISOR_mmu_update, __HYPERVISOR_mmuext_op,
    __HYPERVISOR_multicall, __HYPERVISOR_physdev_op, __HYPERVISOR_sched_op,
    __HYPERVISOR_set_callbacks, __HYPERVISOR_set_trap_table, __HYPERVISOR_update_va_mapping,
    __HYPERVISOR_xen_version, hypercall_1, hypercall_2, hypercall_3, hypercall_4,
};

/// Entries a batch holds on the stack: 256 x 64 bytes of multicall are four pages.
const BATCH: usize = 256;
/// Entries of a batch for a change here and there, which need not fill four pages first.
const FEW: usize = 8;
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

/// The address of what Xen reads or writes. Xen makes its own pointer of it, so the provenance is exposed; what is
/// written comes from a pointer that may write.
fn address<T>(value: *const T) -> u64 {
    value.expose_provenance() as u64
}

fn memory_op<T>(op: u32, argument: &mut T) -> Result<u64, XenError> {
    // SAFETY: `argument` is the structure that `op` takes (each caller below pairs them), lives across
    // the call, and is borrowed mutably because Xen writes to it.
    decode(unsafe { hypercall_2(__HYPERVISOR_memory_op, op.into(), address(&raw mut *argument)) })
}

fn event_channel_op<T>(op: u32, argument: &mut T) -> Result<(), XenError> {
    // SAFETY: as in `memory_op`: each caller below passes the structure of its operation.
    decode(unsafe {
        hypercall_2(__HYPERVISOR_event_channel_op, op.into(), address(&raw mut *argument))
    })?;
    Ok(())
}

fn physdev_op<T>(op: u32, argument: &mut T) -> Result<(), XenError> {
    // SAFETY: as in `memory_op`: each caller below passes the structure of its operation.
    decode(unsafe {
        hypercall_2(__HYPERVISOR_physdev_op, op.into(), address(&raw mut *argument))
    })?;
    Ok(())
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
        // SAFETY: Xen reads `count` entries from the slice; the null pointer means that we don't want
        // the number done. Xen refuses tables and frames that are not ours.
        decode(unsafe {
            hypercall_4(__HYPERVISOR_mmu_update, list, count, 0, DomainId::SELF.0.into())
        })?;
        Ok(())
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
            // SAFETY: Xen reads `count` operations; it clears only frames of ours, for which the caller vouches.
            decode(unsafe {
                let list = address(ops.as_ptr());
                hypercall_4(__HYPERVISOR_mmuext_op, list, count, 0, DomainId::SELF.0.into())
            })?;
        }
    }

    unsafe fn wipe(&self, virt: u64, pages: u64) {
        let start = core::ptr::with_exposed_provenance_mut::<u8>(to_usize(virt));
        if self.dirty.load(Ordering::Relaxed) {
            // SAFETY: the caller vouches for the pages.
            return unsafe { start.write_bytes(SOIL, to_usize(pages) * PAGE_SIZE) };
        }
        // SAFETY: the same.
        unsafe { words::zero_device(start, to_usize(pages) * PAGE_SIZE) }
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
        memory_op(memory::EXCHANGE, &mut exchange).map(drop)
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

/// Xen's release as `(major, minor)`.
pub fn version() -> (u32, u32) {
    // SAFETY: XENVER_version (0) takes no argument.
    let raw = unsafe { hypercall_2(__HYPERVISOR_xen_version, 0, 0) };
    let raw = u32::try_from(raw).unwrap_or(0);
    (raw >> 16, raw & 0xffff)
}

/// Xen's extra version string (`XENVER_extraversion`), as `.7` in 4.17.7; up to 16 bytes with a NUL.
pub fn extra_version() -> [u8; 16] {
    let mut text = [0u8; 16];
    // SAFETY: XENVER_extraversion (1) writes 16 bytes, which `text` has.
    unsafe { hypercall_2(__HYPERVISOR_xen_version, 1, address(text.as_mut_ptr())) };
    text
}

/// The feature words Xen offers (`XENVER_get_features`): submap 0.
pub fn features() -> u32 {
    let mut info = [0u32; 2];
    // SAFETY: XENVER_get_features (6) reads a submap index and writes one word, as `info` is laid out.
    let raw = unsafe { hypercall_2(__HYPERVISOR_xen_version, 6, address(&raw mut info)) };
    if raw < 0 { 0 } else { info[1] }
}

/// Writes to Xen's own console; only dom0 and domains of a debug Xen may.
pub fn console_write(text: &[u8]) -> Result<(), XenError> {
    let (len, buffer) = (text.len() as u64, address(text.as_ptr()));
    // SAFETY: CONSOLEIO_write reads `len` bytes of the slice.
    decode(unsafe { hypercall_3(__HYPERVISOR_console_io, 0, len, buffer) })?;
    Ok(())
}

/// Ends the domain; `reason` is `SHUTDOWN_*`.
pub fn shutdown(reason: u32) -> ! {
    let mut argument = xen_sys::sched_shutdown { reason };
    loop {
        // SAFETY: SCHEDOP_shutdown reads the structure; it does not return for a running domain.
        unsafe {
            let shutdown = xen_sys::SCHEDOP_shutdown.into();
            hypercall_2(__HYPERVISOR_sched_op, shutdown, address(&raw mut argument));
        }
    }
}

/// Sleeps until one of `ports` is pending or the deadline has passed.
pub fn poll(ports: &[Port], deadline: Instant) -> Result<(), XenError> {
    let mut list = [0u32; 8];
    assert!(ports.len() <= list.len(), "polling {} ports, at most 8", ports.len());
    for (slot, port) in list.iter_mut().zip(ports) {
        *slot = port.0;
    }
    let mut argument = xen_sys::sched_poll {
        ports: list.as_mut_ptr(),
        nr_ports: u32::try_from(ports.len()).unwrap_or(0),
        // 0 would mean "no timeout", which no wait of ours is.
        timeout: deadline.0.max(1),
    };
    // SAFETY: SCHEDOP_poll reads the structure and `nr_ports` entries of `list`.
    decode(unsafe {
        let poll = xen_sys::SCHEDOP_poll.into();
        hypercall_2(__HYPERVISOR_sched_op, poll, address(&raw mut argument))
    })?;
    Ok(())
}

/// `EVTCHNOP_alloc_unbound`.
pub fn alloc_unbound(remote: DomainId) -> Result<Port, XenError> {
    let mut argument =
        xen_sys::evtchn_alloc_unbound { dom: DomainId::SELF.0, remote_dom: remote.0, port: 0 };
    event_channel_op(xen_sys::EVTCHNOP_alloc_unbound, &mut argument)?;
    Ok(Port(argument.port))
}

/// `EVTCHNOP_bind_pirq`.
pub fn bind_pirq(pirq: Pirq, sharing: Sharing) -> Result<Port, XenError> {
    let flags = match sharing {
        Sharing::Shared => xen_sys::BIND_PIRQ__WILL_SHARE,
        Sharing::Exclusive => 0,
    };
    let mut argument = xen_sys::evtchn_bind_pirq { pirq: pirq.0, flags, port: 0 };
    event_channel_op(xen_sys::EVTCHNOP_bind_pirq, &mut argument)?;
    Ok(Port(argument.port))
}

/// `EVTCHNOP_close`.
pub fn close(port: Port) -> Result<(), XenError> {
    event_channel_op(xen_sys::EVTCHNOP_close, &mut xen_sys::evtchn_close { port: port.0 })
}

/// `EVTCHNOP_send`.
pub fn notify(port: Port) -> Result<(), XenError> {
    event_channel_op(xen_sys::EVTCHNOP_send, &mut xen_sys::evtchn_send { port: port.0 })
}

/// `EVTCHNOP_unmask`: clears the mask and raises the upcall if the port is pending.
pub fn unmask(port: Port) -> Result<(), XenError> {
    event_channel_op(xen_sys::EVTCHNOP_unmask, &mut xen_sys::evtchn_unmask { port: port.0 })
}

/// `EVTCHNOP_bind_ipi` for the only vCPU: a port that rings at ourselves.
pub fn bind_ipi() -> Result<Port, XenError> {
    let mut argument = xen_sys::evtchn_bind_ipi { vcpu: 0, port: 0 };
    event_channel_op(xen_sys::EVTCHNOP_bind_ipi, &mut argument)?;
    Ok(Port(argument.port))
}

/// `PHYSDEVOP_eoi`.
pub fn eoi(pirq: Pirq) -> Result<(), XenError> {
    physdev_op(physdev::EOI, &mut { pirq.0 })
}

/// `PHYSDEVOP_irq_status_query`: `physdev::{NEEDS_EOI, SHARED}`.
pub fn irq_status(pirq: Pirq) -> Result<u32, XenError> {
    let mut query = IrqStatusQuery { irq: pirq.0, flags: 0 };
    physdev_op(physdev::IRQ_STATUS_QUERY, &mut query)?;
    Ok(query.flags)
}

/// `PHYSDEVOP_set_iopl`: lets port instructions reach Xen's per-port check instead of faulting.
pub fn set_iopl(level: u32) -> Result<(), XenError> {
    physdev_op(physdev::SET_IOPL, &mut { level })
}

/// `GNTTABOP_setup_table` (2): the machine frames of the first `frames.len()` grant-table pages.
pub fn grant_table(frames: &mut [u64]) -> Result<(), XenError> {
    #[repr(C)]
    struct SetupTable {
        dom: u16,
        nr_frames: u32,
        status: i16,
        frame_list: u64,
    }
    const _: () = assert!(size_of::<SetupTable>() == 24);
    let mut setup = SetupTable {
        dom: DomainId::SELF.0,
        nr_frames: u32::try_from(frames.len()).unwrap_or(0),
        status: 0,
        frame_list: address(frames.as_mut_ptr()),
    };
    // SAFETY: one structure; Xen writes `nr_frames` entries to the slice it points to.
    decode(unsafe { hypercall_3(__HYPERVISOR_grant_table_op, 2, address(&raw mut setup), 1) })?;
    if setup.status == 0 { Ok(()) } else { Err(XenError::Unknown(setup.status.into())) }
}

/// Copies the memory map into `raw`, 20 bytes an entry; returns the number of entries.
pub fn memory_map(raw: &mut [[u8; 20]], op: u32) -> Result<usize, XenError> {
    let nr_entries = u32::try_from(raw.len()).unwrap_or(u32::MAX);
    let mut map = MemoryMap { nr_entries, buffer: address(raw.as_mut_ptr()) };
    memory_op(op, &mut map)?;
    Ok(raw.len().min(map.nr_entries as usize))
}

/// Frames the domain owns (`XENMEM_current_reservation`).
pub fn current_reservation() -> Result<u64, XenError> {
    memory_op(memory::CURRENT_RESERVATION, &mut { DomainId::SELF.0 })
}

/// Installs the trap table; the list ends with an all-zero entry.
///
/// # Safety
/// Every `address` must be an entry from boot/traps.S.
pub unsafe fn set_trap_table(table: &[xen_sys::trap_info]) -> Result<(), XenError> {
    // SAFETY: Xen reads up to the zero entry; the caller vouches for the addresses.
    decode(unsafe { hypercall_1(__HYPERVISOR_set_trap_table, address(table.as_ptr())) })?;
    Ok(())
}

/// Installs the event and failsafe entries.
///
/// # Safety
/// Both must be entries from boot/traps.S.
pub unsafe fn set_callbacks(event: u64, failsafe: u64) -> Result<(), XenError> {
    // SAFETY: the caller vouches for the addresses.
    decode(unsafe { hypercall_3(__HYPERVISOR_set_callbacks, event, failsafe, 0) })?;
    Ok(())
}

/// Maps one page at an address whose table exists, before `mm` is there to do it.
///
/// # Safety
/// Nothing may live in the page that `virt` shows now.
pub unsafe fn update_va_mapping(virt: u64, pte: u64) -> Result<(), XenError> {
    // SAFETY: the caller vouches for the page.
    decode(unsafe { hypercall_3(__HYPERVISOR_update_va_mapping, virt, pte, mmu::UVMF_INVLPG) })?;
    Ok(())
}

const _: () = assert!(BATCH * size_of::<xen_sys::multicall_entry>() == 4 * PAGE_SIZE);

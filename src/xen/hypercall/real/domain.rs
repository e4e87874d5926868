//! The domain itself: what Xen is, how it starts, prints and ends.
#![expect(unsafe_code, reason = "hypercalls take addresses Xen reads and writes")]

use super::{address, memory_op};
use crate::{
    arch::traps,
    xen::{
        abi::{
            memory::{self, MemoryMap},
            mmu,
        },
        errno::{XenError, decode},
        events::DomainId,
        failing::{self, Operation},
    },
};
use xen_sys::{
    __HYPERVISOR_console_io, __HYPERVISOR_grant_table_op, __HYPERVISOR_sched_op,
    __HYPERVISOR_set_callbacks, __HYPERVISOR_set_trap_table, __HYPERVISOR_update_va_mapping,
    __HYPERVISOR_xen_version, hypercall_1, hypercall_2, hypercall_3,
};

/// Xen's release as `(major, minor)`; zeros if it does not say.
pub fn version() -> (u32, u32) {
    if failing::strikes(Operation::Version) {
        return (0, 0);
    }
    // SAFETY: XENVER_version (0) takes no argument.
    let raw = unsafe { hypercall_2(__HYPERVISOR_xen_version, 0, 0) };
    let raw = u32::try_from(raw).unwrap_or(0);
    (raw >> 16, raw & 0xffff)
}

/// Xen's extra version string (`XENVER_extraversion`), as `.7` in 4.17.7; up to 16 bytes with a NUL.
pub fn extra_version() -> [u8; 16] {
    let mut text = [0u8; 16];
    if failing::strikes(Operation::Version) {
        return text;
    }
    // SAFETY: XENVER_extraversion (1) writes 16 bytes, which `text` has.
    unsafe { hypercall_2(__HYPERVISOR_xen_version, 1, address(text.as_mut_ptr())) };
    text
}

/// The feature words Xen offers (`XENVER_get_features`): submap 0.
pub fn features() -> Result<u32, XenError> {
    let mut info = [0u32; 2];
    failing::check(Operation::Version)?;
    // SAFETY: XENVER_get_features (6) reads a submap index and writes one word, as `info` is laid out.
    decode(unsafe { hypercall_2(__HYPERVISOR_xen_version, 6, address(&raw mut info)) })?;
    Ok(info[1])
}

/// Xen's own command line (`XENVER_commandline`), up to a NUL; for dom0.
pub fn command_line() -> Result<[u8; 1024], XenError> {
    let mut text = [0; 1024];
    failing::check(Operation::Version)?;
    // SAFETY: XENVER_commandline (9) writes 1024 bytes, which `text` has.
    decode(unsafe { hypercall_2(__HYPERVISOR_xen_version, 9, address(text.as_mut_ptr())) })?;
    Ok(text)
}

/// Writes to Xen's own console; only dom0 and domains of a debug Xen may.
pub fn console_write(text: &[u8]) -> Result<(), XenError> {
    let (len, buffer) = (text.len() as u64, address(text.as_ptr()));
    failing::check(Operation::ConsoleWrite)?;
    // SAFETY: CONSOLEIO_write reads `len` bytes of the slice.
    decode(unsafe { hypercall_3(__HYPERVISOR_console_io, 0, len, buffer) })?;
    Ok(())
}

/// How often Xen is asked to end the domain before that is taken for impossible.
const SHUTDOWNS: u32 = 100;

/// Ends the domain; `reason` is `SHUTDOWN_*`. If Xen refuses for good, by a fault that nobody handles, for which Xen
/// ends it as crashed.
pub fn shutdown(reason: u32) -> ! {
    let mut argument = xen_sys::sched_shutdown { reason };
    for _ in 0..SHUTDOWNS {
        if failing::strikes(Operation::Shutdown) {
            continue;
        }
        // SAFETY: SCHEDOP_shutdown reads the structure; it does not return for a running domain.
        unsafe {
            let shutdown = xen_sys::SCHEDOP_shutdown.into();
            hypercall_2(__HYPERVISOR_sched_op, shutdown, address(&raw mut argument));
        }
    }
    let none = [xen_sys::trap_info { vector: 0, flags: 0, cs: 0, address: 0 }];
    // SAFETY: an empty table; nothing of this guest runs any more.
    let _ = unsafe { set_trap_table(&none) };
    traps::undefined()
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
    failing::check(Operation::SetupGrants)?;
    // SAFETY: one structure; Xen writes `nr_frames` entries to the slice it points to.
    decode(unsafe { hypercall_3(__HYPERVISOR_grant_table_op, 2, address(&raw mut setup), 1) })?;
    if setup.status == 0 { Ok(()) } else { Err(XenError::Unknown(setup.status.into())) }
}

/// Copies the memory map into `raw`, 20 bytes an entry; returns the number of entries.
pub fn memory_map(raw: &mut [[u8; 20]], op: u32) -> Result<usize, XenError> {
    let nr_entries = u32::try_from(raw.len()).unwrap_or(u32::MAX);
    let mut map = MemoryMap { nr_entries, buffer: address(raw.as_mut_ptr()) };
    failing::check(Operation::MemoryMap)?;
    memory_op(op, &mut map)?;
    Ok(raw.len().min(map.nr_entries as usize))
}

/// Frames the domain owns (`XENMEM_current_reservation`).
pub fn current_reservation() -> Result<u64, XenError> {
    failing::check(Operation::Reservation)?;
    memory_op(memory::CURRENT_RESERVATION, &mut { DomainId::SELF.0 })
}

/// Installs the trap table; the list ends with an all-zero entry.
///
/// # Safety
/// Every `address` must be an entry from boot/traps.S.
pub unsafe fn set_trap_table(table: &[xen_sys::trap_info]) -> Result<(), XenError> {
    failing::check(Operation::SetTraps)?;
    // SAFETY: Xen reads up to the zero entry; the caller vouches for the addresses.
    decode(unsafe { hypercall_1(__HYPERVISOR_set_trap_table, address(table.as_ptr())) })?;
    Ok(())
}

/// Installs the event and failsafe entries.
///
/// # Safety
/// Both must be entries from boot/traps.S.
pub unsafe fn set_callbacks(event: u64, failsafe: u64) -> Result<(), XenError> {
    failing::check(Operation::SetCallbacks)?;
    // SAFETY: the caller vouches for the addresses.
    decode(unsafe { hypercall_3(__HYPERVISOR_set_callbacks, event, failsafe, 0) })?;
    Ok(())
}

/// Maps one page at an address whose table exists, before `mm` is there to do it.
///
/// # Safety
/// Nothing may live in the page that `virt` shows now.
pub unsafe fn update_va_mapping(virt: u64, pte: u64) -> Result<(), XenError> {
    failing::check(Operation::MapPage)?;
    // SAFETY: the caller vouches for the page.
    decode(unsafe { hypercall_3(__HYPERVISOR_update_va_mapping, virt, pte, mmu::UVMF_INVLPG) })?;
    Ok(())
}

//! The hypercalls as Xen sees them: numbers and structures, checked against the shape Xen's public header gives its
//! argument. Each is a place where a run may have it fail on purpose ([`crate::xen::failing`]).
#![expect(unsafe_code, reason = "hypercalls take addresses Xen reads and writes")]

mod domain;
mod events;
mod memory;
mod physdev;
mod platform;

pub use domain::*;
pub use events::*;
pub use memory::Xen;
pub use physdev::HardwareDomain;
pub use platform::efi_configuration;

use crate::xen::errno::{XenError, decode};
use xen_sys::{
    __HYPERVISOR_memory_op, __HYPERVISOR_physdev_op, __HYPERVISOR_platform_op, hypercall_1,
    hypercall_2,
};

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

fn physdev_op<T>(op: u32, argument: &mut T) -> Result<(), XenError> {
    // SAFETY: as in `memory_op`: each caller below passes the structure of its operation.
    decode(unsafe {
        hypercall_2(__HYPERVISOR_physdev_op, op.into(), address(&raw mut *argument))
    })?;
    Ok(())
}

fn platform_op<T>(argument: &mut T) -> Result<(), XenError> {
    // SAFETY: as in `memory_op`: each caller below passes the whole `struct xen_platform_op` of its operation.
    decode(unsafe { hypercall_1(__HYPERVISOR_platform_op, address(&raw mut *argument)) })?;
    Ok(())
}

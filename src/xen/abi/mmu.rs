//! `public/xen.h`: page-table updates.

/// `UVMF_INVLPG`: drop the page from the TLB of the calling CPU.
pub const UVMF_INVLPG: u64 = 2;
/// `MMU_MACHPHYS_UPDATE`: `ptr` names a machine frame, `val` its new M2P entry.
pub const MMU_MACHPHYS_UPDATE: u64 = 1;
/// `MMUEXT_CLEAR_PAGE`.
pub const MMUEXT_CLEAR_PAGE: u32 = 16;

/// `struct mmuext_op` with its unions laid flat.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MmuExtOp {
    /// `MMUEXT_*`.
    pub cmd: u32,
    /// `arg1`: a machine frame or a linear address.
    pub arg1: u64,
    /// `arg2`: a count, a pointer or a second frame.
    pub arg2: u64,
}

const _: () = assert!(size_of::<MmuExtOp>() == size_of::<xen_sys::mmuext_op>());
const _: () = assert!(size_of::<MmuExtOp>() == 24);

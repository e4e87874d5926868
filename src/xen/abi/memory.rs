//! `public/memory.h`: memory reservations, exchange and the memory map.

use crate::xen::events::DomainId;

/// `XENMEM_current_reservation`.
pub const CURRENT_RESERVATION: u32 = 3;
/// `XENMEM_memory_map`.
pub const MEMORY_MAP: u32 = 9;
/// `XENMEM_machine_memory_map`: dom0 only.
pub const MACHINE_MEMORY_MAP: u32 = 10;
/// `XENMEM_exchange`.
pub const EXCHANGE: u32 = 11;

/// `struct xen_memory_reservation`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Reservation {
    /// Guest address of the list of frame numbers.
    pub extent_start: u64,
    /// Entries in the list.
    pub nr_extents: u64,
    /// Each extent is `2^extent_order` frames.
    pub extent_order: u32,
    /// Low 8 bits: address width in bits, 0 for any (`XENMEMF_address_bits`).
    pub mem_flags: u32,
    /// Whose memory.
    pub domid: u16,
}

impl Reservation {
    /// Our own frames, listed at `extent_start`.
    pub const fn own(
        extent_start: u64,
        nr_extents: u64,
        extent_order: u32,
        mem_flags: u32,
    ) -> Self {
        Self { extent_start, nr_extents, extent_order, mem_flags, domid: DomainId::SELF.0 }
    }
}

/// `struct xen_memory_exchange`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Exchange {
    /// What we give: machine frames.
    pub give: Reservation,
    /// What we want: our own frame numbers going in, machine frames coming out.
    pub want: Reservation,
    /// Must start at 0; counts input extents done.
    pub nr_exchanged: u64,
}

/// `struct xen_memory_map`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MemoryMap {
    /// Room in the buffer going in, entries written coming out.
    pub nr_entries: u32,
    /// Guest address of the buffer.
    pub buffer: u64,
}

const _: () = assert!(size_of::<Reservation>() == 32);
const _: () = assert!(core::mem::offset_of!(Reservation, mem_flags) == 20);
const _: () = assert!(size_of::<Exchange>() == 72);
const _: () = assert!(core::mem::offset_of!(Exchange, nr_exchanged) == 64);
const _: () = assert!(size_of::<MemoryMap>() == 16);

//! `public/physdev.h`: interrupts and I/O privilege of physical devices.

/// `PHYSDEVOP_irq_status_query`.
pub const IRQ_STATUS_QUERY: u32 = 5;
/// `PHYSDEVOP_set_iopl`.
pub const SET_IOPL: u32 = 6;
/// `PHYSDEVOP_eoi`.
pub const EOI: u32 = 12;
/// Status flag `XENIRQSTAT_needs_eoi`.
pub const NEEDS_EOI: u32 = 1;
/// Status flag `XENIRQSTAT_shared`.
pub const SHARED: u32 = 2;

/// `struct physdev_irq_status_query`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct IrqStatusQuery {
    /// In: the PIRQ.
    pub irq: u32,
    /// Out: `NEEDS_EOI`, `SHARED`.
    pub flags: u32,
}

const _: () = assert!(size_of::<IrqStatusQuery>() == 8);

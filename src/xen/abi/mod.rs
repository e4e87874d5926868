//! Xen's public interface as numbers and offsets, one file per public header, nothing but data.

pub mod pciif;
pub mod xs_wire;

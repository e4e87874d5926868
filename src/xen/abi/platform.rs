//! `public/platform.h`: what the hardware domain may know of the machine.

/// `XENPF_INTERFACE_VERSION`.
pub const INTERFACE_VERSION: u32 = 0x0300_0001;
/// `XENPF_firmware_info`.
pub const FIRMWARE_INFO: u32 = 50;
/// `XEN_FW_EFI_INFO`.
pub const EFI_INFO: u32 = 4;
/// `XEN_FW_EFI_CONFIG_TABLE`.
pub const EFI_CONFIG_TABLE: u32 = 1;

/// `struct xen_platform_op` that asks for UEFI's configuration table.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EfiConfigTable {
    /// [`FIRMWARE_INFO`].
    pub cmd: u32,
    /// [`INTERFACE_VERSION`].
    pub interface_version: u32,
    /// [`EFI_INFO`].
    pub kind: u32,
    /// [`EFI_CONFIG_TABLE`].
    pub index: u32,
    /// Out: where it is.
    pub addr: u64,
    /// Out: its entries.
    pub nent: u32,
    /// The rest of the union, which has 128 bytes.
    pub pad: [u32; 27],
}

const _: () = assert!(size_of::<EfiConfigTable>() == 136);
const _: () = assert!(core::mem::offset_of!(EfiConfigTable, addr) == 16);

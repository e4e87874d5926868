//! What the hardware domain may know of the machine. No unsafe code: the structures are handed over as they are.

use super::platform_op;
use crate::{
    addr::BusAddr,
    xen::{
        abi::platform::{
            EFI_CONFIG_TABLE, EFI_INFO, EfiConfigTable, FIRMWARE_INFO, INTERFACE_VERSION,
        },
        errno::XenError,
        failing::{self, Operation},
    },
};

/// Where UEFI's configuration table is and how many entries it has; not implemented where Xen was not started by UEFI.
pub fn efi_configuration() -> Result<(BusAddr, usize), XenError> {
    failing::check(Operation::FirmwareInfo)?;
    let mut table = EfiConfigTable {
        cmd: FIRMWARE_INFO,
        interface_version: INTERFACE_VERSION,
        kind: EFI_INFO,
        index: EFI_CONFIG_TABLE,
        addr: 0,
        nent: 0,
        pad: [0; 27],
    };
    platform_op(&mut table)?;
    Ok((BusAddr(table.addr), table.nent as usize))
}
